"""Gaussian matrices of any width, drawn as their triangular factor."""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray


def bartlett(key: PRNGKeyArray, rows: int, width: Any, dtype: DTypeLike) -> Float[Array, "rows k"]:
    r"""The factor L of `Z = L Q` for a (rows, width) matrix Z of independent standard normals.

    L is lower trapezoidal with `k = min(rows, width)` columns, `chi_width, chi_(width - 1), ...`
    on the diagonal and standard normals below it, all independent of each other and of Q, whose
    orthonormal rows are uniformly distributed. No array of the size of `width` is made.

    **Arguments:** `rows`; `width`, a plain integer, or an array that is known to be at least
    `rows`.

    **Source:** Bartlett (1933), of the Wishart matrix `Z Z^T`.
    """
    k = min(rows, width) if isinstance(width, int) else rows
    low_key, diagonal_key = jr.split(key)
    low = jnp.tril(jr.normal(low_key, (rows, k), dtype), -1)
    freedom = real(width, dtype) - jnp.arange(k, dtype=dtype)
    # chi^2 with d degrees of freedom is twice a Gamma(d / 2).
    diagonal = jnp.sqrt(2 * jr.gamma(diagonal_key, 0.5 * freedom, dtype=dtype))
    return low.at[jnp.arange(k), jnp.arange(k)].set(diagonal)


def real(value: Any, dtype: DTypeLike) -> Array:
    """A number as an array of this dtype, also for Python integers beyond the range of int64."""
    return jnp.asarray(float(value) if isinstance(value, int) else value, dtype)
