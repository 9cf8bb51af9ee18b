"""Random regression problems with a known teacher: `Y = X Theta + noise`."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.typing import ArrayLike

from ..machine.arguments import flag, integer, number, positive
from ..machine.keys import Key, as_key
from .regression import Regression, problem


def _checked(noise: float, **sizes: int) -> list[int]:
    number("noise", noise, "be zero or positive, and finite", lambda x: 0 <= x < np.inf)
    return [integer(name, size) for name, size in sizes.items()]


def _teach(
    key: PRNGKeyArray, X: Float[Array, "n D"], targets: int, noise: float
) -> Float[Array, "n m"]:
    """`X Theta + noise * eps` with `Theta ~ N(0, 1/D)` and `eps ~ N(0, 1)`, all independent."""
    teacher_key, noise_key = jr.split(key)
    teacher = jr.normal(teacher_key, (X.shape[1], targets), X.dtype) / jnp.sqrt(X.shape[1])
    eps = jr.normal(noise_key, (X.shape[0], targets), X.dtype)
    return X @ teacher + jnp.asarray(noise, X.dtype) * eps


def gauss_hermite(
    teacher: Callable[[Array], Array], features: int, *, nodes: int = 20, dtype: DTypeLike = float
) -> tuple[Regression, Float[Array, " n"]]:
    r"""Infinitely many Gaussian inputs, by quadrature: data and weights for `jf.WeightedLoss`.

    With the nodes x_i and weights w_i of Gauss and Hermite, `sum_i w_i g(x_i)` is `E g(x)`,
    x ~ N(0, I_D), for polynomials g of degree 2 `nodes` - 1 in each coordinate.

    **Arguments:** the `teacher(x: (D,)) -> (m,)`; the number of `features` D and of `nodes` for
    each of them: there are `nodes^D` samples.

    **Returns:** the `Regression`, and the weights, shape `(nodes^D,)`, whose sum is 1.
    """
    D, count = integer("features", features), integer("nodes", nodes)
    x, w = np.polynomial.hermite_e.hermegauss(count)
    X = np.stack(np.meshgrid(*[x] * D, indexing="ij"), axis=-1).reshape(-1, D)
    weights = functools.reduce(np.multiply.outer, [w / w.sum()] * D).reshape(-1)
    inputs = jnp.asarray(X, dtype)
    return Regression(inputs, jax.vmap(teacher)(inputs)), jnp.asarray(weights, dtype)


def gaussian(
    key: Key,
    samples: int = 100,
    features: int = 400,
    targets: int = 1,
    *,
    noise: float = 0.01,
    scale: float = 1.0,
    whiten: bool = False,
) -> Regression:
    r"""Gaussian inputs and a Gaussian teacher.

    `X_ij ~ N(0, scale^2)`, `Theta_ij ~ N(0, 1/D)`, `Y = X Theta + noise * N(0, 1)`. With `whiten`,
    X is replaced by `W Phi^T` of its singular value decomposition, so that every singular value
    is 1 (`scale` then has no effect).

    **Arguments:** a random `key`, or an integer seed; the numbers of `samples` n, `features` D and
    `targets` m; the standard deviation of the `noise`, and the `scale` of X.

    **Source:** Min, Tarmoun, Vidal, Mallada (ICML 2021), appendix A.1 (`whiten=True`) and A.2
    (`scale = 1 / sqrt(D)`).

    **Example:**

    >>> import jax
    >>> import jaxflow as jf
    >>> data = jf.data.gaussian(jax.random.key(0), samples=5, features=20, targets=2, whiten=True)
    >>> data.rank, data.min_norm.shape, round(float(data.condition), 6)
    (5, (20, 2), 1.0)
    """
    sizes = _checked(noise, samples=samples, features=features, targets=targets)
    samples, features, targets = sizes
    positive("scale", scale)
    flag("whiten", whiten)
    input_key, teacher_key = jr.split(as_key(key))
    X = jr.normal(input_key, (samples, features))
    if whiten:
        left, _, right = jnp.linalg.svd(X, full_matrices=False)
        X = left @ right
    else:
        X = X * jnp.asarray(scale, X.dtype)
    return Regression(X, _teach(teacher_key, X, targets, noise))


def spectrum(
    key: Key,
    samples: int = 50,
    features: int = 100,
    targets: int = 1,
    *,
    condition: float | None = None,
    singular_values: ArrayLike | None = None,
    noise: float = 0.01,
) -> Regression:
    r"""Inputs with a prescribed spectrum and Haar-random singular vectors.

    Give either `singular_values`, any number r <= min(n, D) of them (X then has rank r), or
    `condition`, the condition number `(s_1/s_r)^2` of `X^T X`; the `min(n, D)` singular values then
    decrease geometrically from 1.
    """
    sizes = _checked(noise, samples=samples, features=features, targets=targets)
    samples, features, targets = sizes
    full = min(samples, features)
    if (condition is None) == (singular_values is None):
        raise ValueError("Give exactly one of condition and singular_values.")
    if condition is not None:
        number("condition", condition, "be at least 1 and finite", lambda x: 1 <= x < np.inf)
        s = np.geomspace(1.0, condition**-0.5, full)
    else:
        s = np.atleast_1d(np.asarray(singular_values, np.float64))
        if s.ndim != 1 or len(s) > full or not np.all((s > 0) & np.isfinite(s)):
            raise ValueError(
                f"singular_values must be at most min(samples, features) = {full} positive numbers."
            )
    left_key, right_key, teacher_key = jr.split(as_key(key), 3)
    left = orthonormal(left_key, samples, len(s))
    right = orthonormal(right_key, features, len(s))
    X = (left * jnp.asarray(s, left.dtype)[None, :]) @ right.T
    return Regression(X, _teach(teacher_key, X, targets, noise))


def orthonormal(
    key: Key, rows: int, columns: int, dtype: DTypeLike = float
) -> Float[Array, "rows columns"]:
    """A Haar-distributed matrix with orthonormal columns."""
    shape = integer("rows", rows), integer("columns", columns, 0)
    q, r = jnp.linalg.qr(jr.normal(as_key(key), shape, dtype))
    return q * jnp.where(jnp.diagonal(r) < 0, -1, 1).astype(q.dtype)[None, :]


def whitened(data: Regression) -> Regression:
    """The same samples with every non-zero singular value of X replaced by 1."""
    return Regression(problem(data).left @ data.right.T, data.Y)
