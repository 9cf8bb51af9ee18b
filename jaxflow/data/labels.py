"""Classification with two classes: targets +1 and -1 of a `Regression`."""

import jax
import numpy as np
from jaxtyping import Array, Float

from .regression import Regression


def signed(data: Regression) -> Float[Array, "n D"]:
    """The rows `y_i x_i`, shape (n, D).

    **Raises:** `ValueError` unless the targets are a single output of +1 and -1. Under `jit` and
    `vmap`, where the values are unknown, only the number of outputs is checked.
    """
    known = not isinstance(data.Y, jax.core.Tracer)
    if data.outputs != 1 or (known and np.any(np.abs(np.asarray(data.Y)) != 1)):
        raise ValueError("Labels must be a single output of +1 and -1: give Regression(X, labels).")
    return data.Y * data.X
