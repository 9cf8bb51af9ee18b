"""Many trajectories at once, and what is kept of each.

Under `vmap` an adaptive solve runs until its slowest trajectory is done, and on small networks most
of its time goes into bookkeeping: where the formulation allows, the loop of `slots.py` does the
same steps several times faster.
"""

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from ..data import Regression
from .descent import DescentSettings, descend
from .flow import horizon, solve
from .formulations import Formulation, choose
from .integrators.slots import Loop, SaveTimes, map_in_groups
from .settings import FlowSettings
from .solution import Record, summary


def flows(
    networks: PyTree,
    data: Regression,
    save_times: SaveTimes,
    settings: FlowSettings,
    count: Int[Array, ""],
    *,
    slots: int,
) -> dict[str, Array]:
    """The gradient flows of many networks, and what is kept of each.

    **Arguments:**

    - `networks`: a network whose leaves have a leading axis, one entry a trajectory.
    - `data`, `settings`: as in `flow.solve`.
    - `save_times`: the saved times of a trajectory, `(network, data) -> times or None`.
    - `count`: how many of the entries are real; what lies beyond is filling and is not solved.
    - `slots`: trajectories solved side by side.

    **Returns:** arrays with a leading axis: `status` (a code of `Result`), `t_end`,
    `log_excess_start`, `log_excess_end`, `steps`, `discrepancy`, and one entry a measure; and
    `lockstep` (1,): slots times iterations, the steps there was room for.
    """
    form = _shared(networks, data, settings)
    if form is None:
        return _side_by_side(networks, data, save_times, settings, count, slots)
    return Loop(form, networks, save_times, settings, count, slots).run()


def descents(
    networks: PyTree,
    data: Regression,
    settings: DescentSettings,
    keys: Any,
    count: Int[Array, ""],
    *,
    slots: int,
) -> dict[str, Array]:
    """The descents of many networks, settings and a key each; returns what `flows` does."""
    arrays, rest = eqx.partition((networks, settings), eqx.is_array)

    def one(each: Any) -> dict[str, Array]:
        arrays, key = each
        network, settings = eqx.combine(arrays, rest)
        return summary(descend(network, data, dataclasses.replace(settings, key=key)))

    return _counted(map_in_groups(one, (arrays, keys), count, slots), slots)


def probe(
    network: Any, data: Regression, save_times: SaveTimes, settings: FlowSettings
) -> tuple[dict[str, Array], PyTree]:
    """What `flows` would keep of this trajectory, without solving it, and its state: for shapes."""
    form = choose(settings.formulation, network, data, settings.loss)
    y = form.start(network)
    ts, t1, _ = horizon(form.fastest_rate(y), save_times(network, data), data.X.dtype)
    record = Record(form, network, y, settings.measures, settings.loss)
    saved = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (*ts.shape, *leaf.shape)), record.read(t1, y)
    )
    none = jnp.zeros((), jnp.int32)
    solution = record.solution(
        ts, saved, t1, y, call="", status=none, steps=none, accepted=none, rejected=none
    )
    return summary(solution), y


def _shared(networks: PyTree, data: Regression, settings: FlowSettings) -> Formulation | None:
    """The formulation, if it holds nothing of a single network and an explicit solver serves."""
    first: Any = jax.tree.map(lambda leaf: leaf[0], networks)
    form = choose(settings.formulation, first, data, settings.loss)
    explicit = isinstance(settings.solver, diffrax.AbstractERK)
    tableau: Any = getattr(settings.solver, "tableau", None)
    return form if form.side_by_side and explicit and tableau.b_error is not None else None


def _side_by_side(
    networks: PyTree,
    data: Regression,
    save_times: SaveTimes,
    settings: FlowSettings,
    count: Any,
    slots: int,
) -> dict[str, Array]:
    """Under vmap, `slots` at a time: for formulations and solvers that the loop does not know."""

    def one(network: Any) -> dict[str, Array]:
        return summary(solve(network, data, save_times(network, data), settings))

    return _counted(map_in_groups(one, networks, count, slots), slots)


def _counted(out: dict[str, Array], slots: int) -> dict[str, Array]:
    longest = jnp.max(out["steps"].reshape(-1, slots), axis=1)
    return {**out, "lockstep": slots * jnp.sum(longest, keepdims=True)}
