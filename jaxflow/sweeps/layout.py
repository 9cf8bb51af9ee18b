"""How a sweep is cut into blocks, and what is kept of every trajectory."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from ..dynamics.status import NOT_RUN, flags
from .plan import Sweep

STANDARD = {
    "status": "how the trajectory ended",
    "t_end": "flow time at the end",
    "log_excess_start": "log(L - L*) at time 0",
    "log_excess_end": "log(L - L*) at the end",
    "steps": "solver steps, rejected ones included",
    "implicit": "1 where the implicit solver was used",
    "discrepancy": "gap between residual and weights at the end, relative to the targets",
    "retried": "whether it failed first and was solved again by other means",
}


@dataclasses.dataclass(frozen=True)
class Block:
    """A box of the grid, aligned to it: what is solved, written and recorded as one."""

    number: int
    region: tuple[slice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values along each axis, then of seeds."""
        return tuple(s.stop - s.start for s in self.region)

    @property
    def size(self) -> int:
        """How many trajectories it holds."""
        return int(np.prod(self.shape))

    def points(self) -> Iterator[tuple[int, ...]]:
        """The indices of its cells, seeds left out, in order."""
        return itertools.product(*(range(s.start, s.stop) for s in self.region[:-1]))


def extents(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The shape of blocks of at most `size` trajectories: whole seeds first, then the last axes."""
    out, room = [1] * len(shape), size
    for axis in reversed(range(len(shape))):
        out[axis] = min(shape[axis], max(room, 1))
        room //= out[axis]
    return tuple(out)


def blocks(shape: tuple[int, ...], size: int) -> list[Block]:
    """The blocks that tile the grid."""
    spans = [
        [slice(start, min(start + step, total)) for start in range(0, total, step)]
        for total, step in zip(shape, extents(shape, size), strict=True)
    ]
    return [Block(i, region) for i, region in enumerate(itertools.product(*spans))]


@dataclasses.dataclass(frozen=True)
class Variable:
    """One array of a result: its dimensions, the shape of an entry, and what it means."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attributes: dict[str, Any]
    missing: Any  # what an entry reads as that was not run

    def empty(self) -> np.ndarray:
        """The array, nothing of it run."""
        return np.full(self.shape, self.missing, self.dtype)


def variables(sweep: Sweep, kept: dict[str, Any]) -> dict[str, Variable]:
    """The arrays of a result, given the shapes and dtypes of what is kept of one trajectory."""
    texts = {**STANDARD}
    dims: dict[str, tuple[str, ...]] = {name: () for name in STANDARD}
    for measure in sweep.measures:
        texts[measure.name] = (type(measure).__doc__ or "").strip().split("\n")[0]
        dims[measure.name] = measure.dims
    out = {}
    for name, leaf in kept.items():
        attributes: dict[str, Any] = {"long_name": texts[name]}
        missing = np.nan if np.dtype(leaf.dtype).kind == "f" else 0
        if name == "status":
            missing = NOT_RUN
            attributes |= flags()
        axes = (*sweep.axes, "seed", *dims[name])
        out[name] = Variable(
            axes, (*sweep.shape, *leaf.shape), np.dtype(leaf.dtype), attributes, missing
        )
    return out


def label(sweep: Sweep, arrays: dict[str, np.ndarray], known: dict[str, Variable]) -> xr.Dataset:
    """The arrays with their dimensions, coordinates and attributes."""
    return xr.Dataset(
        {name: (known[name].dims, arrays[name], known[name].attributes) for name in known},
        {**sweep.coordinates(), "seed": np.arange(sweep.seeds)},
    )
