"""Steps of a flow with kinks: smooth between events, and events located as the error asks."""

from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..formulations.base import norm
from ..formulations.filippov import OFF, ON, SLIDES, Filippov, Kinks, Modes
from .control import BlockController
from .implicit import Implicit
from .iteration import still

# A step may pass a kink by so much of what it may err by. What is aimed at, and what is no event.
AIM, SMALL = 0.25, 0.1


class StepError(eqx.Module):
    """The error of a step; by how much it passed an event, in units of what is allowed; the length
    of a better one.
    """

    error: Any
    late: Float[Array, ""]
    length: Float[Array, ""]


class Sliding(diffrax.AbstractAdaptiveSolver):
    """A solver whose steps keep the modes of a Filippov flow, and change them where they end.

    A kink that a step has passed goes on with the wrong derivative for the rest of the step. The
    error in the weights is at most that time times the jump of their velocity. Where it is above
    the tolerance, the step is made again, to end shortly behind the kink; most kinks of a wide
    network need no such step.
    """

    solver: diffrax.AbstractSolver
    form: Filippov
    rtol: Float[Array, ""]  # of the error of a step, relative to the weights

    term_structure: ClassVar[Any] = diffrax.ODETerm

    @property
    def interpolation_cls(self) -> Any:  # type: ignore[override]
        return self.solver.interpolation_cls

    def order(self, terms: Any) -> Any:
        return self.solver.order(terms)

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        modes = still(self.form).start_modes(still(y0))
        return self.solver.init(terms, t0, t1, y0, args), modes, jnp.asarray(True)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        args: Any,
        solver_state: Any,
        made_jump: Any,
    ) -> Any:
        inner, modes, changed = solver_state
        form, solver = self.form.in_modes(modes), self.solver
        if isinstance(solver, Implicit):
            solver = eqx.tree_at(lambda s: s.form, solver, form, is_leaf=lambda x: x is self.form)
        y1, error, dense, inner, result = solver.step(
            diffrax.ODETerm(form.field), t0, t1, y0, args, inner, made_jump | changed
        )
        new, late, length = self.events(*map(still, (form, t1 - t0, y0, y1)))
        weights = form.at_kinks(y1.weights, new)
        y1 = eqx.tree_at(lambda y: y.weights, y1, weights)
        error = StepError(error, late, length)
        return y1, error, dense, (inner, new, jnp.any(new != modes)), result

    def events(self, form: Filippov, h: Array, y0: Any, y1: Any) -> tuple[Modes, Array, Array]:
        """The modes after a step of length h; by how much it passed an event, in units of what is
        allowed; and how long a step would be that does not.
        """
        (z0, g0, u0, rates0), (z1, g1, u1, rates1) = (self._look(form, y) for y in (y0, y1))
        modes, reach = form.modes, form.reaches
        slides = modes == SLIDES
        allowed = self.rtol * norm(y0.weights)
        # Kinks that are passed. Where the flow then slides, what is passed is projected away.
        passed = ((modes == ON) & (z1 < 0)) | ((modes == OFF) & (z1 > 0))
        at = _root(z0, h * rates0, z1, h * rates1)
        rest = (1 - at) * h
        err = jnp.abs(g1) * (1 - form.slope) * reach * rest
        err = jnp.where(g1 < 0, jnp.minimum(err, jnp.abs(z1) / reach), err)
        better = at * h + rest * jnp.minimum(AIM * allowed / _positive(err), 1)
        # Kinks that are left: u grows beyond its bounds, from inside of them.
        inside, beyond = -_outside(form, g0, u0), _outside(form, g1, u1)
        left = slides & (beyond > 0)
        at = jnp.clip(inside / _positive(inside + beyond), 0, 1)
        late = 0.5 * (1 - at) * h * beyond * reach
        sooner = h * (at + (1 - at) * jnp.minimum(jnp.sqrt(AIM * allowed / _positive(late)), 1))
        err = jnp.where(passed, err, jnp.where(left, late, 0))
        better = jnp.where(passed, better, jnp.where(left, sooner, h))
        length = jnp.min(jnp.where(err > SMALL * allowed, better, h), initial=jnp.inf)
        new = form.settled(z1, g1, modes, passed | slides)
        return new, jnp.max(err, initial=0) / _positive(allowed), length

    def _look(self, form: Filippov, y: Any) -> tuple[Kinks, Kinks, Kinks, Kinks]:
        """z, g, u and z' at a state."""
        g = form.pulls(y.weights, y.E.value)
        return form.preactivations(y.weights), g, *form.multipliers(g, form.modes)


class SlidingController(BlockController):
    """The controller of `Sliding`: a step that passed an event by too much is made shorter."""

    def init(self, *args: Any) -> Any:
        t1, state = super().init(*args)
        return t1, (state, jnp.zeros((), self.rtol.dtype))

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,  # a StepError
        error_order: Any,
        controller_state: Any,
    ) -> Any:
        old, planned = controller_state
        keep, t0_next, t1_next, jump, new, result = super().adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error.error, error_order, old
        )
        late = y_error.late > 1
        short, kept = keep & late, keep & ~late
        # Behind the event go on with the length of the step that met it.
        t1_next = jnp.where(kept, jnp.maximum(t1_next, t0_next + planned), t1_next)
        t1_next = jnp.where(short, t0 + y_error.length, t1_next)
        t0_next = jnp.where(short, t0, t0_next)
        planned = jnp.where(
            short, jnp.maximum(planned, t1 - t0), jnp.where(keep, jnp.zeros_like(planned), planned)
        )
        state = jax.tree.map(lambda a, b: jnp.where(short, a, b), old, new)
        return kept, t0_next, t1_next, jump, (state, planned), result


def sliding(form: Filippov, solver: Any, controller: Any) -> tuple[Sliding, SlidingController]:
    """The solver and the controller for these formulations."""
    fields = {name: getattr(controller, name) for name in controller.__dataclass_fields__}
    return Sliding(solver, form, controller.rtol), SlidingController(**fields)


def _outside(form: Filippov, g: Kinks, u: Kinks) -> Kinks:
    """By how much u is outside of what the derivative of the activation allows; < 0 inside."""
    low, high = form.bounds(g)
    return jnp.maximum(low - u, u - high)


def _positive(x: Array) -> Array:
    return jnp.maximum(x, jnp.finfo(x.dtype).tiny)


def _root(z0: Array, d0: Array, z1: Array, d1: Array) -> Array:
    """Where in [0, 1] the cubic with these values and derivatives at 0 and 1 changes its sign."""

    def cubic(s: Array) -> tuple[Array, Array]:
        rise = z1 - z0
        a, b = d0 - rise, rise - d1
        bend = s * (1 - s)
        value = z0 + s * rise + bend * ((1 - s) * a + s * b)
        slope = rise + (1 - 2 * s) * ((1 - s) * a + s * b) + bend * (b - a)
        return value, slope

    s = jnp.clip(z0 / jnp.where(z0 == z1, 1, z0 - z1), 0, 1)
    for _ in range(4):
        value, slope = cubic(s)
        s = jnp.clip(s - value / jnp.where(slope == 0, 1, slope), 0, 1)
    return jnp.where(jnp.isfinite(s), s, 0)
