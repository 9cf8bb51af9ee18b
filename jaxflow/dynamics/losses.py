"""Losses. Any callable `(prediction (n, m), target (n, m)) -> scalar` will do."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class SquaredLoss(eqx.Module):
    r"""`L = 1/2 ||Y - f(X)||_F^2`, the convention everywhere: no average over samples."""

    def __call__(
        self, prediction: Float[Array, "n m"], target: Float[Array, "n m"]
    ) -> Float[Array, ""]:
        return 0.5 * jnp.sum((target - prediction) ** 2)
