r"""A Runge-Kutta loop over slots that are refilled as their trajectories end: for `loop.py` alone.

jaxflow had it for two-layer linear networks until `loop.py` measured its gain. Trajectories lie
along the last axis of every array, and a slot whose trajectory has ended takes the next one from
the queue. Steps, step sizes and stops are those of `gradient_flow`, by the same tableau, dense
output and controller.
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxflow import Result
from jaxflow.dynamics import View
from jaxflow.dynamics.ensemble import SaveTimes, map_in_groups
from jaxflow.dynamics.flow import time_scale
from jaxflow.dynamics.formulations import TwoLayerResidual
from jaxflow.dynamics.formulations.residual import LogResidual, ResidualState
from jaxflow.dynamics.formulations.two_layer_linear import Factors
from jaxflow.dynamics.integrators.control import BlockController, control
from jaxflow.dynamics.settings import FlowSettings
from jaxflow.dynamics.solution import Record, Solution, summary


def matmul(a: Array, b: Array) -> Array:
    """The products of pairs of matrices along the last axis."""
    return jnp.sum(a[:, :, None] * b[None], axis=1)


class Lanes(TwoLayerResidual):
    """The formulation with many trajectories along the last axis of every leaf."""

    def field(self, t: Any, state: ResidualState, args: Any) -> ResidualState:
        V, U1, E = state.weights.V, state.weights.U1, state.E.direction
        s = self.data.singular_values[:, None, None]
        EV, EU = s * matmul(E, V), matmul(jnp.swapaxes(s * E, 0, 1), U1)
        decay = s * (matmul(EV, jnp.swapaxes(V, 0, 1)) + matmul(U1, jnp.swapaxes(EU, 0, 1)))
        square = jnp.sum(E**2, axis=(0, 1))
        rate = jnp.sum(E * decay, axis=(0, 1)) / jnp.where(square > 0, square, 1)
        size = jnp.exp(state.E.log_size)
        return ResidualState(
            Factors(_lanes(size, EU) * EU, _lanes(size, EV) * EV),
            LogResidual(-rate, _lanes(rate, E) * E - decay),
        )

    def error_scales(self, state: ResidualState) -> ResidualState:
        squares = [jnp.sum(leaf**2, axis=(0, 1)) for leaf in (state.weights.V, state.weights.U1)]
        size, one = jnp.sqrt(sum(squares)), jnp.ones_like(state.E.log_size)
        return ResidualState(Factors(size, size), LogResidual(one, one))


def begin(controller: BlockController, dt0: Array, order: Any) -> Any:
    """The controller's state before the first step."""
    zero = jnp.zeros_like(dt0)
    return controller.init(None, zero, dt0, zero, dt0, None, None, order)[1]


def judge(
    controller: BlockController, t0: Any, t1: Any, scaled: Any, order: Any, state: Any
) -> Any:
    """What Diffrax's controller makes of a step with this scaled error."""
    zero = jnp.zeros((), controller.rtol.dtype)
    return controller._pid(t0).adapt_step_size(t0, t1, zero, zero, None, scaled, order, state)


RUNNING = -1  # beside the codes of `Result`
INT = jnp.int32
ROUND = 8  # steps between two looks at which slots are free


class Crossing(eqx.Module):
    """The search for the time at which a rule is met: steps from one state to ever better guesses.

    Regula falsi (Illinois): `low` is the latest time known to be too early, `high` the earliest
    known to be late enough, infinite as long as there is none. No dense output is involved, so the
    end is as accurate as a step.
    """

    value: Array  # of the rule at the state the steps start from
    low: Array
    high: Array
    at_low: Array
    at_high: Array
    side: Array  # the end that moved last: -1, 1, or 0

    @staticmethod
    def at(t: Array, value: Array) -> "Crossing":
        """No search yet. A rule that is met already gets its crossing at the start."""
        value = jnp.where(value > 0, value, 1)
        none = jnp.zeros_like(t)
        return Crossing(value, t, none + jnp.inf, value, none, none)

    def narrow(
        self, taken: Array, t: Array, goal: Array, value: Array
    ) -> tuple["Crossing", Array, Array]:
        """After a step from `t` to `goal`: the search; where it ended there; where it is on.

        `taken`: where the step would be accepted; within a search every step is.
        """
        on = jnp.isfinite(self.high)
        late = (taken | on) & (value <= 0)
        early = on & ~late
        # What has not moved twice in a row counts for half: else one end would stay for ever.
        weight_low = jnp.where(self.side > 0, 0.5, 1)
        weight_high = jnp.where(self.side < 0, 0.5, 1)
        eps = jnp.finfo(value.dtype).eps
        root = Crossing(
            self.value,
            jnp.where(early, goal, self.low),
            jnp.where(late, goal, self.high),
            jnp.where(early, value, jnp.where(late, weight_low * self.at_low, self.at_low)),
            jnp.where(late, value, jnp.where(early, weight_high * self.at_high, self.at_high)),
            jnp.where(late, 1.0, jnp.where(early, -1.0, self.side)).astype(value.dtype),
        )
        close = (jnp.abs(value) <= 512 * eps * self.value) | (
            root.high - root.low <= 64 * eps * root.high
        )
        found = late | early
        # Where an ordinary step was made, the next one starts there.
        moved = taken & ~found
        begun = Crossing.at(goal, value)
        root = jax.tree.map(lambda a, b: jnp.where(moved, a, b), begun, root)
        return root, found & close, found & ~close

    def guess(self) -> Array:
        """The next time to try, inside the bracket."""
        width = self.high - self.low
        share = self.at_low / jnp.where(self.at_low > self.at_high, self.at_low - self.at_high, 1)
        return self.low + jnp.clip(share, 1e-3, 1 - 1e-3) * jnp.where(jnp.isfinite(width), width, 1)


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
        form: Lanes,
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
            ts = save_times(network, form.data)
            return ts, ts[-1], time_scale(rate, self.dtype)

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

        def judged(s: Slots, size1: PyTree, error: PyTree, scale: Array) -> Any:
            controller = self.controller(scale)
            scaled = controller.scaled(s.size, size1, error)
            keep, _, goal, _, control, verdict = judge(
                controller, s.t, s.goal, scaled, self.order, s.control
            )
            return keep, goal, control, verdict != diffrax.RESULTS.successful

        keep, goal, control, lost = jax.vmap(judged, in_axes=(-1, 0, -1, 0))(s, size1, error, scale)
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
        first = jax.vmap(lambda dt, scale: begin(self.controller(scale), dt, self.order))
        return Slots(
            index=index,
            t=jnp.zeros_like(t1),
            goal=dt,
            y=y,
            k=self.form.field(None, y, None),
            size=self.form.error_scales(y),
            control=first(dt, scale),
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
    form: Lanes,
    settings: FlowSettings,
    network: Any,
    start: Any,
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
