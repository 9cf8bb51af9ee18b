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
    return cross_kernel(network, data.X, data.X)


def cross_kernel(
    network: Any, X: Float[Array, "n D"], Z: Float[Array, "k D"]
) -> Float[Array, "nm km"]:
    """The tangent kernel between the points X and Z: rows are points, and outputs within one."""
    parameters, rest = eqx.partition(network, trainable(network))

    def prediction(parameters: Any, x: Array) -> Array:
        return eqx.combine(parameters, rest)(x)

    def rows(X: Array) -> list[Array]:
        J = jax.vmap(jax.jacrev(prediction), in_axes=(None, 0))(parameters, X)
        m = jax.eval_shape(prediction, parameters, X[0]).shape[0]
        return [leaf.reshape(len(X) * m, -1) for leaf in jax.tree.leaves(J)]

    left = rows(X)
    right = left if Z is X else rows(Z)
    return functools.reduce(jnp.add, [a @ b.T for a, b in zip(left, right, strict=True)])
