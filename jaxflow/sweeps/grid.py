"""A sweep over any axes in numbers: a row per point of the grid, with statistics over its seeds."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ..dynamics.status import NOT_RUN, Result, failed
from ..machine.files import plain
from .layout import STANDARD

# What a row reads of every trajectory, beside its measures.
READ = ("status", "t_end", "log_excess_start", "log_excess_end", "steps")


@dataclasses.dataclass(frozen=True)
class Statistics:
    """The values of one quantity over trajectories; those that are not finite are left out."""

    count: int  # finite values
    mean: float
    error: float  # standard error of the mean; NaN for a single value
    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Any) -> "Statistics":
        """The statistics of an array of any shape."""
        found = np.asarray(values, float).ravel()
        found = found[np.isfinite(found)]
        if not found.size:
            return cls(0, *(5 * [math.nan]))
        error = found.std(ddof=1) / math.sqrt(found.size) if found.size > 1 else math.nan
        low, middle, high = np.quantile(found, [0, 0.5, 1])
        return cls(found.size, *map(float, (found.mean(), error, low, middle, high)))


@dataclasses.dataclass(frozen=True)
class Cell:
    """Trajectories of one setting: how they ended, and statistics over them."""

    coordinates: dict[str, Any]
    trajectories: int
    failed: int
    ended: dict[str, int]  # how many ended how, by the name of the `Result`
    steps: Statistics
    t_end: Statistics
    log_fall: Statistics  # log of (L - L*)(t_end) / (L - L*)(0)
    measures: dict[str, Statistics]  # those that are one number per trajectory

    @classmethod
    def of(cls, coordinates: dict[str, Any], values: Mapping[str, Any]) -> "Cell":
        """The row of arrays that have one entry per trajectory."""
        status = np.asarray(values["status"]).ravel()
        codes, counts = np.unique(status, return_counts=True)
        names = {NOT_RUN: "not_run", **{r.value: r.name for r in Result}}
        with np.errstate(invalid="ignore"):  # both are -inf where there is nothing to learn
            fall = np.asarray(values["log_excess_end"]) - np.asarray(values["log_excess_start"])
        return cls(
            coordinates=coordinates,
            trajectories=status.size,
            failed=int(np.count_nonzero(failed(status))),
            ended={names[int(k)]: int(n) for k, n in zip(codes, counts, strict=True)},
            steps=Statistics.of(values["steps"]),
            t_end=Statistics.of(values["t_end"]),
            log_fall=Statistics.of(fall),
            measures={n: Statistics.of(v) for n, v in values.items() if n not in STANDARD},
        )

    def to_json(self) -> dict[str, Any]:
        """The row in plain values; a number that is not finite becomes null."""
        return plain(dataclasses.asdict(self))


def axes(dataset: xr.Dataset) -> list[str]:
    """The axes of the grid, without seeds."""
    return [str(dim) for dim in dataset["status"].dims if dim != "seed"]


def measured(dataset: xr.Dataset, *more: str) -> list[str]:
    """The measures whose dimensions are the grid's, seeds and `more`."""
    wanted = {*axes(dataset), "seed", *more}
    return [str(n) for n, v in dataset.items() if n not in STANDARD and set(v.dims) == wanted]


def by_cell(dataset: xr.Dataset) -> list[Cell]:
    """The table of any sweep, one row per point of its grid."""
    grid, kept = axes(dataset), [*READ, *measured(dataset)]
    arrays = {n: dataset[n].transpose(*grid, "seed").values for n in kept}
    labels = [dataset[axis].values.tolist() for axis in grid]
    return [
        Cell.of(dict(zip(grid, point, strict=True)), {n: a[index] for n, a in arrays.items()})
        for index, point in zip(
            itertools.product(*(range(len(values)) for values in labels)),
            itertools.product(*labels),
            strict=True,
        )
    ]


def of_solution(solution: Any) -> Cell:
    """The row of a `Solution`: one trajectory, or the many of a `vmap`."""
    status = np.asarray(solution.status)
    values = {
        "status": status,
        "t_end": solution.t1,
        "log_excess_start": solution.stats["initial_log_excess"],
        "log_excess_end": solution.log_excess1,
        "steps": solution.stats["steps"],
    }
    single = {n: v for n, v in solution.measures.items() if np.shape(v) == status.shape}
    return Cell.of({}, {**values, **single})
