"""How a sweep is cut into blocks, and the arrays, coordinates and attributes of its dataset."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from ..dynamics.settings import times
from ..dynamics.status import NOT_RUN, flags
from .plan import Sweep

# What every dataset has beside its measures: a label for plots (LaTeX), and what it is.
STANDARD = {
    "status": ("status", "how the trajectory ended"),
    "t_end": (r"$t_\mathrm{end}$", "flow time at the end"),
    "log_excess_start": (r"$\log(L(0) - L^*)$", "log(L - L*) at time 0"),
    "log_excess_end": (r"$\log(L(t_\mathrm{end}) - L^*)$", "log(L - L*) at the end"),
    "steps": ("steps", "solver steps, rejected ones included"),
    "implicit": ("implicit", "1 where the implicit solver was used"),
    "discrepancy": ("discrepancy", "gap between residual and weights at the end, relative to Y"),
    "retried": ("retried", "1 where the trajectory failed at first and was solved a second time"),
}
TIME = "requested time; a trajectory that has stopped keeps its last value"


@dataclasses.dataclass(frozen=True)
class Block:
    """A box of the grid whose trajectories are solved, written and recorded together."""

    number: int
    region: tuple[slice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values along each axis, then of seeds."""
        return tuple(s.stop - s.start for s in self.region)

    @property
    def size(self) -> int:
        """The number of trajectories."""
        return int(np.prod(self.shape))

    def points(self) -> Iterator[tuple[int, ...]]:
        """The indices of its points of the grid, without seeds, in order."""
        return itertools.product(*(range(s.start, s.stop) for s in self.region[:-1]))


def extents(
    shape: tuple[int, ...], size: int, programs: Mapping[tuple[int, ...], int]
) -> tuple[int, ...]:
    """The shape of blocks of at most `size` trajectories, filled from the last axis, the seeds.

    A block has one program, which takes seconds to compile: what it gave is kept before the next
    is begun. `programs` has a number for each point of the grid.
    """
    grid = np.empty(shape[:-1], int)
    for point, number in programs.items():
        grid[point] = number
    out, room = [1] * len(shape), size
    for axis in reversed(range(len(shape))):
        if axis < grid.ndim and np.diff(grid, axis=axis).any():
            continue
        out[axis] = min(shape[axis], max(room, 1))
        room //= out[axis]
    return tuple(out)


def blocks(shape: tuple[int, ...], extents: tuple[int, ...]) -> list[Block]:
    """The blocks of this shape that tile the grid."""
    spans = [
        [slice(start, min(start + step, total)) for start in range(0, total, step)]
        for total, step in zip(shape, extents, strict=True)
    ]
    return [Block(i, region) for i, region in enumerate(itertools.product(*spans))]


@dataclasses.dataclass(frozen=True)
class Variable:
    """One array of a dataset."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attributes: dict[str, Any]
    missing: Any  # the value of entries that were not run

    def empty(self) -> np.ndarray:
        """The array before anything was run."""
        return np.full(self.shape, self.missing, self.dtype)


def variables(sweep: Sweep, kept: dict[str, Any]) -> dict[str, Variable]:
    """The arrays of a dataset, from the shapes and dtypes of what is kept of one trajectory."""
    texts = {**STANDARD}
    dims: dict[str, tuple[str, ...]] = {name: () for name in STANDARD}
    for measure in sweep.measures:
        said = (type(measure).__doc__ or "").strip().split("\n")[0]
        texts[measure.name] = getattr(measure, "symbol", "") or measure.name, said
        dims[measure.name] = measure.dims
    out = {}
    for name, leaf in kept.items():
        symbol, said = texts[name]
        if len(dims[name]) != len(leaf.shape):
            raise ValueError(
                f"The measure {name!r} has dimensions {dims[name]}, but its value has shape "
                f"{tuple(leaf.shape)}: name all, as in dims={_example(dims[name], leaf.shape)}."
            )
        attributes: dict[str, Any] = {"long_name": symbol, "description": said, "units": "1"}
        missing = np.nan if np.dtype(leaf.dtype).kind == "f" else 0
        if name == "status":
            missing = NOT_RUN
            attributes |= flags()
        axes = (*sweep.axes, "seed", *dims[name])
        out[name] = Variable(
            axes, (*sweep.shape, *leaf.shape), np.dtype(leaf.dtype), attributes, missing
        )
    return out


def _example(dims: tuple[str, ...], shape: tuple[int, ...]) -> list[str]:
    """Names for the axes of an array, the known ones first."""
    return [*dims[: len(shape)], *(f"axis{i}" for i in range(len(dims), len(shape)))]


def label(sweep: Sweep, arrays: dict[str, np.ndarray], known: dict[str, Variable]) -> xr.Dataset:
    """The dataset of these arrays, with dimensions, coordinates and attributes."""
    shared = shared_times(sweep) if any("time" in v.dims for v in known.values()) else None
    time = {"long_name": "$t$", "description": TIME, "units": "1"}
    return xr.Dataset(
        {name: (known[name].dims, array, known[name].attributes) for name, array in arrays.items()},
        {
            **sweep.coordinates(),
            "seed": np.arange(sweep.seeds),
            **({} if shared is None else {"time": ("time", shared, time)}),
        },
    )


def shared_times(sweep: Sweep) -> np.ndarray | None:
    """The saved times of all trajectories; None where each has its own."""
    if sweep.descent is not None or callable(sweep.ts):
        return None
    found = times(sweep.ts, sweep.t1, sweep.cells[0].data.X.dtype)
    return None if found is None else np.asarray(found)
