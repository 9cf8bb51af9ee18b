"""The residual as a state of its own: what keeps its relative accuracy down to any depth.

The residual obeys `E' = -T E`, linear in E. It is carried as `E = exp(log_size) * direction` with
`||direction|| = 1`, so that neither rounding nor underflow puts a floor under the loss:

    log_size' = -<direction, T direction>,   direction' = -T direction - log_size' direction.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .base import norm


class LogResidual(eqx.Module):
    """A residual in polar form, `E = exp(log_size) * direction`."""

    log_size: Float[Array, "*many"]
    direction: Float[Array, "a b *many"]

    @staticmethod
    def of(E: Float[Array, "a b"]) -> "LogResidual":
        """The polar form of E; a zero residual has a zero direction."""
        size = norm(E)
        safe = jnp.where(size > 0, size, 1)
        return LogResidual(jnp.log(safe), E / safe)

    @property
    def value(self) -> Float[Array, "a b"]:
        """E itself; underflows to 0 where E is below the range of its dtype."""
        return jnp.exp(self.log_size) * self.direction

    @property
    def log_half_square(self) -> Float[Array, "*many"]:
        """`log(1/2 ||E||_F^2)`: the log of the excess loss."""
        square = jnp.sum(self.direction**2, axis=(0, 1))
        zero = square == 0  # and nan stays nan: an overflow is not a minimum
        value = 2 * self.log_size + jnp.log(0.5 * jnp.where(zero, 1, square))
        return jnp.where(zero, -jnp.inf, value)

    def derivative(self, decay: Float[Array, "a b *many"]) -> "LogResidual":
        """The derivative of both coordinates, given `decay = T direction`."""
        square = jnp.sum(self.direction**2, axis=(0, 1))
        rate = jnp.sum(self.direction * decay, axis=(0, 1)) / jnp.where(square > 0, square, 1)
        return LogResidual(-rate, rate[None, None] * self.direction - decay)

    def sizes(self) -> "LogResidual":
        """Both coordinates are errors relative to E already: their sizes are 1."""
        return jax.tree.map(lambda _: jnp.ones_like(self.log_size), self)
