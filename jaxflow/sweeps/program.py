"""The compiled program of a sweep: it draws the networks of many rows and trains them."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import PyTree

from ..data import Regression
from ..dynamics.descent import descend
from ..dynamics.ensemble import descents, flows, probe
from ..dynamics.integrators.choose_solver import choose_solver, last
from ..dynamics.integrators.implicit import Implicit
from ..dynamics.settings import FlowSettings, as_arrays, spread
from ..dynamics.solution import summary
from ..machine.compiling import BRIEF, jit
from .drawing import (
    Drawing,
    Group,
    Rows,
    draw_first,
    draw_one,
    drawn_data,
    outline,
    size,
    still,
    take,
)
from .plan import Sweep

BATCHES = 2**32 - 1  # folded into a trajectory's key: the key of its batches and label noise
# A step on CPU is fastest while all slots stay in cache: about ten copies of the state per slot.
CACHE_BYTES, DEVICE_BYTES, COPIES = 2**19, 2**31, 10
IMPLICIT_BYTES = 2**13  # of a network, beyond which implicit solves go one by one on CPU
FEW = 2048  # rows whose draw takes less time than compiling it well does
SAMPLE = 16  # networks of a group by which its solver is chosen


@dataclasses.dataclass(frozen=True)
class Workers:
    """The devices to use and the slots per device: trajectories that it solves side by side."""

    devices: tuple[Any, ...]
    slots: int


class SavedTimes(eqx.Module):
    """The saved times of a trajectory, from the `ts` or `t1` of its sweep."""

    ts: Any
    t1: Any

    def __call__(self, network: Any, data: Regression) -> Any:
        if callable(self.ts):
            return self.ts(network, data)
        if self.ts is None and self.t1 is not None:
            return spread(self.t1)
        return self.ts


def saved_times(sweep: Sweep, data: Regression) -> SavedTimes:
    """The saved times of a sweep on this data; values are arrays, so that none is compiled in."""
    dtype = data.X.dtype
    ts = sweep.ts
    if ts is not None and not callable(ts):
        ts = jnp.atleast_1d(jnp.asarray(ts, dtype))
    return as_arrays(SavedTimes(ts, sweep.t1), dtype)


def _spread(devices: tuple[Any, ...], work: Callable[..., Any], shared: Any, split: Any) -> Any:
    """`work(shared, split)` on every device, each with its part of the first axes of `split`."""
    shared, static = eqx.partition(shared, eqx.is_array)
    split, rest = eqx.partition(split, eqx.is_array)

    def part(shared: Any, split: Any) -> Any:
        return work(eqx.combine(shared, static), eqx.combine(split, rest))

    if len(devices) == 1:
        return part(shared, split)
    mesh = Mesh(np.asarray(devices), ("device",))
    same, each = PartitionSpec(), PartitionSpec("device")
    # Under shard_map devices do not synchronize: each has a queue of its own.
    spread: Any = jax.shard_map(
        part, mesh=mesh, in_specs=(same, each), out_specs=each, check_vma=False
    )
    return spread(shared, split)


def _draw(
    drawing: Drawing, devices: tuple[Any, ...], data: Regression, rows: Rows, count: Any
) -> PyTree:
    def work(data: Regression, split: Any) -> PyTree:
        rows, count = split
        return draw_first(drawing, data, rows, count[0])

    return _spread(devices, work, data, (rows, count))


_draw_many, _draw_few = eqx.filter_jit(_draw), jit(_draw, BRIEF)


def draw(
    drawing: Drawing, devices: tuple[Any, ...], data: Regression, rows: Rows, count: Any
) -> PyTree:
    """The networks of these rows; the first `count[d]` rows of device d are no padding."""
    few = len(rows.width) <= FEW and drawing.mode != "full"
    return (_draw_few if few else _draw_many)(drawing, devices, data, rows, count)


@jit
def _solve(
    workers: Workers,
    data: Regression,
    times: SavedTimes,
    settings: FlowSettings,
    networks: PyTree,
    rest: PyTree,
    count: Any,
) -> dict[str, Any]:
    def work(shared: Any, split: Any) -> dict[str, Any]:
        data, times, settings, rest = shared
        networks, count = split
        return flows(networks, rest, data, times, settings, count[0], slots=workers.slots)

    return _spread(workers.devices, work, (data, times, settings, rest), (networks, count))


@eqx.filter_jit
def _descend(
    workers: Workers,
    impl: Any,
    data: Regression,
    rows: Rows,
    networks: PyTree,
    rest: PyTree,
    count: Any,
) -> Any:
    def work(shared: Any, split: Any) -> dict[str, Any]:
        data, rest = shared
        rows, networks, count = split
        keys = jax.vmap(lambda key: jr.fold_in(jr.wrap_key_data(key, impl=impl), BATCHES))(rows.key)
        return descents(networks, rest, data, rows.descent, keys, count[0], slots=workers.slots)

    return _spread(workers.devices, work, (data, rest), (rows, networks, count))


@dataclasses.dataclass
class Pending:
    """Trajectories that are being solved. `answer()` waits for their results and the lockstep.

    The lockstep is the capacity in steps: slots times the steps of the longest trajectory.
    """

    settings: FlowSettings
    answer: Callable[[], tuple[dict[str, np.ndarray], float]]


def submit(
    workers: Workers,
    group: Group,
    times: SavedTimes,
    length: int,
    settings: FlowSettings | None = None,
    index: np.ndarray | None = None,
) -> Pending:
    """Start solving the rows `index` of a group (default: all), by the solver that suits them,
    or with other settings than the group's own.

    Rows are dealt to the devices in turn and padded to `length` on each.
    """
    devices = len(workers.devices)
    index = np.arange(len(group.places)) if index is None else index
    settings = group.settings if settings is None else settings
    hands = [np.arange(d, len(index), devices) for d in range(devices)]
    dealt = np.concatenate([np.resize(hand if len(hand) else [0], length) for hand in hands])
    count = np.asarray([len(hand) for hand in hands], np.int32)
    rows = take(group.rows, index[dealt])
    networks = draw(group.drawing, workers.devices, group.data, rows, count)
    rest = still(group.drawing, group.data, rows)
    here = drawn_data(group.drawing, group.data)
    real = np.concatenate([d * length + np.arange(len(hand)) for d, hand in enumerate(hands)])
    if rows.descent is None:
        settings = choose_by_sample(settings, networks, rest, real, here, times)
        if isinstance(settings.solver, Implicit):
            workers = dataclasses.replace(workers, slots=implicit_slots(networks, workers.slots))
        result = _solve(workers, here, times, settings, networks, rest, count)
    else:
        result = _descend(workers, group.drawing.key, here, rows, networks, rest, count)
    order = np.argsort(np.concatenate(hands), kind="stable")

    def answer() -> tuple[dict[str, np.ndarray], float]:
        kept = jax.device_get(result)
        lockstep = float(kept.pop("lockstep").sum())
        return {name: value[real][order] for name, value in kept.items()}, lockstep

    return Pending(settings, answer)


def choose_by_sample(
    settings: FlowSettings,
    networks: PyTree,
    rest: PyTree,
    real: np.ndarray,
    data: Regression,
    times: SavedTimes,
) -> FlowSettings:
    """The settings with the solver that suits a sample of these networks, evenly spread."""
    if not settings.auto:
        return settings
    picked = real[np.unique(np.linspace(0, len(real) - 1, SAMPLE).astype(int))]
    arrays = jax.tree.map(np.asarray, networks)
    each = [jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), arrays) for i in picked]
    sample = [eqx.combine(one, rest) for one in each]
    end = times.t1 if times.ts is None else None if callable(times.ts) else last(times.ts)
    return choose_solver(settings, sample, data, end)


def implicit_slots(networks: PyTree, slots: int) -> int:
    """Slots of the implicit solver. On CPU one for large matrices, which gain nothing together."""
    if jax.default_backend() != "cpu":
        return slots
    alone = size(networks) // len(jax.tree.leaves(networks)[0]) > IMPLICIT_BYTES
    return 1 if alone else math.gcd(slots, 8)


def shapes(sweep: Sweep, group: Group) -> tuple[dict[str, Any], int, int]:
    """What is kept of one trajectory of a group; the bytes of its state, and of all it needs."""
    settings = group.settings
    times = saved_times(sweep, group.data)

    def look(row: Rows, data: Regression) -> Any:
        network = draw_one(group.drawing, data, row)
        here = drawn_data(group.drawing, data)
        if row.descent is None:
            return *probe(network, here, times, settings), network
        descent = dataclasses.replace(row.descent, key=sweep.key)
        return summary(descend(network, here, descent)), network, network

    row = take(group.rows, np.asarray(0))
    known = group.drawing, outline((row, group.data, times, settings))
    if known not in _SHAPES:
        _SHAPES[known] = eqx.filter_eval_shape(look, row, group.data)
    kept, state, network = _SHAPES[known]
    return dict(kept), size(state), 3 * size(state) + size((kept, network))


_SHAPES: dict[Any, Any] = {}  # tracing takes longer than a small sweep


def slots_that_suit(state: int) -> int:
    """Slots for states of so many bytes: in cache on CPU, enough to fill the device elsewhere."""
    on_cpu = jax.default_backend() == "cpu"
    fitting = (CACHE_BYTES if on_cpu else DEVICE_BYTES) // (COPIES * state)
    least, most = (8, 64) if on_cpu else (64, 2**15)
    return int(np.clip(2 ** int(np.log2(max(fitting, 1))), least, most))


def second_try(settings: FlowSettings) -> FlowSettings:
    """The settings for failed trajectories: another solver, and rtol ten times smaller.

    Explicit steps that ran out mean a stiff problem, for the implicit solver. Where that one
    failed, Dopri8 takes fewer than half as many steps along a decay.
    """
    floor = 50 * float(jnp.finfo(settings.rtol.dtype).eps)
    solver = settings.solver
    if isinstance(solver, diffrax.AbstractERK):
        solver = Implicit()
    elif isinstance(solver, Implicit):
        solver = diffrax.Dopri8()
    return dataclasses.replace(settings, rtol=jnp.maximum(settings.rtol / 10, floor), solver=solver)
