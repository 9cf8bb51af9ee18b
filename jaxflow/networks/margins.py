"""Margins of classification: by how much the right class is ahead."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def margins(outputs: Float[Array, "n m"], targets: Float[Array, "n m"]) -> Float[Array, " n"]:
    """`y f(x)` of one output and labels of -1 and +1; of several outputs and one-hot targets, the
    output of the right class minus the largest of the others. Positive where the class is right.
    """
    if outputs.shape[-1] == 1:
        return (outputs * targets)[:, 0]
    right = jnp.sum(outputs * targets, axis=-1)
    return right - jnp.max(jnp.where(targets > 0, -jnp.inf, outputs), axis=-1)


def soft_margins(outputs: Float[Array, "n m"], targets: Float[Array, "n m"]) -> Float[Array, " n"]:
    """`y f(x)` of one output; of several outputs and one-hot targets, the output of the right class
    minus `log sum exp` of the others. The cross-entropy is `sum_i log(1 + exp(-m_i))` of these.
    """
    if outputs.shape[-1] == 1:
        return (outputs * targets)[:, 0]
    right = jnp.sum(outputs * targets, axis=-1)
    return right - jax.nn.logsumexp(jnp.where(targets > 0, -jnp.inf, outputs), axis=-1)
