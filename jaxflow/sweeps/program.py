"""The compiled program of a sweep: draw the networks of many rows, and train them."""

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
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import PyTree

from ..data import Regression
from ..dynamics.descent import DescentSettings, descend
from ..dynamics.ensemble import descents, flows, probe, summary
from ..dynamics.integrators.choose_solver import decided, last
from ..dynamics.integrators.implicit import Implicit
from ..dynamics.integrators.slots import by_groups
from ..dynamics.settings import FlowSettings, as_arrays, log_spaced
from ..networks import compress
from ..networks.init import Initialization
from ..networks.losses import SquaredLoss
from .plan import Cell, Sweep

BATCHES = 2**32 - 1  # what a trajectory's key is folded with, for batches and noise
DRAW_BYTES = 2**28  # of networks drawn in full side by side, at most
# What lies in cache while a step is made on CPU: about ten copies of the state of every slot.
CACHE_BYTES, DEVICE_BYTES, COPIES = 2**19, 2**31, 10
IMPLICIT_BYTES = 2**13  # of a network, beyond which implicit solves go one by one on CPU


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How networks are drawn. Hashable: what has to be equal to share a compiled program.

    `mode` is "full"; "compressed"; or "rotated", which has no array of the size of D.
    `bucketed`: the width is an array. `key` is the implementation of the keys.
    """

    mode: str
    bucketed: bool
    arguments: tuple[tuple[str, Any], ...]
    key: Any


@dataclasses.dataclass(frozen=True)
class Crew:
    """Who solves: devices, and the slots that each of them has."""

    devices: tuple[Any, ...]
    slots: int


class Rows(eqx.Module):
    """Trajectories to draw and solve: a law, a width and a key each, along a first axis.

    And the settings of its descent, where it is not the flow that is asked for.
    """

    law: PyTree
    width: Any
    key: Any
    descent: DescentSettings | None


@dataclasses.dataclass
class Group:
    """Rows of a block that are drawn alike, and their places in the block."""

    drawing: Drawing
    data: Regression
    rows: Rows
    places: np.ndarray


class SavedTimes(eqx.Module):
    """The saved times of a trajectory, from what the sweep was given."""

    ts: Any
    t1: Any

    def __call__(self, network: Any, data: Regression) -> Any:
        if callable(self.ts):
            return self.ts(network, data)
        if self.ts is None and self.t1 is not None:
            return log_spaced(self.t1)
        return self.ts


def saved_times(sweep: Sweep, data: Regression) -> SavedTimes:
    """The saved times of a sweep on this data, with arrays where values may vary."""
    dtype = data.X.dtype
    ts = sweep.ts
    if ts is not None and not callable(ts):
        ts = jnp.atleast_1d(jnp.asarray(ts, dtype))
    return as_arrays(SavedTimes(ts, sweep.t1), dtype)


def mode(sweep: Sweep) -> str:
    """How the networks of a sweep are drawn: with as small arrays as what it asks for allows."""
    descent = sweep.descent
    if not sweep.compress or (descent is not None and not _turns(sweep)):
        return "full"
    asked = [*sweep.measures, sweep.options["until"], sweep.ts if callable(sweep.ts) else None]
    free = all(getattr(thing, "rotation_free", False) for thing in asked if thing is not None)
    if descent is not None:  # rotated samples have no batches
        free = free and not {"batch", "label_noise"} & {*descent, *sweep.axes}
    return "rotated" if free and sweep.options["loss"] is None else "compressed"


def _turns(sweep: Sweep) -> bool:
    """Whether rotated hidden units descend as rotated: under the plain gradient."""
    found = sweep.axes.get("optimizer", [(sweep.descent or {}).get("optimizer")])
    return all(optimizer is optax.sgd for optimizer in found)


def groups(sweep: Sweep, cells: list[Cell], seeds: np.ndarray) -> list[Group]:
    """The rows of these cells and seeds, cell by cell, sorted by the program they need."""
    found: dict[Any, list[tuple[Any, Any, Any, Any, np.ndarray]]] = {}
    data: dict[Any, Regression] = {}
    how = mode(sweep)
    for i, cell in enumerate(cells):
        law = as_arrays(cell.law, cell.data.X.dtype)
        descent = sweep.descends(cell)
        arrays, rest = eqx.partition((law, descent), eqx.is_array)
        known = isinstance(law, Initialization)
        arguments = dict(cell.arguments)
        sized = known and how != "full" and "width" in arguments
        bucket = law.bucket(arguments["width"], cell.data) if sized else None
        width = 0.0 if bucket is None else float(arguments.pop("width"))
        arguments.update(bucket or {})
        turned = how != "rotated" or (known and law.rotates)
        drawing = Drawing(
            how if turned else "compressed",
            bucket is not None,
            tuple(sorted(arguments.items())),
            jr.key_impl(sweep.key),
        )
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arrays))
        static = jax.tree.structure((law, descent)), shapes, tuple(map(str, jax.tree.leaves(rest)))
        member = drawing, static, id(cell.data)
        data[member] = cell.data
        keys = np.asarray(jr.key_data(cell.keys(sweep.key, seeds)))
        places = i * len(seeds) + np.arange(len(seeds))
        found.setdefault(member, []).append((law, width, keys, descent, places))
    out = []
    for member, parts in found.items():
        laws, widths, all_keys, descents, all_places = zip(*parts, strict=True)

        def stack(*leaves: Any) -> Any:
            if not eqx.is_array(leaves[0]):
                return leaves[0]
            return np.repeat(np.stack([np.asarray(x) for x in leaves]), len(seeds), axis=0)

        rows = Rows(
            jax.tree.map(stack, *laws),
            np.repeat(np.asarray(widths), len(seeds)),
            np.concatenate(all_keys),
            jax.tree.map(stack, *descents),
        )
        out.append(Group(member[0], data[member], rows, np.concatenate(all_places)))
    return out


def take(rows: Rows, index: np.ndarray) -> Rows:
    """Some of the rows."""
    return jax.tree.map(lambda x: x[index] if eqx.is_array_like(x) else x, rows)


@eqx.filter_jit
def problem(drawing: Drawing, data: Regression) -> Regression:
    """The data that the drawn networks learn from."""
    return data.rotated() if drawing.mode == "rotated" else data


def draw_one(drawing: Drawing, data: Regression, row: Rows) -> Any:
    """The network of one row."""
    arguments = dict(drawing.arguments)
    if drawing.bucketed:
        arguments["width"] = row.width.astype(data.X.dtype)
    key = jr.wrap_key_data(row.key, impl=drawing.key)
    if drawing.mode == "full":
        return row.law(key, data, **arguments)
    if not isinstance(row.law, Initialization):
        return compress(row.law(key, data, **arguments), data)
    drawn = row.law.rotated if drawing.mode == "rotated" else row.law.compressed
    return drawn(key, data, **arguments)


def _draw(drawing: Drawing, data: Regression, rows: Rows, count: Any) -> PyTree:
    """The networks of the first `count` rows, as many side by side as memory allows."""
    arrays, rest = eqx.partition(rows, eqx.is_array)

    def one(arrays: Any) -> Any:
        return draw_one(drawing, data, eqx.combine(arrays, rest))

    first = jax.tree.map(lambda leaf: leaf[0], arrays)
    total = len(rows.width)
    if drawing.bucketed:
        most = DRAW_BYTES // _bytes(eqx.filter_eval_shape(one, first))
        if total <= most:
            return jax.vmap(one)(arrays)
    else:
        law, key = eqx.combine(first, rest).law, jr.wrap_key_data(first.key, impl=drawing.key)
        drawn = eqx.filter_eval_shape(lambda: law(key, data, **dict(drawing.arguments)))
        most = DRAW_BYTES // _bytes(drawn)
    side_by_side = math.gcd(total, 2 ** int(np.log2(np.clip(most, 1, 32))))
    return by_groups(one, arrays, count, side_by_side)


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
    # No device waits for another: each works off a queue of its own.
    spread: Any = jax.shard_map(
        part, mesh=mesh, in_specs=(same, each), out_specs=each, check_vma=False
    )
    return spread(shared, split)


@eqx.filter_jit
def draw(
    drawing: Drawing, devices: tuple[Any, ...], data: Regression, rows: Rows, count: Any
) -> PyTree:
    """The networks of these rows; `count` (devices,) is how many are real on each device."""

    def work(data: Regression, split: Any) -> PyTree:
        rows, count = split
        return _draw(drawing, data, rows, count[0])

    return _spread(devices, work, data, (rows, count))


@eqx.filter_jit
def _solve(
    crew: Crew,
    data: Regression,
    times: SavedTimes,
    settings: FlowSettings,
    networks: PyTree,
    count: Any,
) -> dict[str, Any]:
    def work(shared: Any, split: Any) -> dict[str, Any]:
        data, times, settings = shared
        networks, count = split
        return flows(networks, data, times, settings, count[0], slots=crew.slots)

    return _spread(crew.devices, work, (data, times, settings), (networks, count))


@eqx.filter_jit
def _descend(
    crew: Crew, impl: Any, data: Regression, rows: Rows, networks: PyTree, count: Any
) -> Any:
    def work(data: Regression, split: Any) -> dict[str, Any]:
        rows, networks, count = split
        keys = jax.vmap(lambda key: jr.fold_in(jr.wrap_key_data(key, impl=impl), BATCHES))(rows.key)
        return descents(networks, data, rows.descent, keys, count[0], slots=crew.slots)

    return _spread(crew.devices, work, data, (rows, networks, count))


@dataclasses.dataclass
class Pending:
    """Rows that are being solved: by what, and how to wait for them.

    The answer is what was kept of each, and the lockstep.
    """

    settings: FlowSettings
    answer: Callable[[], tuple[dict[str, np.ndarray], float]]


def submit(
    crew: Crew,
    group: Group,
    times: SavedTimes,
    settings: FlowSettings,
    length: int,
    index: np.ndarray | None = None,
) -> Pending:
    """Start solving rows of a group, by the solver that suits a sample of them.

    Rows are dealt to the devices one by one and filled up to `length` on each.
    """
    devices = len(crew.devices)
    index = np.arange(len(group.places)) if index is None else index
    hands = [np.arange(d, len(index), devices) for d in range(devices)]
    dealt = np.concatenate([np.resize(hand if len(hand) else [0], length) for hand in hands])
    count = np.asarray([len(hand) for hand in hands], np.int32)
    rows = take(group.rows, index[dealt])
    networks = draw(group.drawing, crew.devices, group.data, rows, count)
    here = problem(group.drawing, group.data)
    real = np.concatenate([d * length + np.arange(len(hand)) for d, hand in enumerate(hands)])
    if rows.descent is None:
        settings = decided_by_sample(settings, networks, real, here, times)
        if isinstance(settings.solver, Implicit):
            crew = dataclasses.replace(crew, slots=implicit_slots(networks, crew.slots))
        result = _solve(crew, here, times, settings, networks, count)
    else:
        result = _descend(crew, group.drawing.key, here, rows, networks, count)
    order = np.argsort(np.concatenate(hands), kind="stable")

    def answer() -> tuple[dict[str, np.ndarray], float]:
        kept = jax.device_get(result)
        lockstep = float(kept.pop("lockstep").sum())
        return {name: value[real][order] for name, value in kept.items()}, lockstep

    return Pending(settings, answer)


SAMPLE = 16  # networks of a group that decide on its solver


def decided_by_sample(
    settings: FlowSettings, networks: PyTree, real: np.ndarray, data: Regression, times: SavedTimes
) -> FlowSettings:
    """The settings with the solver that suits these rows, by some that are spread over them."""
    if not settings.auto:
        return settings
    picked = real[np.unique(np.linspace(0, len(real) - 1, SAMPLE).astype(int))]
    arrays = jax.tree.map(np.asarray, networks)
    sample = [jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), arrays) for i in picked]
    end = times.t1 if times.ts is None else None if callable(times.ts) else last(times.ts)
    return decided(settings, sample, data, end)


def implicit_slots(networks: PyTree, slots: int) -> int:
    """Fewer on CPU: large matrices gain nothing side by side, small ones some."""
    if jax.default_backend() != "cpu":
        return slots
    alone = _bytes(networks) // len(jax.tree.leaves(networks)[0]) > IMPLICIT_BYTES
    return 1 if alone else math.gcd(slots, 8)


def shapes(sweep: Sweep, cell: Cell) -> tuple[dict[str, Any], int, int]:
    """What is kept of one trajectory of a cell; the bytes of its state, and of all it needs."""
    settings = sweep.settings(cell.data.X.dtype)
    (group,) = groups(sweep, [cell], np.zeros(1, np.uint32))
    times = saved_times(sweep, cell.data)

    def look(row: Rows, data: Regression) -> Any:
        network = draw_one(group.drawing, data, row)
        here = problem(group.drawing, data)
        if row.descent is None:
            return *probe(network, here, times, settings), network
        descent = dataclasses.replace(row.descent, key=sweep.key)
        return summary(descend(network, here, descent)), network, network

    row = take(group.rows, np.asarray(0))
    # Tracing takes longer than a small sweep: each shape once.
    arrays, static = eqx.partition((row, group.data, times, settings), eqx.is_array)
    leaves, structure = jax.tree.flatten(static)
    sizes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arrays))
    known = group.drawing, structure, tuple(leaves), sizes
    if known not in _SHAPES:
        _SHAPES[known] = eqx.filter_eval_shape(look, row, group.data)
    kept, state, network = _SHAPES[known]
    size, state_size = _bytes((kept, network)), _bytes(state)
    return dict(kept), state_size, 3 * state_size + size


_SHAPES: dict[Any, Any] = {}


def _bytes(tree: PyTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def slots_that_suit(state: int) -> int:
    """Slots for states of so many bytes: in cache on CPU, enough to fill the device elsewhere."""
    on_cpu = jax.default_backend() == "cpu"
    fitting = (CACHE_BYTES if on_cpu else DEVICE_BYTES) // (COPIES * state)
    least, most = (8, 64) if on_cpu else (64, 2**15)
    return int(np.clip(2 ** int(np.log2(max(fitting, 1))), least, most))


def second_try(settings: FlowSettings) -> FlowSettings:
    """The settings that failures are solved again with: a ten times tighter rtol, another solver.

    What ran out of explicit steps is stiff; what the implicit solver could not do, and other
    losses, get Dopri8, with fewer than half as many steps along a decay.
    """
    floor = 50 * float(jnp.finfo(settings.rtol.dtype).eps)
    solver = settings.solver
    if isinstance(solver, diffrax.AbstractERK) and isinstance(settings.loss, SquaredLoss):
        solver = Implicit() if settings.formulation != "parameters" else diffrax.Dopri8()
    elif isinstance(solver, diffrax.AbstractERK | Implicit):
        solver = diffrax.Dopri8()
    return dataclasses.replace(settings, rtol=jnp.maximum(settings.rtol / 10, floor), solver=solver)
