"""The Hessian of the loss of any network: products, leading eigenpairs, sharpness."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse.linalg import lobpcg_standard
from jaxtyping import Array, Float, Int

from .._types import Network
from ..data import Regression
from ..machine.arguments import integer
from .base import predictions, trainable
from .losses import by_name

GUARD = 2  # directions beyond those asked for


class Eigenpairs(eqx.Module):
    """Leading eigenpairs of a symmetric P x P matrix, and what they cost.

    **Attributes:** `values` (k,), decreasing; `vectors` (P, k), unit columns; `products`, the
    number of products of the matrix with a vector.
    """

    values: Float[Array, " k"]
    vectors: Float[Array, "P k"]
    products: Int[Array, ""]


def product(
    loss: Callable[[Array], Array], at: Float[Array, " P"], v: Float[Array, " P"]
) -> Float[Array, " P"]:
    """The Hessian of `loss` at a point, times v."""
    return jax.jvp(jax.grad(loss), (at,), (v,))[1]


def third_derivative(
    loss: Callable[[Array], Array],
    at: Float[Array, " P"],
    u: Float[Array, " P"],
    v: Float[Array, " P"],
) -> Float[Array, " P"]:
    """The gradient of `u^T H v` at a point, H the Hessian of the loss, for fixed u and v."""

    def entry(x: Array) -> Array:
        return jax.jvp(lambda y: jax.jvp(loss, (y,), (u,))[1], (x,), (v,))[1]

    return jax.grad(entry)(at)


def leading_eigenpairs(
    product: Callable[[Array], Array], start: Float[Array, "P k"], *, steps: int = 200
) -> Eigenpairs:
    """The k largest eigenvalues of a symmetric operator.

    By the locally optimal block method (LOBPCG) of `jax.experimental.sparse`; with P < 5 k rows,
    which that method does not accept, from the dense matrix.

    **Arguments:** `product(v) -> A v`, both (P,); a `start` (P, k), such as the eigenvectors a
    moment ago; and the largest number of `steps`. A step takes k products, the start k more.
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


def starting_directions(size: int, k: int, dtype: Any) -> Float[Array, "P k"]:
    """Fixed directions that are orthogonal to no vector but by accident, to start from."""
    i = jnp.arange(1, size + 1, dtype=dtype)[:, None]
    return jnp.cos(i * (1 + jnp.arange(k, dtype=dtype)[None]) + i**2 / 7)


def flat_loss(
    network: Network, data: Regression, objective: Any
) -> tuple[Callable[[Array], Array], Float[Array, " P"]]:
    """The loss as a function of the flattened parameters, and the flattened parameters."""
    parameters, rest = eqx.partition(network, trainable(network))
    flat, unravel = jax.flatten_util.ravel_pytree(parameters)

    measured = by_name(objective)

    def loss(flat: Array) -> Array:
        return measured(predictions(eqx.combine(unravel(flat), rest), data.X), data.Y)

    return loss, flat


@eqx.filter_jit
def hessian(network: Network, data: Regression, *, loss: Any = None) -> Float[Array, "P P"]:
    """The Hessian of the loss in the flattened parameters, shape (P, P).

    `loss` is a function of the predictions and targets, or the name of one, as in `gradient_flow`;
    by default it is `L = 1/2 ||Y - f(X)||_F^2`.
    """
    total, flat = flat_loss(network, data, loss)
    return jax.jacfwd(jax.grad(total))(flat)


@eqx.filter_jit
def hessian_product(
    network: Network, data: Regression, direction: Float[Array, " P"], *, loss: Any = None
) -> Float[Array, " P"]:
    """The Hessian of `hessian` times a `direction` (P,); the matrix is never formed."""
    total, flat = flat_loss(network, data, loss)
    return product(total, flat, direction)


@eqx.filter_jit
def hessian_eigenpairs(
    network: Network,
    data: Regression,
    k: int = 1,
    *,
    loss: Any = None,
    start: Float[Array, "P k"] | None = None,
    steps: int = 200,
    step_sizes: Any = None,
) -> Eigenpairs:
    r"""The k leading eigenpairs of the Hessian of the loss.

    The iteration carries two more directions than it returns. It then also finds an eigenvector
    that has just risen into the first k, so that the eigenvectors a moment ago are a safe `start`.
    (With one more only it has been seen to stall at a relative error of 1e-6 on deep linear
    networks.)

    **Arguments:** any `network` with P parameters, the `data`, and `k`; the `loss`, as in
    `hessian`; a `start`, shape (P, k); the largest number of `steps` of the iteration; and
    `step_sizes` as in `effective_sharpness`, for the eigenpairs of `P^-1/2 H P^-1/2` instead.

    **Returns:** an `Eigenpairs`: `values` in 1/time, `vectors` in the flattened parameters.

    **Raises:** `ValueError` unless 1 <= k <= P.
    """
    total, flat = flat_loss(network, data, loss)
    k, steps = integer("k", k), integer("steps", steps)
    if k > flat.size:
        raise ValueError(f"k must lie in 1 ... {flat.size}, the number of parameters, got {k}.")
    if step_sizes is not None:
        root = jnp.sqrt(_per_parameter(step_sizes, flat))
        plain = total
        total, flat = lambda z: plain(root * z), flat / root
    wide = starting_directions(flat.size, min(k + GUARD, flat.size), flat.dtype)
    if start is not None:
        wide = wide.at[:, :k].set(start)
    curved = functools.partial(product, total, flat)
    # For weights that have diverged the iteration would only end with its last step.
    finite = jnp.all(jnp.isfinite(curved(wide[:, 0])))
    found = leading_eigenpairs(lambda v: jnp.where(finite, curved(v), v), wide, steps=steps)
    values = jnp.where(finite, found.values[:k], jnp.nan)
    return Eigenpairs(values, found.vectors[:, :k], found.products + 1)


def sharpness(network: Network, data: Regression, *, loss: Any = None) -> Float[Array, ""]:
    r"""The largest eigenvalue of the Hessian of the loss in the parameters.

    Gradient descent with learning rate eta is stable where the sharpness is below `2 / eta`.

    **Arguments:** any `network`, the `data`, and the `loss`, as in `hessian`.

    **Returns:** the sharpness, in 1/time.

    **Example:** the loss `(2 - u v)^2 / 2` at u = v = 1 has the Hessian [[1, 0], [0, 1]].

    >>> import jax.numpy as jnp
    >>> import jaxflow as jf
    >>> data = jf.Regression([[1.0]], [[2.0]])
    >>> network = jf.TwoLayerLinear(jnp.ones((1, 1)), jnp.ones((1, 1)))
    >>> round(float(jf.theory.sharpness(network, data)), 6)
    1.0
    """
    return hessian_eigenpairs(network, data, loss=loss).values[0]


def effective_sharpness(
    network: Network, data: Regression, step_sizes: Any, *, loss: Any = None
) -> Float[Array, ""]:
    r"""The largest eigenvalue of `P^-1 H`, H the Hessian, `P^-1` the diagonal of the step sizes.

    Descent by these step sizes, `theta <- theta - P^-1 grad L`, is stable where it is below 2.

    **Arguments:** any `network`, the `data`, and the `loss`, as in `hessian`; `step_sizes`: a
    positive number, one per flattened parameter (P,), or a tree like the network's parameters.

    **Source:** part III of the companion site of Cohen, Damian, Talwalkar, Kolter, Lee (ICLR 2025).
    """
    return hessian_eigenpairs(network, data, loss=loss, step_sizes=step_sizes).values[0]


def _per_parameter(step_sizes: Any, flat: Float[Array, " P"]) -> Array:
    """Step sizes as one number or one per flattened parameter."""
    tree = step_sizes
    if isinstance(tree, float | int | np.ndarray | list):
        tree = jnp.asarray(tree, flat.dtype)
    sizes = jax.flatten_util.ravel_pytree(eqx.filter(tree, eqx.is_inexact_array))[0]
    if sizes.size not in (1, flat.size):
        raise ValueError(
            f"step_sizes must be a number or one per parameter, {flat.size} in all, got "
            f"{sizes.size} numbers."
        )
    return jnp.broadcast_to(sizes.astype(flat.dtype), flat.shape)
