"""Evidence from what was run: every sweep once, however many claims look at it."""

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import xarray as xr

from ..dynamics import status
from ..sweeps import Sweep, run
from ..sweeps.run import Progress
from ..sweeps.summary import exponent
from .base import Evidence
from .decide import around

_FINISHED: WeakKeyDictionary[Sweep, xr.Dataset] = WeakKeyDictionary()


def finished(sweep: Sweep, progress: Progress | None = None) -> xr.Dataset:
    """What `run` returns. Mutant and control look at the same trajectories as their claim."""
    if sweep not in _FINISHED:
        _FINISHED[sweep] = run(sweep, progress=progress)
    return _FINISHED[sweep]


def at_least(name: str, ratio: Any, factor: float = 1.0, **more: Any) -> Evidence:
    """Every `ratio` is to be at least `factor`; `name` says what it is the ratio of."""
    ratio = np.asarray(ratio, float)
    return Evidence(
        slack=ratio / factor - 1,
        **{
            "failed": failed(more.get("dataset")),
            "measured": {
                f"{name}_min": float(ratio.min()),
                f"{name}_median": float(np.median(ratio)),
            },
            "predicted": {name: f">= {factor:g}"},
            **more,
        },
    )


def at_most(name: str, size: Any, tolerance: float, **more: Any) -> Evidence:
    """Every `size` is to be zero, up to a tolerance."""
    size = np.asarray(size, float)
    return Evidence(
        slack=1 - size / tolerance,
        **{
            "failed": failed(more.get("dataset")),
            "measured": {f"{name}_max": float(size.max())},
            "predicted": {name: f"0 (to {tolerance:g})"},
            **more,
        },
    )


def number(
    name: str,
    value: float,
    interval: tuple[float, float] | None,
    predicted: float,
    tolerance: float,
    **more: Any,
) -> Evidence:
    """One number, measured to lie in `interval`, that is to be `predicted +- tolerance`."""
    return Evidence(
        interval=interval,
        margin=around(predicted, tolerance),
        measured={name: value, **more.pop("measured", {})},
        predicted={name: predicted},
        **more,
    )


def power(
    name: str, x: Any, values: Any, predicted: float, tolerance: float, **more: Any
) -> Evidence:
    """The exponent of a power law, by regression on all seeds: `values` of shape (x, seeds)."""
    fit = exponent(x, values)
    value, interval = (np.nan, None) if fit is None else (fit.slope, (fit.low, fit.high))
    return number(name, value, interval, predicted, tolerance, **more)


def failed(dataset: xr.Dataset | None) -> Any:
    """The trajectories that did not get to their end."""
    return False if dataset is None else status.failed(dataset["status"].values)
