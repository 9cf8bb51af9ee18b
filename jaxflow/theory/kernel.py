"""Rates and curvature of any network: the tangent kernel's least, the Hessian's largest."""

from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..data import Regression
from ..networks import tangent_kernel as tangent_kernel, trainable


def least_decay(network: Any, data: Regression) -> Float[Array, ""]:
    """`2 lambda_min(T)`: no residual decays more slowly now; 1/time. Needs n = rank(X)."""
    return 2 * jnp.linalg.eigvalsh(tangent_kernel(network, data))[0]


def _gradient(network: Any, data: Regression) -> tuple[Any, Float[Array, " P"]]:
    """The gradient of the loss as a function of all parameters in a row, and these."""
    parameters, rest = eqx.partition(network, trainable(network))
    flat, unravel = jax.flatten_util.ravel_pytree(parameters)

    def loss(flat: Array) -> Array:
        return 0.5 * jnp.sum((data.Y - jax.vmap(eqx.combine(unravel(flat), rest))(data.X)) ** 2)

    return jax.grad(loss), flat


def hessian(network: Any, data: Regression) -> Float[Array, "P P"]:
    """The Hessian of `L = 1/2 ||Y - f(X)||_F^2`, parameters in the order of the leaves."""
    gradient, flat = _gradient(network, data)
    return jax.jacfwd(gradient)(flat)


def hessian_product(
    network: Any, data: Regression, direction: Float[Array, " P"]
) -> Float[Array, " P"]:
    """The Hessian times a direction, without the matrix."""
    gradient, flat = _gradient(network, data)
    return jax.jvp(gradient, (flat,), (direction,))[1]


def sharpness(network: Any, data: Regression, *, steps: int = 32) -> Float[Array, ""]:
    r"""The largest eigenvalue of the Hessian of `L = 1/2 ||Y - f(X)||_F^2` in the parameters.

    By the Lanczos iteration on Hessian-vector products, fully reorthogonalized, so that no matrix
    of the size of the parameters is made; exact where there are no more than `steps` parameters.

    **Arguments:** any `network`, the `data`, and the number of Lanczos `steps`.

    **Returns:** the sharpness, in 1/time: gradient descent of rate eta is stable below `2 / eta`.
    """
    gradient, flat = _gradient(network, data)
    k = min(steps, flat.size)
    v = jnp.cos(jnp.arange(1, flat.size + 1, dtype=flat.dtype))  # in no special direction
    V = jnp.zeros((k, flat.size), flat.dtype).at[0].set(v / jnp.linalg.norm(v))

    def step(carry: Any, i: Any) -> tuple[Any, Array]:
        V = carry
        w = jax.jvp(gradient, (flat,), (V[i],))[1]
        row = V @ w
        for _ in range(2):
            w = w - V.T @ (V @ w)
        size = jnp.linalg.norm(w)
        new = jnp.where(size > 1e-14, w / jnp.where(size > 0, size, 1), 0)
        return V.at[i + 1].set(new, mode="drop"), row

    _, rows = jax.lax.scan(step, V, jnp.arange(k, dtype=jnp.int32))
    # Of the symmetric matrix each step saw the part up to itself.
    return jnp.linalg.eigvalsh(jnp.tril(rows) + jnp.tril(rows, -1).T)[-1]
