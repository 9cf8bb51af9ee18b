"""Random keys, in whatever form they are given."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from .arguments import shown

# A random key as functions take it: of JAX, or an integer seed.
Key = PRNGKeyArray | int


def as_key(key: Any) -> PRNGKeyArray:
    """The key: a JAX key as it is, and `jax.random.key(seed)` for an integer seed.

    **Raises:** `ValueError` for anything else.
    """
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool) and 0 <= key < 2**63:
        return jr.key(int(key))
    if isinstance(key, (jax.Array, np.ndarray)):
        if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0:
            return jnp.asarray(key)
        if key.dtype == jnp.uint32 and key.shape == (2,):  # of jax.random.PRNGKey
            return jr.wrap_key_data(jnp.asarray(key))
    raise ValueError(
        f"A key is jax.random.key(0), or a non-negative integer below 2^63, got {shown(key)}."
    )
