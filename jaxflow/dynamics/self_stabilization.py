"""Damian, Nichani and Lee's models of gradient descent at the edge of stability."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..machine.arguments import integer, shown
from ..networks.curvature import product
from ..networks.edge import Edge
from .formulations import Parameters
from .rules import Curved, Loss, flattened


class ConstrainedTrajectory(Curved):
    r"""Descent projected onto `{S <= 2 / eta, <grad L, u> = 0}`, u the leading eigenvector.

    Each step is one of descent and then a few linearized projections,

        `- max(0, S - 2/eta) grad S_perp / ||grad S_perp||^2 - u <u, grad L> / S`,

    where S is the leading eigenvalue of the Hessian, and grad S_perp its gradient without the part
    along u.

    **Arguments:** `iterations` of LOBPCG per projection (default 3); `projections` per step
    (default 3).

    **Source:** Damian, Nichani, Lee (ICLR 2023), as in the authors' code.
    """

    projections: int = eqx.field(default=3, static=True, kw_only=True)

    def __check_init__(self):
        integer("projections", self.projections)
        if self.unstable != 1:
            raise ValueError(f"unstable must be 1 here, got {shown(self.unstable)}.")

    def start(self, form: Parameters, parameters: PyTree[Array], rate: Any) -> PyTree:
        loss, flat, _ = flattened(form, parameters)
        return self.directions(loss, flat)

    def step(
        self, form: Parameters, parameters: Any, state: PyTree, rate: Any, batch: Loss
    ) -> tuple[PyTree[Array], PyTree]:
        loss, flat, unravel = flattened(form, parameters)
        start = flat - rate * jax.grad(loss)(flat)
        flat, state = self.project(loss, start, state, rate)
        return unravel(flat), state

    def project(self, loss: Loss, x: Array, memory: Array, rate: Any) -> tuple[Array, Array]:
        """The projection of the weights x, and the eigenvectors there."""

        def once(_: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            x, memory = carry
            edge = self.look(loss, x, memory)
            u, S = edge.vectors[:, 0], edge.values[0]
            slope = across(edge)
            size = slope @ slope
            excess = jax.nn.relu(S - 2 / rate)
            x = x - excess * jnp.where(size > 0, slope / jnp.where(size > 0, size, 1), 0)
            # Where S <= 0 there is no minimum along u to go to.
            along = jnp.where(S > 0, (u @ edge.gradient) / jnp.where(S > 0, S, 1), 0)
            return x - u * along, edge.memory

        return jax.lax.fori_loop(0, self.projections, once, (x, memory))


def across(edge: Edge) -> Float[Array, " P"]:
    """grad S without its part along the leading eigenvector u; S is the leading eigenvalue."""
    u, slope = edge.vectors[:, 0], edge.third[0, 0]
    return slope - u * (u @ slope)


class PredictedDynamics(ConstrainedTrajectory):
    r"""Damian, Nichani and Lee's prediction of descent, `theta = theta_+ + v`.

    theta_+ is the constrained trajectory, and v obeys, with x = <u, v>, y = <grad S_perp, v>,
    everything at theta_+, and p what the projection of this step takes off,

        `v <- v - eta (H v + u x y + x^2 / 2 grad S_perp) + p`;

    to first order `p = eta delta^2 / 2 grad S_perp`,
    `delta^2 = 2 <-grad L, grad S> / ||grad S_perp||^2`, while theta_+ is on the constraint. Start
    it where S first reaches 2 / eta: theta_+ begins at the projection of that point.

    **Source:** Damian, Nichani, Lee (ICLR 2023), as in the authors' code.
    """

    def start(self, form: Parameters, parameters: PyTree[Array], rate: Any) -> PyTree:
        memory = super().start(form, parameters, rate)
        loss, flat, _ = flattened(form, parameters)
        return self.project(loss, flat, memory, rate)

    def step(
        self, form: Parameters, parameters: Any, state: PyTree, rate: Any, batch: Loss
    ) -> tuple[PyTree[Array], PyTree]:
        loss, flat, unravel = flattened(form, parameters)
        at, memory = state
        edge = self.look(loss, at, memory)
        u, slope, v = edge.vectors[:, 0], across(edge), flat - at
        x, y = u @ v, slope @ v
        free = at - rate * edge.gradient
        after, memory = self.project(loss, free, edge.memory, rate)
        v = v - rate * (product(loss, at, v) + u * x * y + 0.5 * x**2 * slope) + free - after
        return unravel(after + v), (after, memory)
