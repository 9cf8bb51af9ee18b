"""The residual as a state of its own: what keeps its relative accuracy down to any depth.

Under the squared loss the residual obeys `E' = -T E`, linear in E, with T symmetric and positive
semidefinite: the tangent kernel. It is carried as `E = exp(log_size) * direction` with
`||direction|| = 1`, so that neither rounding nor underflow puts a floor under the loss:

    log_size' = -<direction, T direction>,   direction' = -T direction - log_size' direction.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .base import Formulation, like, norm


class LogResidual(eqx.Module):
    """A residual in polar form, `E = exp(log_size) * direction`."""

    log_size: Float[Array, ""]
    direction: Float[Array, "a b"]

    @staticmethod
    def of(E: Float[Array, "a b"], log_size: Any = 0) -> "LogResidual":
        """The polar form of `exp(log_size) E`; a zero residual has a zero direction."""
        size = norm(E)
        safe = jnp.where(size > 0, size, 1)
        return LogResidual(jnp.log(safe) + log_size, E / safe)

    @property
    def value(self) -> Float[Array, "a b"]:
        """E itself; underflows to 0 where E is below the range of its dtype."""
        return jnp.exp(self.log_size) * self.direction

    @property
    def log_half_square(self) -> Float[Array, ""]:
        """`log(1/2 ||E||_F^2)`: the log of the excess loss."""
        square = jnp.sum(self.direction**2)
        zero = square == 0  # and nan stays nan: an overflow is not a minimum
        value = 2 * self.log_size + jnp.log(0.5 * jnp.where(zero, 1, square))
        return jnp.where(zero, -jnp.inf, value)

    def rate(self, decay: Float[Array, "a b"]) -> Float[Array, ""]:
        """The Rayleigh quotient `-log_size'`, given `decay = T direction`."""
        square = jnp.sum(self.direction**2)
        return jnp.sum(self.direction * decay) / jnp.where(square > 0, square, 1)

    def derivative(self, decay: Float[Array, "a b"]) -> "LogResidual":
        """The derivative of both coordinates, given `decay = T direction`."""
        rate = self.rate(decay)
        return LogResidual(-rate, rate * self.direction - decay)

    def error_scales(self) -> "LogResidual":
        """Both coordinates are errors relative to E already: their sizes are 1."""
        return jax.tree.map(lambda _: jnp.ones_like(self.log_size), self)


class ResidualState(eqx.Module):
    """The weights that move, and the residual beside them."""

    weights: PyTree[Float[Array, "..."]]
    E: LogResidual


PRODUCTS = 40  # of an operator with a vector, for its two extreme eigenvalues


def ritz_values(
    times: Callable[[Array], Array], start: Float[Array, " k"]
) -> Float[Array, " products"]:
    """Approximate eigenvalues of a positive operator, increasing: those of a Krylov space.

    It takes 40 products with a vector by Lanczos's method; of the tangent kernel, as many as some
    ten explicit steps. The largest is accurate, the smallest an upper bound.
    """

    def step(basis: Array, i: Array) -> tuple[Array, Array]:
        image = times(basis[i])
        rest = image - basis.T @ (basis @ image)
        rest = rest - basis.T @ (basis @ rest)  # twice is enough
        size = jnp.linalg.norm(rest)
        return basis.at[i + 1].set(rest / jnp.where(size > 0, size, 1)), basis @ image

    count = min(PRODUCTS, start.size)
    basis = jnp.zeros((count + 1, start.size), start.dtype)
    basis = basis.at[0].set(start / jnp.linalg.norm(start))
    _, rows = jax.lax.scan(step, basis, jnp.arange(count))
    projected = rows[:, :count]
    return jnp.clip(jnp.linalg.eigvalsh(0.5 * (projected + projected.T)), 0)


class TangentKernel(eqx.Module):
    """The symmetric operator T of `E' = -T E` at one moment, ready to be inverted."""

    # The smallest eigenvalue of T: no part of the residual decays more slowly, in 1/time.
    slowest: eqx.AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def inverse(self, c: Array, shift: Array) -> Any:
        """`E -> (I + c (T - shift I))^-1 E`, where that is positive definite; nan elsewhere."""


class ResidualFormulation(Formulation):
    """What every flow of a squared loss has in common: `W' = N(E) W`, `E' = -T(W) E`.

    Both are linear in E. Of the Jacobian only `-T` is stiff, and it is known in closed form or of
    low rank: this is what an implicit solver inverts (`implicit.py`).
    """

    @property
    @abc.abstractmethod
    def implicit_cost(self) -> float:
        """About how many explicit steps take the time of an implicit one (measured)."""

    @abc.abstractmethod
    def spectrum(self, network: Any) -> tuple[float, float] | None:
        """The slowest and the fastest rate of the residual to expect, on the host; None: unknown.

        In 1/time, along the flow from this network.
        """

    @abc.abstractmethod
    def velocity_and_decay(
        self, weights: PyTree[Array], E: Float[Array, "a b"]
    ) -> tuple[PyTree[Array], Float[Array, "a b"]]:
        """The velocity of the weights, and `T E`: minus that of the residual."""

    @abc.abstractmethod
    def residual(self, weights: PyTree[Array]) -> Float[Array, "a b"]:
        """E as the weights themselves have it."""

    @abc.abstractmethod
    def kernel(self, weights: PyTree[Array]) -> TangentKernel:
        """T at these weights."""

    def field(self, t: Any, state: ResidualState, args: Any) -> ResidualState:
        velocity, decay = self.velocity_and_decay(state.weights, state.E.direction)
        size = jnp.exp(state.E.log_size)
        velocity = jax.tree.map(lambda leaf: size * leaf, velocity)
        return ResidualState(velocity, state.E.derivative(decay))

    def error_scales(self, state: ResidualState) -> ResidualState:
        # One size for all weights: any layer may start at zero.
        size = norm(state.weights)
        return ResidualState(like(state.weights, size), state.E.error_scales())

    def log_excess(self, state: ResidualState) -> Float[Array, ""]:
        return state.E.log_half_square

    def log_speed(self, state: ResidualState) -> Float[Array, ""]:
        """`log ||grad L||_F`, of the loss by the weights."""
        velocity, _ = self.velocity_and_decay(state.weights, state.E.direction)
        return state.E.log_size + jnp.log(norm(velocity))

    def _gap(self, state: ResidualState, targets: Array) -> Float[Array, ""]:
        """Distance between the residual and that of the weights, relative to the targets."""
        gap, scale = norm(self.residual(state.weights) - state.E.value), norm(targets)
        return gap / jnp.where(scale > 0, scale, 1)
