"""The Hessian of the loss of any network: products, leading eigenpairs, sharpness."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
from jax.experimental.sparse.linalg import lobpcg_standard
from jaxtyping import Array, Float, Int

from ..data import Regression
from .base import trainable

GUARD = 2  # directions beyond those asked for


class Eigenpairs(eqx.Module):
    """Leading eigenvalues (k,), decreasing; unit vectors (P, k); and the Hessian products made."""

    values: Float[Array, " k"]
    vectors: Float[Array, "P k"]
    products: Int[Array, ""]


def product(
    loss: Callable[[Array], Array], at: Float[Array, " P"], v: Float[Array, " P"]
) -> Float[Array, " P"]:
    """The Hessian of `loss` at a point, times v."""
    return jax.jvp(jax.grad(loss), (at,), (v,))[1]


def bend(
    loss: Callable[[Array], Array],
    at: Float[Array, " P"],
    u: Float[Array, " P"],
    v: Float[Array, " P"],
) -> Float[Array, " P"]:
    """The gradient of `u^T H v`, u and v fixed: a third derivative, by nested products."""

    def entry(x: Array) -> Array:
        return jax.jvp(lambda y: jax.jvp(loss, (y,), (u,))[1], (x,), (v,))[1]

    return jax.grad(entry)(at)


def leading(
    product: Callable[[Array], Array], start: Float[Array, "P k"], *, steps: int = 200
) -> Eigenpairs:
    """The k largest eigenvalues of a symmetric operator.

    By the locally optimal block method (LOBPCG) of `jax.experimental.sparse`; with fewer than 5 k
    rows, which it does not take, by the dense matrix.

    **Arguments:** `product(v) -> A v`, both (P,); a `start` (P, k), such as the eigenvectors of a
    moment before; and the number of `steps` at most, of k products each, and k more at the start.
    """
    P, k = start.shape
    many = jax.vmap(product, in_axes=1, out_axes=1)
    if 5 * k >= P:
        values, vectors = jnp.linalg.eigh(many(jnp.eye(P, dtype=start.dtype)))
        last = slice(P - 1, P - k - 1 if k < P else None, -1)
        return Eigenpairs(values[last], vectors[:, last], jnp.asarray(P))
    # The library's own code broadcasts and promotes as it likes.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        values, vectors, count = lobpcg_standard(many, start, m=steps)
    return Eigenpairs(values, vectors, k * (count + 1))


def generic(size: int, k: int, dtype: Any) -> Float[Array, "P k"]:
    """Directions in no special position."""
    i = jnp.arange(1, size + 1, dtype=dtype)[:, None]
    return jnp.cos(i * (1 + jnp.arange(k, dtype=dtype)[None]) + i**2 / 7)


def _flat(network: Any, data: Regression) -> tuple[Callable[[Array], Array], Float[Array, " P"]]:
    """The loss as a function of all parameters in a row, and these."""
    parameters, rest = eqx.partition(network, trainable(network))
    flat, unravel = jax.flatten_util.ravel_pytree(parameters)

    def loss(flat: Array) -> Array:
        return 0.5 * jnp.sum((data.Y - jax.vmap(eqx.combine(unravel(flat), rest))(data.X)) ** 2)

    return loss, flat


def hessian(network: Any, data: Regression) -> Float[Array, "P P"]:
    """The Hessian of `L = 1/2 ||Y - f(X)||_F^2`, parameters in the order of the leaves."""
    loss, flat = _flat(network, data)
    return jax.jacfwd(jax.grad(loss))(flat)


def hessian_product(
    network: Any, data: Regression, direction: Float[Array, " P"]
) -> Float[Array, " P"]:
    """The Hessian times a direction, without the matrix."""
    loss, flat = _flat(network, data)
    return product(loss, flat, direction)


def hessian_eigenpairs(
    network: Any,
    data: Regression,
    k: int = 1,
    *,
    start: Float[Array, "P k"] | None = None,
    steps: int = 200,
) -> Eigenpairs:
    r"""The k leading eigenpairs of the Hessian of `L = 1/2 ||Y - f(X)||_F^2`, as in `leading`.

    Two directions more than asked for are carried along, so that a crossing of the last with the
    next is no trap: a `start` of the eigenvectors of a moment before is safe. (With one only, the
    method has been seen to stall at 1e-6 on deep linear networks.)

    **Arguments:** any `network`, the `data`, and `k`; `start` (P, k), and `steps` at most.

    **Returns:** `values` in 1/time, `vectors`, and the number of Hessian `products` spent.

    **Raises:** `ValueError` if there are not so many parameters.
    """
    loss, flat = _flat(network, data)
    if not 1 <= k <= flat.size:
        raise ValueError(f"k must lie in 1 ... {flat.size}, the number of parameters, got {k}.")
    wide = generic(flat.size, min(k + GUARD, flat.size), flat.dtype)
    if start is not None:
        wide = wide.at[:, :k].set(start)
    curved = functools.partial(product, loss, flat)
    # Weights that have diverged would cost all the steps, and all that is computed beside them.
    finite = jnp.all(jnp.isfinite(curved(wide[:, 0])))
    found = leading(lambda v: jnp.where(finite, curved(v), v), wide, steps=steps)
    values = jnp.where(finite, found.values[:k], jnp.nan)
    return Eigenpairs(values, found.vectors[:, :k], found.products + 1)


def sharpness(network: Any, data: Regression) -> Float[Array, ""]:
    r"""The largest eigenvalue of the Hessian of `L = 1/2 ||Y - f(X)||_F^2` in the parameters.

    **Returns:** the sharpness, in 1/time: gradient descent of rate eta is stable below `2 / eta`.
    """
    return hessian_eigenpairs(network, data).values[0]


class Slopes(eqx.Module):
    """L and its `gradient`, the sharpness S, its `slope` grad S and its `vector` u, in a row."""

    loss: Float[Array, ""]
    gradient: Float[Array, " P"]
    sharpness: Float[Array, ""]
    slope: Float[Array, " P"]
    vector: Float[Array, " P"]


def slopes(network: Any, data: Regression) -> Slopes:
    """L and S with their gradients, parameters in the order of the leaves."""
    loss, flat = _flat(network, data)
    found = hessian_eigenpairs(network, data)
    u = found.vectors[:, 0]
    value, gradient = jax.value_and_grad(loss)(flat)
    return Slopes(value, gradient, found.values[0], bend(loss, flat, u, u), u)
