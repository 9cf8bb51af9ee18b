"""Stalls: a solver at a kink towards which the flow pushes from both sides."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ...networks.smoothing import kink_arguments
from ..formulations import Formulation

WINDOW = 50  # accepted steps after which progress is judged
FAR = 1e4  # steps within which nothing would change by a factor e, nor the end be reached
REACH = 2  # steps within which a kink is near
BEYOND = 1.5  # how far beyond a kink its other side is looked at, in distances to it


class Window(eqx.Module):
    """What happened since a window of accepted steps began."""

    t: Float[Array, ""]
    y: Any  # the state then
    steps: Int[Array, ""]
    before: Bool[Array, ""]  # whether the window before was one of sliding


class Watch(eqx.Module):
    r"""Tells a flow that slides along a kink from one that passes it, or is stiff.

    Where the fields on both sides of a kink z = 0 push towards it, a solver for smooth equations
    errs by the length of a step times the jump of the field, so that for a tolerance rtol it takes
    about 1 / rtol steps per unit of the flow's own time. The solve is given up if within each of
    two successive windows of 50 accepted steps neither weights nor loss changed by more than 0.5%,
    if the end is more than 10,000 such steps away, and if at the end of both windows there is a
    kink within the reach of two steps whose z' changes its sign with z. A stiff solve also takes
    short steps, but a kink that it passes is passed, and a smooth network has none.
    """

    form: Formulation
    network: Any
    t1: Float[Array, ""]
    size: Callable[..., Array]  # of the change between two states, relative to them

    def start(self, t: Any, y: Any) -> Window:
        """The window that begins here."""
        return Window(t, y, jnp.zeros((), jnp.int32), jnp.asarray(False))

    def after(self, step: Array, h: Any, t: Any, y: Any, last: Window) -> tuple[Window, Array]:
        """The window after a step, if it was accepted, and whether the solve is stalled."""
        steps = last.steps + 1
        over = step & (steps == WINDOW)
        loss = jnp.abs(self.form.log_excess(y) - self.form.log_excess(last.y))
        still = (self.size(last.y, y) < WINDOW / FAR) & (loss < WINDOW / FAR)
        away = self.t1 - t > FAR / WINDOW * (t - last.t)
        # A loop and no condition: in a batch it is run only if some trajectory needs it.
        asked = over & still & away
        no = jnp.zeros_like(asked)
        _, slides = jax.lax.while_loop(
            lambda carry: carry[0], lambda _: (no, self.slides(h, t, y)), (asked, no)
        )
        new = Window(t, y, jnp.zeros_like(steps), slides)
        on = Window(last.t, last.y, steps, last.before)
        now = jax.tree.map(lambda a, b, c: jnp.where(over, a, jnp.where(step, b, c)), new, on, last)
        return now, slides & last.before

    def slides(self, h: Any, t: Any, y: Any) -> Array:
        """Whether a kink within a step of length h is one at which the flow slides."""
        z, along = self.kinks(t, y)
        distance = jnp.where(z * along < 0, -z / jnp.where(along == 0, 1, along), jnp.inf)
        near = distance < REACH * h
        nearest = jnp.min(distance, initial=jnp.inf)
        go = jnp.where(jnp.isfinite(nearest), BEYOND * nearest, 0)
        beyond = jax.tree.map(lambda y, v: y + go * v, y, self.form.field(t, y, None))
        _, back = self.kinks(t, beyond)
        return jnp.any(near & (back * along < 0))

    def kinks(self, t: Any, y: Any) -> tuple[Array, Array]:
        """z and z' of all kinks."""

        def z(y: Any) -> Array:
            network = self.form.lift(y, self.network)
            found = jax.vmap(lambda x: kink_arguments(network, x))(self.form.data.X)
            return jnp.concatenate([z.reshape(-1) for z in found])

        return jax.jvp(z, (y,), (self.form.field(t, y, None),))
