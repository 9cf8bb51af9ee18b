"""A sweep over widths in numbers: a row per width, and the exponent of the off-span distance."""

import dataclasses
import math

import numpy as np
import xarray as xr

from ..dynamics.status import failed
from .power_law import Exponent as Exponent, exponent as exponent

SETTLED = 0.01  # the largest in-span distance, relative to the off-span one, for a fit


@dataclasses.dataclass(frozen=True)
class WidthRow:
    """One width of a sweep: means over all its trajectories, with their standard errors."""

    width: int
    trajectories: int
    failed: int
    c: float
    bound_rate: float
    measured_rate: float
    slack: float  # the smallest
    within: float  # share of the trajectories with a bound that stay under it
    off_span: float
    off_span_error: float
    in_span: float
    law: float | None  # what theory predicts for wide networks


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
                failed=int(np.count_nonzero(failed(status))),
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
    """Whether all trajectories have converged: the rest of their distance is off the span."""
    share = dataset["in_span_distance"] / dataset["off_span_distance"]
    return bool((share <= SETTLED).all())


def width_exponent(dataset: xr.Dataset, *, features: int, rank: int) -> tuple[Exponent | None, str]:
    """The power law of the off-span distance in the width, or None and the reason."""
    if features == rank:
        return None, "the data spans every direction (r = D), so nothing is left off its span"
    if not np.all(np.isfinite(dataset["off_span_distance"].values)):
        return None, "some trajectories failed and have no distance"
    if not settled(dataset):
        return None, "training has not settled: an in-span distance is above 1% of the off-span one"
    order = dataset.sortby("width")
    stacked = order["off_span_distance"].transpose("width", ...).values
    fit = exponent(order["width"].values, stacked.reshape(len(order["width"]), -1))
    return (
        fit,
        ""
        if fit is not None
        else "it takes more than one width, and more than one seed or more than two widths",
    )
