"""Straight lines and power laws by least squares: the only fit that jaxflow makes."""

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Line:
    """The least-squares line `y = intercept + slope x`.

    `error` is the standard error of the slope, estimated from the scatter of the points about the
    line; it is 0 for two points, which a line meets exactly.
    """

    slope: float
    intercept: float
    error: float


def line(x: Any, y: Any) -> Line:
    """The least-squares line through the points `(x, y)`, two vectors of the same length."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    centred = x - x.mean()
    slope = float((centred / np.sum(centred**2)) @ y)
    intercept = float(y.mean() - slope * x.mean())
    freedom = len(x) - 2
    if freedom < 1:
        return Line(slope, intercept, 0.0)
    residual = y - intercept - slope * x
    return Line(slope, intercept, math.sqrt(np.sum(residual**2) / freedom / np.sum(centred**2)))


@dataclasses.dataclass(frozen=True)
class Exponent:
    """A power law `distance = exp(log_intercept) width^slope`; the slope lies in [low, high]."""

    slope: float
    low: float
    high: float
    log_intercept: float

    def __call__(self, width: Any) -> Any:
        """The fitted distance at a width."""
        return np.exp(self.log_intercept) * np.asarray(width, float) ** self.slope


def exponent(widths: np.ndarray, distances: np.ndarray) -> Exponent | None:
    """The power law of a distance in the width: the line of log(mean distance) on log(width).

    **Arguments:** `widths` (k,) and `distances` (k, seeds).

    **Returns:** the fit with a 95% confidence interval of the slope, the wider of two: Student's
    from the standard errors of the k means, with the degrees of freedom of Welch and Satterthwaite
    (few, for few seeds), and Student's from their scatter about the line. None with fewer than two
    widths, with one seed at two widths (no error can be estimated), or where a distance is not
    finite or a mean not positive.
    """
    means, seeds = distances.mean(axis=1), distances.shape[1]
    if len(widths) < 2 or not np.all(np.isfinite(distances)) or not np.all(means > 0):
        return None
    freedom = len(widths) - 2
    if seeds == 1 and not freedom:
        return None
    x = np.log(np.asarray(widths, float))
    fit = line(x, np.log(means))
    error = distances.std(axis=1, ddof=1) / np.sqrt(seeds) / means if seeds > 1 else 0 * means
    centred = x - x.mean()
    parts = (centred * error / np.sum(centred**2)) ** 2  # of the variance, from each width
    known = np.sum(parts) ** 2 * (seeds - 1) / np.sum(parts**2) if np.any(parts) else 1.0
    tail = 0.5 + CONFIDENCE / 2
    half = max(
        float(np.sqrt(np.sum(parts)) * stats.t.ppf(tail, known)),
        fit.error * float(stats.t.ppf(tail, max(freedom, 1))),
    )
    return Exponent(fit.slope, fit.slope - half, fit.slope + half, fit.intercept)
