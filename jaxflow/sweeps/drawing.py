"""The networks of a sweep: which trajectories share a compiled program, and how they are drawn."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import optax
from jaxtyping import PyTree

from ..data import Regression
from ..dynamics.descent import DescentSettings
from ..dynamics.ensemble import map_in_groups
from ..dynamics.settings import FlowSettings, as_arrays
from ..machine.identity import Known
from ..networks import compress
from ..networks.adopt import adopt
from ..networks.init import Initialization
from .plan import Cell, Sweep

DRAW_BYTES = 2**28  # memory for networks of full width that are drawn side by side


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How networks are drawn. Trajectories with equal `Drawing`s share a compiled program."""

    mode: str  # "full", "compressed", or "rotated" (compressed, with no array of size D)
    bucketed: bool  # whether the width is a traced array instead of a part of the shapes
    arguments: tuple[tuple[str, Known], ...]  # of the call of the law
    where: Known  # the parameters to train; None for all
    key: Any  # the implementation of the random keys

    @property
    def given(self) -> dict[str, Any]:
        """The arguments by name."""
        return {name: known.value for name, known in self.arguments}


class Rows(eqx.Module):
    """The trajectories to draw and solve; every array has one entry per trajectory."""

    law: PyTree
    width: Any
    key: Any
    descent: DescentSettings | None  # None for the flow


@dataclasses.dataclass
class Group:
    """The trajectories of a block that share a compiled program, and their places in the block."""

    drawing: Drawing
    data: Regression
    rows: Rows
    settings: FlowSettings
    places: np.ndarray


def draw_mode(sweep: Sweep) -> str:
    """The cheapest way to draw the networks of a sweep that its measures allow.

    "rotated" needs a measure, stopping rule and saved times that are all invariant under rotations
    of inputs and hidden units. "full" is needed by descent under anything but the plain gradient.
    """
    descent = sweep.descent
    if not sweep.compress or sweep.where is not None:
        return "full"
    if descent is not None and not _plain_gradient(sweep):
        return "full"
    asked = [*sweep.measures, sweep.options["until"], sweep.ts if callable(sweep.ts) else None]
    free = all(getattr(thing, "rotation_free", False) for thing in asked if thing is not None)
    if descent is not None:  # rotated data has no samples to take batches of
        free = free and not {"batch", "label_noise"} & {*descent, *sweep.axes}
    return "rotated" if free and sweep.options["loss"] is None else "compressed"


def _plain_gradient(sweep: Sweep) -> bool:
    """Whether descent commutes with rotations of the hidden units: under `optax.sgd` alone."""
    found = sweep.axes.get("optimizer", [(sweep.descent or {}).get("optimizer")])
    return all(optimizer is optax.sgd for optimizer in found)


def groups(sweep: Sweep, cells: list[Cell], seeds: np.ndarray) -> list[Group]:
    """The trajectories of these cells and seeds, cell by cell, grouped by compiled program."""
    found: dict[Any, list[tuple[Any, Any, Any, Any, np.ndarray]]] = {}
    first: dict[Any, Cell] = {}
    mode, where = draw_mode(sweep), Known(sweep.where)
    solved = {id(cell.options): cell.options for cell in cells}  # most cells share them
    options = {place: Known(each) for place, each in solved.items()}
    for i, cell in enumerate(cells):
        law = as_arrays(cell.law, cell.data.X.dtype)
        descent = sweep.descends(cell)
        arrays, rest = eqx.partition((law, descent), eqx.is_array)
        known = isinstance(law, Initialization)
        arguments = dict(cell.arguments)
        sized = known and mode != "full" and "width" in arguments
        bucket = law.bucket(arguments["width"], cell.data) if sized else None
        width = 0.0 if bucket is None else float(arguments.pop("width"))
        arguments.update(bucket or {})
        drawing = Drawing(
            "compressed" if mode == "rotated" and not (known and law.rotates) else mode,
            bucket is not None,
            tuple((name, Known(value)) for name, value in sorted(arguments.items())),
            where,
            jr.key_impl(sweep.key),
        )
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arrays))
        member = drawing, Known(rest), options[id(cell.options)], shapes, id(cell.data)
        first.setdefault(member, cell)
        keys = np.asarray(jr.key_data(cell.keys(sweep.key, seeds)))
        places = i * len(seeds) + np.arange(len(seeds))
        found.setdefault(member, []).append((law, width, keys, descent, places))

    def stack(*leaves: Any) -> Any:
        if not eqx.is_array(leaves[0]):
            return leaves[0]
        return np.repeat(np.stack([np.asarray(x) for x in leaves]), len(seeds), axis=0)

    out = []
    for member, parts in found.items():
        laws, widths, all_keys, descents, all_places = zip(*parts, strict=True)
        rows = Rows(
            jax.tree.map(stack, *laws),
            np.repeat(np.asarray(widths), len(seeds)),
            np.concatenate(all_keys),
            jax.tree.map(stack, *descents),
        )
        cell = first[member]
        settings = sweep.settings(cell)
        out.append(Group(member[0], cell.data, rows, settings, np.concatenate(all_places)))
    return out


def take(rows: Rows, index: np.ndarray) -> Rows:
    """The rows at these indices."""
    arrays = (jax.Array, np.ndarray)
    return jax.tree.map(lambda x: x[index] if isinstance(x, arrays) else x, rows)


@eqx.filter_jit
def drawn_data(drawing: Drawing, data: Regression) -> Regression:
    """The data in the coordinates of the drawn networks."""
    return data.rotated() if drawing.mode == "rotated" else data


def draw_one(drawing: Drawing, data: Regression, row: Rows) -> Any:
    """The network of one row."""
    arguments = drawing.given
    if drawing.bucketed:
        arguments["width"] = row.width.astype(data.X.dtype)
    key = jr.wrap_key_data(row.key, impl=drawing.key)
    if drawing.mode == "full" or not isinstance(row.law, Initialization):
        network = adopt(row.law(key, data, **arguments), data, drawing.where.value)
        return network if drawing.mode == "full" else compress(network, data)
    drawn = row.law.rotated if drawing.mode == "rotated" else row.law.compressed
    return drawn(key, data, **arguments)


def still(drawing: Drawing, data: Regression, rows: Rows) -> PyTree:
    """What is no array in the networks of these rows, such as functions: shared by all of them."""
    row = take(rows, np.asarray(0))
    known = drawing, outline((row, data))
    if known not in _STILL:
        shapes = eqx.filter_eval_shape(draw_one, drawing, data, row)
        _STILL[known] = eqx.filter(shapes, lambda x: not isinstance(x, jax.ShapeDtypeStruct))
    return _STILL[known]


_STILL: dict[Any, Any] = {}


def outline(tree: PyTree) -> tuple[Known, Any]:
    """A tree without the entries of its arrays, as the key of a cache of what was traced."""
    arrays, static = eqx.partition(
        tree, lambda x: isinstance(x, (jax.Array, np.ndarray, np.generic))
    )
    return Known(static), tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arrays))


def draw_first(drawing: Drawing, data: Regression, rows: Rows, count: Any) -> PyTree:
    """The arrays of the networks of the first `count` rows, as many at a time as memory allows."""
    arrays, rest = eqx.partition(rows, eqx.is_array)

    def one(arrays: Any) -> Any:
        return eqx.filter(draw_one(drawing, data, eqx.combine(arrays, rest)), eqx.is_array)

    first = jax.tree.map(lambda leaf: leaf[0], arrays)
    total = len(rows.width)
    if drawing.bucketed:
        most = DRAW_BYTES // size(eqx.filter_eval_shape(one, first))
        if total <= most:
            return jax.vmap(one)(arrays)
    else:
        law, key = eqx.combine(first, rest).law, jr.wrap_key_data(first.key, impl=drawing.key)
        drawn = eqx.filter_eval_shape(law, key, data, **drawing.given)
        most = DRAW_BYTES // size(drawn)
    side_by_side = math.gcd(total, 2 ** int(np.log2(np.clip(most, 1, 32))))
    return map_in_groups(one, arrays, count, side_by_side)


def size(tree: PyTree) -> int:
    """The bytes of all arrays of a tree."""
    arrays = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in arrays)
