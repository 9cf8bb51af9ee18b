"""A sweep by width: what the tables and figures say of it."""

import dataclasses
import math
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

CONFIDENCE = 0.95
SETTLED = 0.01  # in-span distance over off-span distance, above which nothing is fitted


@dataclasses.dataclass(frozen=True)
class Exponent:
    """A power law `distance ~ width^slope`, with a confidence interval for the slope."""

    slope: float
    low: float
    high: float
    log_intercept: float

    def __call__(self, width: Any) -> Any:
        """The fitted distance at a width."""
        return np.exp(self.log_intercept) * np.asarray(width, float) ** self.slope


def exponent(widths: np.ndarray, distances: np.ndarray) -> Exponent | None:
    """Least squares of log distance on log width, one point a width: the log of the mean.

    **Arguments:** `widths` (k,) and `distances` (k, seeds). The interval is Student's, from the
    standard errors of the means at k widths and their scatter about the line, whichever is larger.

    **Returns:** None with fewer than two widths, or where a distance is zero or not finite.
    """
    means = distances.mean(axis=1)
    if len(widths) < 2 or not np.all(np.isfinite(distances)) or not np.all(means > 0):
        return None
    x, y = np.log(np.asarray(widths, float)), np.log(means)
    seeds = distances.shape[1]
    error = distances.std(axis=1, ddof=1) / np.sqrt(seeds) / means if seeds > 1 else 0 * means
    centred = x - x.mean()
    weights = centred / np.sum(centred**2)
    slope = float(weights @ y)
    intercept = float(y.mean() - slope * x.mean())
    sampling = float(np.sqrt(np.sum((weights * error) ** 2)))
    freedom = len(widths) - 2
    if seeds == 1 and not freedom:
        return None  # a line through two points has no error to estimate
    scatter = 0.0
    if freedom:
        residual = y - intercept - slope * x
        scatter = float(np.sqrt(np.sum(residual**2) / freedom / np.sum(centred**2)))
    half_sampling = sampling * float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
    half_scatter = scatter * float(stats.t.ppf(0.5 + CONFIDENCE / 2, max(freedom, 1)))
    half = max(half_sampling, half_scatter)
    return Exponent(slope, slope - half, slope + half, intercept)


@dataclasses.dataclass(frozen=True)
class WidthRow:
    """One width of a sweep: means over everything else, with standard errors where they matter."""

    width: int
    trajectories: int
    failed: int
    c: float
    bound_rate: float
    measured_rate: float
    slack: float
    within: float
    off_span: float
    off_span_error: float
    in_span: float
    law: float | None


def by_width(dataset: xr.Dataset) -> list[WidthRow]:
    """The table of a sweep over widths that recorded `measures.standard()`."""
    rows = []
    for width in dataset["width"].values:
        cell = dataset.sel(width=width)
        status, slack = cell["status"].values.ravel(), cell["slack"].values.ravel()
        promised = np.isfinite(slack)
        off = cell["off_span_distance"].values.ravel()
        law = cell.get("off_span_law")
        rows.append(
            WidthRow(
                width=int(width),
                trajectories=int(status.size),
                failed=int(np.count_nonzero(status > 1)),
                c=float(cell["c"].mean()),
                bound_rate=float(cell["bound_rate"].mean()),
                measured_rate=float(cell["measured_rate"].mean()),
                slack=float(slack.min()),
                within=float(np.mean(slack[promised] >= 0)) if promised.any() else math.nan,
                off_span=float(off.mean()),
                off_span_error=float(off.std(ddof=1) / np.sqrt(off.size)) if off.size > 1 else 0.0,
                in_span=float(cell["in_span_distance"].mean()),
                law=None if law is None else float(law.mean()),
            )
        )
    return rows


def settled(dataset: xr.Dataset) -> bool:
    """Whether every trajectory has learned all it can: what is left is off the span."""
    share = dataset["in_span_distance"] / dataset["off_span_distance"]
    return bool((share <= SETTLED).all())


def width_exponent(dataset: xr.Dataset, *, features: int, rank: int) -> tuple[Exponent | None, str]:
    """The exponent of the off-span distance in the width, or None and why there is none."""
    if features == rank:
        return None, "the data spans every direction (r = D), so nothing is left off its span"
    if not np.all(np.isfinite(dataset["off_span_distance"].values)):
        return None, "some trajectories have no distance: they failed"
    if not settled(dataset):
        return None, "training has not settled: the in-span distance is above 1% of the other"
    order = dataset.sortby("width")
    stacked = order["off_span_distance"].transpose("width", ...).values
    fit = exponent(order["width"].values, stacked.reshape(len(order["width"]), -1))
    return (
        fit,
        ""
        if fit is not None
        else "one width, or one seed at two widths, has no exponent with an error",
    )
