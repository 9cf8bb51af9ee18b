"""The tangent kernel of any network."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Network
from ..data import Regression
from .base import predictions, trainable


def tangent_kernel(network: Network, data: Regression) -> Float[Array, "nm nm"]:
    r"""`T = J J^T`, with J the Jacobian of all predictions in all parameters.

    Under the gradient flow of the squared loss L the residual E obeys `E' = -T E`. Hence
    `2 lambda_min(T) <= -(d/dt) log(L - L*) <= 2 lambda_max(T)` if the least loss L* is zero.

    **Arguments:** any `network`, and the `data`: n samples, m outputs.

    **Returns:** the kernel, a dense matrix of shape `(n m, n m)`. Its rows run over the samples,
    and within a sample over the outputs.

    **Example:** of `f(x) = v u x` at u = 1, v = 2 the kernel is `(u^2 + v^2) x z`.

    >>> import jax.numpy as jnp
    >>> import jaxflow as jf
    >>> network = jf.TwoLayerLinear(jnp.array([[1.0]]), jnp.array([[2.0]]))
    >>> jf.theory.tangent_kernel(network, jf.Regression([1.0, 3.0], [0.0, 0.0])).tolist()
    [[5.0, 15.0], [15.0, 45.0]]
    """
    return cross_kernel(network, data.X)


@eqx.filter_jit
def cross_kernel(
    network: Network, X: Float[Array, "n D"], Z: Float[Array, "k D"] | None = None
) -> Float[Array, "nm km"]:
    """The tangent kernel between the points X and Z (default X), as in `tangent_kernel`."""
    parameters, rest = eqx.partition(network, trainable(network))

    def prediction(parameters: Any, x: Array) -> Array:
        return predictions(eqx.combine(parameters, rest), x[None])[0]

    def rows(X: Array) -> list[Array]:
        J = jax.vmap(jax.jacrev(prediction), in_axes=(None, 0))(parameters, X)
        m = jax.eval_shape(prediction, parameters, X[0]).shape[0]
        return [leaf.reshape(len(X) * m, -1) for leaf in jax.tree.leaves(J)]

    left = rows(X)
    right = left if Z is None else rows(Z)
    return functools.reduce(jnp.add, [a @ b.T for a, b in zip(left, right, strict=True)])
