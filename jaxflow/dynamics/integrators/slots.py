r"""A Runge-Kutta loop over slots that are refilled as their trajectories end.

Trajectories lie along the last axis of every array, where their arithmetic vectorizes, and a slot
whose trajectory has ended takes the next one from the queue. Steps, step sizes and stops are those
of `flow.solve`, by the same tableau, dense output and controller; every trajectory is computed lane
by lane, so that it does not depend on its company.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ..._types import Network, State
from ...data import Regression
from ..flow import horizon
from ..formulations import Formulation
from ..settings import FlowSettings
from ..solution import Record, Solution, summary
from ..status import Result
from ..view import View
from .control import BlockController, control
from .crossing import Crossing

RUNNING = -1  # beside the codes of `Result`
INT = jnp.int32
ROUND = 8  # steps between two looks at which slots are free

SaveTimes = Callable[[Any, Regression], Array | None]  # (network, data) -> saved times


class Ended(eqx.Module):
    """How a trajectory was left. Every leaf has the trajectories along its first axis."""

    t: Array
    y: PyTree[Array]
    steps: Array
    saves: Array
    status: Array


class Slots(eqx.Module):
    """What a slot carries. Every leaf has the slots along its last axis."""

    index: Int[Array, " slots"]  # of the trajectory
    t: Float[Array, " slots"]
    goal: Float[Array, " slots"]  # where the next step ends
    y: PyTree[Array]
    k: PyTree[Array]  # the field at y
    size: PyTree[Array]
    control: PyTree[Array]
    root: Crossing | None
    steps: Int[Array, " slots"]
    saves: Int[Array, " slots"]  # how many times have been saved
    status: Int[Array, " slots"]

    def left(self) -> Ended:
        """The slots as trajectories."""
        y = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), self.y)
        return Ended(self.t, y, self.steps, self.saves, self.status)


class Loop:
    """One run of the loop; an object only so that its parts share what stays fixed."""

    def __init__(
        self,
        form: Formulation,
        networks: PyTree,
        save_times: SaveTimes,
        settings: FlowSettings,
        count: Int[Array, ""],
        slots: int,
    ):
        self.form, self.networks, self.settings = form, networks, settings
        self.data, self.count, self.slots = form.data, count, slots
        self.total = len(jax.tree.leaves(networks)[0])
        solver: Any = settings.solver
        self.tableau = solver.tableau
        self.order = solver.error_order(diffrax.ODETerm(form.field))
        self.interpolation = solver.interpolation_cls
        self.dtype = form.data.X.dtype
        self.starts = jax.vmap(form.start)(networks)
        rates = jax.vmap(form.fastest_rate)(self.starts)

        def spans(rate: Any, network: Any) -> tuple[Array, Array, Array]:
            return horizon(rate, save_times(network, form.data), self.dtype)

        self.ts, self.t1, self.scale = jax.vmap(spans)(rates, networks)
        # The stiffest first, so that no long trajectory is left to run alone at the end.
        real = jnp.arange(self.total, dtype=INT) < count
        self.queue = jnp.argsort(jnp.where(real, -self.t1 / self.scale, jnp.inf)).astype(INT)
        self.ended = Result.finished if settings.until is None else Result.not_stopped

    def controller(self, scale: Array) -> BlockController:
        """The controller of one trajectory."""
        return control(self.settings.rtol, scale, self.form.error_scales)

    # One step of every slot

    def step(self, s: Slots, saved: PyTree) -> tuple[Slots, PyTree]:
        """Every slot one step further, or, if the step is rejected, its next one shorter."""
        form = self.form
        y1, error, ks = self.stages(s.y, s.k, s.goal - s.t)
        size1 = form.error_scales(y1)
        scale, t1 = self.scale[s.index], self.t1[s.index]

        def judge(s: Slots, size1: PyTree, error: PyTree, scale: Array) -> Any:
            controller = self.controller(scale)
            scaled = controller.scaled(s.size, size1, error)
            keep, _, goal, _, control, verdict = controller.judge(
                s.t, s.goal, scaled, self.order, s.control
            )
            return keep, goal, control, verdict != diffrax.RESULTS.successful

        keep, goal, control, lost = jax.vmap(judge, in_axes=(-1, 0, -1, 0))(s, size1, error, scale)
        running = s.status == RUNNING
        if s.root is None:
            root, met, searching = None, jnp.zeros_like(running), jnp.zeros_like(running)
        else:
            value = self.value(s.index, s.goal, y1)
            root, met, searching = s.root.narrow(running & keep, s.t, s.goal, value)
            # A slot that waits for its next trajectory keeps the last one as it was left.
            met, searching = met & running, searching & running
        moved = met | (running & keep & ~searching)
        saves, saved = self.save(saved, s, ks, moved, s.goal)
        k1 = ks[-1] if self.tableau.fsal else form.field(None, y1, None)
        t = jnp.where(moved, s.goal, s.t)
        # A last step that would be a sliver is taken together with the one before it.
        goal = jnp.where(goal + 1e-6 * (goal - t) >= t1, t1, goal)
        if root is not None:
            goal = jnp.where(searching, root.guess(), goal)
        steps = s.steps + running.astype(INT)
        out_of_steps = running & ~searching & (steps >= self.settings.max_steps)
        status = jnp.where(out_of_steps, Result.max_steps_reached, s.status)
        status = jnp.where(running & lost & ~searching, Result.not_finite, status)
        status = jnp.where(moved & (s.goal >= t1), self.ended, status)
        status = jnp.where(met, Result.stopped, status)
        return Slots(
            index=s.index,
            t=t,
            goal=jnp.where(running, goal, s.goal),
            y=_where(moved, y1, s.y),
            k=_where(moved, k1, s.k),
            size=_where(moved, size1, s.size),
            control=_where(running & ~searching, control, s.control),
            root=root,
            steps=steps,
            saves=saves,
            status=status,
        ), saved

    def stages(self, y: PyTree, k: PyTree, dt: Array) -> tuple[PyTree, PyTree, list[PyTree]]:
        """The end of a step, its error estimate, and the field at every stage."""
        tableau, ks = self.tableau, [k]

        def combine(weights: Any, y: PyTree | None = None) -> PyTree:
            used = [(float(w), k) for w, k in zip(weights, ks, strict=False) if w != 0]

            def leaf(*parts: Array) -> Array:
                total = sum(w * part for (w, _), part in zip(used, parts, strict=False))
                return total * _lanes(dt, parts[0])

            change = jax.tree.map(leaf, *[k for _, k in used])
            return change if y is None else jax.tree.map(jnp.add, y, change)

        y1 = y
        for row in tableau.a_lower:
            y1 = combine(row, y)
            ks.append(self.form.field(None, y1, None))
        if not tableau.ssal:
            y1 = combine(tableau.b_sol, y)
        return y1, combine(tableau.b_error), ks

    def dense(self, s: Slots, ks: list[PyTree], share: Array) -> PyTree:
        """The state at a share of the step from `s.t` to `s.goal`, by the solver's own output."""
        count = len(ks)
        # Dense output is linear in the stages: on unit vectors it gives their weights.
        unit, zero = jnp.eye(count, dtype=self.dtype), jnp.zeros(count, self.dtype)
        one = jnp.ones((), self.dtype)
        ends = jnp.asarray(self.tableau.b_sol, self.dtype)
        step = self.interpolation(t0=0 * one, t1=one, y0=zero, y1=ends, k=unit)
        weights = jax.vmap(step.evaluate, out_axes=-1)(share) * (s.goal - s.t)[None]

        def leaf(y: Array, *parts: Array) -> Array:
            return y + sum(
                part * _lanes(weight, part) for weight, part in zip(weights, parts, strict=True)
            )

        return jax.tree.map(leaf, s.y, *ks)

    # What is asked of a state

    def starting(self, index: Array) -> tuple[PyTree, PyTree]:
        """The networks that these trajectories started from, and their states then."""
        return jax.tree.map(lambda leaf: leaf[index], (self.networks, self.starts))

    def value(self, index: Array, t: Array, y: PyTree) -> Array:
        """What the stopping rule says: positive until it is met."""
        rule: Any = self.settings.until

        def one(t: Any, y: Any, network: Any, start: Any) -> Array:
            return rule(t, View(self.form, y, network), View(self.form, start, network))

        return jax.vmap(one, in_axes=(0, -1, 0, 0))(t, y, *self.starting(index))

    def read(self, t: Any, y: Any, network: Any, start: Any) -> list[PyTree]:
        """What the measures keep of one moment of one trajectory."""
        first, view = View(self.form, start, network), View(self.form, y, network)
        # What is fixed at the start is computed again: hardly any update uses it, and it can be big
        return [m.update(t, view, m.start(first)) for m in self.settings.measures]

    def save(
        self, saved: PyTree, s: Slots, ks: list[PyTree], which: Array, until: Array
    ) -> tuple[Array, PyTree]:
        """Save what is due up to the time `until`, where `which`."""
        if not jax.tree.leaves(saved):
            return s.saves, saved
        last = self.ts.shape[1] - 1

        def due(saves: Array) -> tuple[Array, Array]:
            t = self.ts[s.index, jnp.minimum(saves, last)]
            return t, which & (saves <= last) & (t <= until)

        def body(carry: tuple[Array, PyTree]) -> tuple[Array, PyTree]:
            saves, saved = carry
            t, now = due(saves)
            y = self.dense(s, ks, (t - s.t) / (s.goal - s.t))
            values = jax.vmap(self.read, in_axes=(0, -1, 0, 0))(t, y, *self.starting(s.index))
            row = jnp.where(now, s.index, self.total)  # out of bounds: dropped
            saved = jax.tree.map(
                lambda buffer, value: buffer.at[row, saves].set(value, mode="drop"), saved, values
            )
            return saves + now.astype(INT), saved

        return jax.lax.while_loop(lambda carry: jnp.any(due(carry[0])[1]), body, (s.saves, saved))

    # The queue

    def fresh(self, index: Array) -> Slots:
        """Slots at the start of these trajectories."""
        y = jax.tree.map(lambda leaf: jnp.moveaxis(leaf[index], 0, -1), self.starts)
        scale, t1 = self.scale[index], self.t1[index]
        positive = t1 > 0  # an interval of length zero is a legitimate one: ts = [0]
        dt = jnp.where(positive, jnp.minimum(1e-2 * scale, t1), scale)
        none = jnp.zeros_like(index)
        root = None
        if self.settings.until is not None:
            root = Crossing.at(jnp.zeros_like(t1), self.value(index, jnp.zeros_like(t1), y))
        begin = jax.vmap(lambda dt, scale: self.controller(scale).begin(dt, self.order))
        return Slots(
            index=index,
            t=jnp.zeros_like(t1),
            goal=dt,
            y=y,
            k=self.form.field(None, y, None),
            size=self.form.error_scales(y),
            control=begin(dt, scale),
            root=root,
            steps=none,
            saves=none,
            status=jnp.where(positive, RUNNING, self.ended).astype(none.dtype),
        )

    def refill(self, s: Slots, taken: Array) -> tuple[Slots, Array]:
        """Give every free slot the next trajectory of the queue, as long as there are any."""
        free = s.status != RUNNING
        place = taken + jnp.cumsum(free, dtype=INT) - 1
        take = free & (place < self.count)
        new = self.fresh(self.queue[jnp.minimum(place, self.total - 1)])
        return _where(take, new, s), taken + jnp.sum(take, dtype=INT)

    def run(self) -> dict[str, Array]:
        """Work the queue off, then finish every trajectory where it was left."""
        s = self.fresh(self.queue[: self.slots])
        # Slots beyond the end of a short queue have nothing to do.
        idle = jnp.arange(self.slots, dtype=INT) >= self.count
        s = eqx.tree_at(lambda s: s.status, s, jnp.where(idle, self.ended, s.status))
        shapes = jax.eval_shape(
            jax.vmap(self.read), self.t1, self.starts, self.networks, self.starts
        )
        times = self.ts.shape[1]
        saved = jax.tree.map(
            lambda leaf: jnp.zeros((self.total, times, *leaf.shape[1:]), leaf.dtype), shapes
        )
        left = jax.tree.map(
            lambda leaf: jnp.zeros((self.total, *leaf.shape[1:]), leaf.dtype), s.left()
        )

        def running(s: Slots) -> Array:
            return jnp.any(s.status == RUNNING)

        def go(carry: Any) -> Any:
            n, s, saved = carry
            return n + 1, *self.step(s, saved)

        def round_(carry: Any) -> Any:
            s, saved, left, taken, spent = carry
            n, s, saved = jax.lax.while_loop(
                lambda c: (c[0] < ROUND) & running(c[1]), go, (jnp.zeros_like(spent), s, saved)
            )
            left = _put(left, s.index, s.left())
            s, taken = self.refill(s, taken)
            return s, saved, left, taken, spent + n

        taken = jnp.minimum(self.slots, self.count)
        carry = (s, saved, left, taken, jnp.zeros_like(taken))
        carry = jax.lax.while_loop(lambda c: running(c[0]) | (c[3] < self.count), round_, carry)
        s, saved, left, _, spent = carry
        left = _put(left, s.index, s.left())
        xs = self.networks, self.starts, self.ts, left, saved
        out = map_in_groups(
            lambda x: summary(ended(self.form, self.settings, *x)), xs, self.count, self.slots
        )
        return {**out, "lockstep": (self.slots * spent)[None]}


def ended(
    form: Formulation,
    settings: FlowSettings,
    network: Network,
    start: State,
    ts: Array,
    end: Ended,
    saved: list[PyTree],
) -> Solution:
    """One trajectory, from its start, how it ended, and what was saved."""
    record = Record(form, network, start, settings.measures, settings.loss)
    unknown = jnp.zeros_like(end.steps)
    return record.solution(
        ts,
        (jnp.zeros_like(ts), saved),  # the loss at saved times is a measure, if it is wanted
        end.t,
        end.y,
        call="gradient_flow",
        status=end.status,
        steps=end.steps,
        accepted=unknown,
        rejected=unknown,
        beyond=jnp.arange(len(ts), dtype=INT) >= end.saves,
    )


def _lanes(values: Array, like: Array) -> Array:
    """One value a slot, in a shape that goes with an array whose last axis is the slots."""
    return values.reshape(*[1] * (like.ndim - 1), -1)


def _where(which: Array, new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(_lanes(which, a), a, b), new, old)


def _put(left: PyTree, rows: Array, values: PyTree) -> PyTree:
    return jax.tree.map(lambda buffer, value: buffer.at[rows].set(value), left, values)


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
        jax.eval_shape(part, jnp.zeros((), INT)),
    )

    def body(i: Any, out: PyTree) -> PyTree:
        return jax.tree.map(
            lambda buffer, value: jax.lax.dynamic_update_slice_in_dim(buffer, value, i * slots, 0),
            out,
            part(i),
        )

    groups = jnp.asarray((count + slots - 1) // slots, INT)
    return jax.lax.fori_loop(jnp.zeros((), INT), groups, body, out)
