"""Many trajectories at once, and what a sweep keeps of each."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from .._types import Network, State
from ..data import Regression
from .descent import DescentSettings, descend
from .flow import solve
from .formulations import choose
from .settings import FlowSettings, spread
from .solution import Record, summary
from .status import Call

SaveTimes = Callable[[Network, Regression], Array | None]  # the saved times of a trajectory


def flows(
    networks: PyTree,
    rest: PyTree,
    data: Regression,
    save_times: SaveTimes,
    settings: FlowSettings,
    count: Int[Array, ""],
    *,
    slots: int,
) -> dict[str, Array]:
    """The gradient flows of many networks, and what is kept of each.

    **Arguments:**

    - `networks`: the arrays of a network with a leading axis, one entry per trajectory; and the
      `rest` of it, which they share.
    - `data`, `settings`: as in `flow.solve`.
    - `save_times`: the saved times of a trajectory, `(network, data) -> times or None`.
    - `count`: the number of actual trajectories; the rest is padding. Groups of padding alone are
      skipped.
    - `slots`: how many trajectories are solved side by side, until the slowest of them has ended.

    **Returns:** arrays with a leading axis, as `summary` names them, and `lockstep` (1,), the
    capacity in steps: the sum of the steps divided by it is the occupancy.
    """

    def one(arrays: PyTree) -> dict[str, Array]:
        network = eqx.combine(arrays, rest)
        return summary(solve(network, data, save_times(network, data), settings))

    return _counted(map_in_groups(one, networks, count, slots), slots)


def descents(
    networks: PyTree,
    rest: PyTree,
    data: Regression,
    settings: DescentSettings,
    keys: Any,
    count: Int[Array, ""],
    *,
    slots: int,
) -> dict[str, Array]:
    """The descents of many networks, settings and a key each; returns what `flows` does."""
    arrays, same = eqx.partition(settings, eqx.is_array)

    def one(each: Any) -> dict[str, Array]:
        network, arrays, key = each
        network, settings = eqx.combine(network, rest), eqx.combine(arrays, same)
        return summary(descend(network, data, dataclasses.replace(settings, key=key)))

    return _counted(map_in_groups(one, (networks, arrays, keys), count, slots), slots)


def _counted(out: dict[str, Array], slots: int) -> dict[str, Array]:
    longest = jnp.max(out["steps"].reshape(-1, slots), axis=1)
    return {**out, "lockstep": slots * jnp.sum(longest, keepdims=True)}


def probe(
    network: Network, data: Regression, save_times: SaveTimes, settings: FlowSettings
) -> tuple[dict[str, Array], State]:
    """What `flows` would keep of this trajectory, without solving it, and its state: for shapes."""
    form = choose(settings.formulation, network, data, settings.loss)
    y = form.start(network)
    t1 = form.begin(y)
    ts = save_times(network, data)
    ts = spread(t1) if ts is None else ts
    record = Record(form, network, y, settings.measures, settings.loss)
    saved = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (*ts.shape, *leaf.shape)), record.read(t1, y)
    )
    none = jnp.zeros((), jnp.int32)
    solution = record.solution(
        ts, saved, t1, y, call=Call(""), status=none, steps=none, accepted=none, rejected=none
    )
    return summary(solution), y


def map_in_groups(one: Callable[[Any], Any], xs: PyTree[Array], count: Any, slots: int) -> PyTree:
    """`vmap(one)(xs)`, `slots` at a time, for the first `count` of a multiple of `slots`."""

    @jax.jit  # traced once, for its shapes and for the loop
    def part(i: Any) -> PyTree:
        some = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, i * slots, slots), xs)
        if slots > 1:
            return jax.vmap(one)(some)
        # Batched linear algebra has a price even for a batch of one.
        alone = one(jax.tree.map(lambda x: x[0], some))
        return jax.tree.map(lambda x: x[None], alone)

    total = len(jax.tree.leaves(xs)[0])
    out = jax.tree.map(
        lambda leaf: jnp.zeros((total, *leaf.shape[1:]), leaf.dtype),
        jax.eval_shape(part, jnp.zeros((), jnp.int32)),
    )

    def body(i: Any, out: PyTree) -> PyTree:
        return jax.tree.map(
            lambda buffer, value: jax.lax.dynamic_update_slice_in_dim(buffer, value, i * slots, 0),
            out,
            part(i),
        )

    groups = jnp.asarray((count + slots - 1) // slots, jnp.int32)
    return jax.lax.fori_loop(jnp.zeros((), jnp.int32), groups, body, out)
