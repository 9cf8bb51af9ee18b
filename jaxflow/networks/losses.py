"""Losses. Any callable `(prediction (n, m), target (n, m)) -> scalar` will do."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class SquaredLoss(eqx.Module):
    r"""`L = 1/2 ||Y - f(X)||_F^2`, the convention everywhere: no average over samples."""

    def __call__(
        self, prediction: Float[Array, "n m"], target: Float[Array, "n m"]
    ) -> Float[Array, ""]:
        return 0.5 * jnp.sum((target - prediction) ** 2)


class MarginLoss(eqx.Module):
    """`L = sum_i l(m_i)` of the margins `m_i = y_i f(x_i)`, known by its logarithm."""

    @abc.abstractmethod
    def log_terms(self, margins: Float[Array, " n"]) -> Float[Array, " n"]:
        """`log l(m_i)`: differentiable, and finite however large the margins are."""

    def __call__(
        self, prediction: Float[Array, "n 1"], target: Float[Array, "n 1"]
    ) -> Float[Array, ""]:
        return jnp.sum(jnp.exp(self.log_terms((prediction * target)[:, 0])))


class ExponentialLoss(MarginLoss):
    """`l(m) = exp(-m)`."""

    def log_terms(self, margins: Float[Array, " n"]) -> Float[Array, " n"]:
        return -margins


class LogisticLoss(MarginLoss):
    """`l(m) = log(1 + exp(-m))`."""

    def log_terms(self, margins: Float[Array, " n"]) -> Float[Array, " n"]:
        # Beyond 36 the logarithm is -m to all digits, and its argument is rounding.
        near = jnp.log(jax.nn.softplus(-jnp.minimum(margins, 36.0)))
        return jnp.where(margins > 36.0, -margins, near)
