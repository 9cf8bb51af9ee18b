"""The tangent kernel of any network."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..data import Regression
from .base import trainable


def tangent_kernel(network: Any, data: Regression) -> Float[Array, "nm nm"]:
    r"""`T = J J^T`, J the derivative of all predictions by all parameters.

    Under the squared loss the residual obeys `E' = -T E`, so that
    `2 lambda_min(T) <= -(d/dt) log(L - L*) <= 2 lambda_max(T)` where every residual can occur.

    **Arguments:** any `network` and the `data`. Rows are samples, and outputs within a sample.

    **Returns:** the kernel, shape `(n m, n m)`, a dense matrix.
    """
    parameters, rest = eqx.partition(network, trainable(network))

    def prediction(parameters: Any, x: Array) -> Array:
        return eqx.combine(parameters, rest)(x)

    J = jax.vmap(jax.jacrev(prediction), in_axes=(None, 0))(parameters, data.X)
    rows = [leaf.reshape(data.samples * data.outputs, -1) for leaf in jax.tree.leaves(J)]
    return functools.reduce(jnp.add, [row @ row.T for row in rows])
