"""The initialization of the diagonal linear network."""

import math
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...data import Regression
from ...data.regression import problem
from ...machine.arguments import number, positive
from ...machine.keys import Key
from ..diagonal_linear import DiagonalLinear
from .base import Initialization


class Diagonal(Initialization):
    r"""`u = v = alpha shape`, so that `beta = 0`; with a `skip`, also `w = 0`. Nothing is random.

    **Arguments:** the scale `alpha` > 0; the `depth` L >= 2, any real number; `shape`, positive
    weights of the coordinates (D,), default all 1; `skip` > 0, the lambda of Zhou and Ge, default
    none.

    **Source:** Woodworth et al. (COLT 2020), section 4; Zhou and Ge (ICML 2023).
    """

    rotates: ClassVar[bool] = False
    alpha: float | Float[Array, ""] = 1.0
    depth: float | Float[Array, ""] = 2.0
    shape: Float[Array, " D"] | None = None
    skip: float | Float[Array, ""] | None = None

    def __check_init__(self):
        positive("alpha", self.alpha)
        number("depth", self.depth, "be at least 2, and finite", lambda x: 2 <= x < math.inf)
        if self.skip is not None:
            positive("skip", self.skip)

    def __call__(self, key: Key, data: Regression) -> DiagonalLinear:
        dtype, D = problem(data).X.dtype, data.features
        start = jnp.broadcast_to(jnp.asarray(self.alpha, dtype), (D,))
        if self.shape is not None:
            start = start * jnp.asarray(self.shape, dtype)
        w = None if self.skip is None else jnp.zeros(D, dtype)
        return DiagonalLinear(start, start, self.depth, w=w, skip=self.skip)
