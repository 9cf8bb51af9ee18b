"""The tangent kernel of any network, whose least eigenvalue is the rate that is left for sure."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..data import Regression
from ..networks import trainable


def tangent_kernel(network: Any, data: Regression) -> Float[Array, "nm nm"]:
    r"""`T = J J^T`, J the derivative of all predictions by all parameters.

    Under the squared loss the residual obeys `E' = -T E`, so that
    `2 lambda_min(T) <= -(d/dt) log(L - L*) <= 2 lambda_max(T)` where every residual can occur.

    **Arguments:** any `network` and the `data`. Rows are samples, and outputs within a sample.

    **Returns:** the kernel, shape `(n m, n m)`, a dense matrix.
    """
    parameters, rest = eqx.partition(network, trainable(network))

    def predictions(parameters: Any) -> Array:
        return jax.vmap(eqx.combine(parameters, rest))(data.X).reshape(-1)

    J = jax.jacrev(predictions)(parameters)
    rows = [leaf.reshape(data.samples * data.outputs, -1) for leaf in jax.tree.leaves(J)]
    J = jnp.concatenate(rows, axis=1)
    return J @ J.T


def least_decay(network: Any, data: Regression) -> Float[Array, ""]:
    """`2 lambda_min(T)`: no residual decays more slowly now; 1/time. Needs n = rank(X)."""
    return 2 * jnp.linalg.eigvalsh(tangent_kernel(network, data))[0]
