"""The diagonal linear network."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..data import Regression
from ..machine.arguments import numbers
from .base import best_fit
from .mirror import MirrorMap


class DiagonalLinear(eqx.Module):
    r"""`f(x) = <beta, x>` with `beta = u^L - v^L`, entry by entry, and `u, v > 0`; one output.

    With a skip connection `beta = u^L - v^L + skip w`. The flow moves u, v and w, and keeps u and v
    positive; the `depth` L, any real number of at least 2, and the number `skip` are constants.

    **Arguments:** `u`, `v`, shape (D,); `depth`; `w`, shape (D,), together with `skip`, or neither.

    **Source:** Woodworth et al. (COLT 2020), section 4; with the skip, Zhou and Ge (ICML 2023).
    """

    u: Float[Array, " D"]
    v: Float[Array, " D"]
    depth: Float[Array, ""]
    w: Float[Array, " D"] | None
    skip: Float[Array, ""] | None

    def __init__(self, u: Any, v: Any, depth: Any = 2.0, *, w: Any = None, skip: Any = None):
        if (w is None) != (skip is None):
            raise ValueError("Give w and skip together, or neither.")
        for name, value in (("u", u), ("v", v), ("depth", depth)):
            numbers(name, value)
        if w is not None:
            numbers("w", w)
            numbers("skip", skip)
        self.u, self.v = jnp.asarray(u), jnp.asarray(v)
        self.depth = jnp.asarray(depth, self.u.dtype)
        self.w = None if w is None else jnp.asarray(w)
        self.skip = None if skip is None else jnp.asarray(skip, self.u.dtype)

    def __call__(self, x: Float[Array, " D"]) -> Float[Array, " 1"]:
        return jnp.sum(self.beta * x)[None]

    @property
    def beta(self) -> Float[Array, " D"]:
        """The weights of the linear predictor."""
        return self.u**self.depth - self.v**self.depth + self.offset

    @property
    def offset(self) -> Float[Array, " D"]:
        """`skip w`, the part of beta that the skip connection adds; zero without one."""
        if self.w is None or self.skip is None:
            return jnp.zeros_like(self.u)
        return self.skip * self.w

    @property
    def product(self) -> Float[Array, "D 1"]:
        """`Theta`, the end-to-end predictor: beta as a column."""
        return self.beta[:, None]

    def trainable(self) -> PyTree[bool]:
        """The filter mask of what the flow moves: the weights, not depth and skip."""
        names = ("u", "v") if self.w is None else ("u", "v", "w")
        fixed = ("depth",) if self.skip is None else ("depth", "skip")
        return eqx.tree_at(
            lambda network: [getattr(network, name) for name in (*names, *fixed)],
            self,
            [True] * len(names) + [False] * len(fixed),
        )

    @property
    def mirror(self) -> MirrorMap:
        """The mirror map of the gradient flow from this network, as a flow of `beta - offset`."""
        skip = 0.0 if self.skip is None else self.skip
        mirror = MirrorMap(self.u, self.depth, skip, dtype=self.u.dtype)
        return eqx.tree_at(lambda m: m.log_v, mirror, jnp.log(self.v))

    def at(self, q: Float[Array, " D"]) -> "DiagonalLinear":
        """The network into which the flow has turned this one when the dual variable is q."""
        rise_u, rise_v = self.mirror.rises(q)
        w = None if self.w is None or self.skip is None else self.w + self.skip * q
        u, v = self.u * jnp.exp(rise_u), self.v * jnp.exp(rise_v)
        return DiagonalLinear(u, v, self.depth, w=w, skip=self.skip)


@best_fit.register
def _(network: DiagonalLinear, data: Regression):
    if (len(network.u), 1) != (data.features, data.outputs):
        raise ValueError(
            f"The network maps R^{len(network.u)} to R^1, but the data has {data.features} "
            f"features and {data.outputs} targets: draw it with init(key, data)."
        )
    return data.best_fit
