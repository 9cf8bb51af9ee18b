"""Laws of initialization of the deep linear network."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ...data import Regression, orthonormal
from ...data.regression import problem
from ...machine.arguments import integer, positive
from ...machine.keys import Key, as_key
from ..deep_linear import DeepLinear
from .base import Initialization, integer_width


def standard_scale(width: int, depth: int, outputs: int) -> float:
    """The scale s of a layer in the standard parametrization, `s^L = 1 / sqrt(h^(L-1) m)`."""
    return float(width) ** (-(depth - 1) / (2 * depth)) * float(outputs) ** (-1 / (2 * depth))


class DeepGaussian(Initialization):
    r"""Independent `N(0, gain^2)` entries, in the standard parametrization.

    `f(x) = W_L ... W_1 x / sqrt(h^(L-1) m)` for L layers, h hidden units and m outputs.

    **Source:** Du and Hu (ICML 2019); Hu, Xiao, Pennington (ICLR 2020), section 5.
    """

    gain: float | Float[Array, ""] = 1.0

    def __check_init__(self):
        positive("gain", self.gain)

    def __call__(self, key: Key, data: Regression, *, width: int, depth: int) -> DeepLinear:
        h, L, dtype = integer_width(width), integer("depth", depth, 2), problem(data).X.dtype
        gain, (a, b, c) = jnp.asarray(self.gain, dtype), jr.split(as_key(key), 3)
        return DeepLinear(
            gain * jr.normal(a, (h, data.features), dtype),
            gain * jr.normal(b, (L - 2, h, h), dtype),
            gain * jr.normal(c, (data.outputs, h), dtype),
            standard_scale(h, L, data.outputs),
        )


class DeepOrthogonal(Initialization):
    r"""Orthogonal layers, whose entries have mean square 1, in the standard parametrization.

    `W_i^T W_i = h I` for the hidden layers, `W_L W_L^T = h I`, and `W_1^T W_1 = h I` for h >= D;
    for h < D, `W_1 W_1^T = D I`. Needs h >= m. All orthogonal factors are uniform (Haar).

    The network can be compressed to width r + m. With Phi the right singular vectors of X,
    `P = W_1 Phi` and `B = (W_L ... W_2)^T`, every hidden layer maps the space spanned by the
    columns of P and B, and its complement, as a rotation does, and only the first space moves under
    the flow. In bases of that space the hidden layers are multiples of the identity of size r + m,
    and `compressed` draws them in this form, at any depth.

    **Source:** Hu, Xiao, Pennington (ICLR 2020), section 4; the reduction is derived.
    """

    def __call__(self, key: Key, data: Regression, *, width: int, depth: int) -> DeepLinear:
        h, L, dtype = self._width(data, width), integer("depth", depth, 2), data.X.dtype
        first_key, hidden_key, last_key = jr.split(as_key(key), 3)
        root = jnp.sqrt(jnp.asarray(h, dtype))
        hidden = jnp.zeros((0, h, h), dtype)
        if L > 2:
            draw = jax.vmap(lambda k: orthonormal(k, h, h, dtype))
            hidden = root * draw(jr.split(hidden_key, L - 2))
        return DeepLinear(
            self._first(first_key, data, h),
            hidden,
            root * orthonormal(last_key, h, data.outputs, dtype).T,
            standard_scale(h, L, data.outputs),
        )

    def compressed(self, key: Key, data: Regression, *, width: int, depth: int) -> DeepLinear:
        """The compressed network, of width at most r + m, up to rotations of hidden units."""
        h, L, dtype = self._width(data, width), integer("depth", depth, 2), data.X.dtype
        first_key, _, last_key = jr.split(as_key(key), 3)
        root = jnp.sqrt(jnp.asarray(h, dtype))
        first = self._first(first_key, data, h)
        back = orthonormal(last_key, h, data.outputs, dtype)
        frame = jnp.linalg.qr(jnp.concatenate([first @ data.right, back], axis=1))[0]
        k = frame.shape[1]
        hidden = jnp.broadcast_to(root * jnp.eye(k, dtype=dtype), (L - 2, k, k))
        scale = standard_scale(h, L, data.outputs)
        return DeepLinear(frame.T @ first, hidden, root * back.T @ frame, scale)

    @staticmethod
    def _first(key: PRNGKeyArray, data: Regression, h: int) -> Array:
        D, dtype = data.features, data.X.dtype
        if h >= D:
            return jnp.sqrt(jnp.asarray(h, dtype)) * orthonormal(key, h, D, dtype)
        return jnp.sqrt(jnp.asarray(D, dtype)) * orthonormal(key, D, h, dtype).T

    @staticmethod
    def _width(data: Regression, width: Any) -> int:
        return integer_width(width, problem(data).outputs, "the last layer has orthogonal rows")


class DeepBalanced(Initialization):
    r"""Zero imbalance of all layers, `W_(l+1)^T W_(l+1) = W_l W_l^T`.

    From a product `Phi^T Theta = A diag(a) B^T` of rank k <= min(r, m): `W_1 = a^(1/L) A^T Phi^T`,
    diagonal hidden layers, `W_L = B a^(1/L)`; the h - k other units are zero and stay zero. The
    product has independent `N(0, scale^2)` entries, or with `aligned` the singular vectors of
    `W^T Y` and all singular values equal to `scale`. On whitened data the modes of an aligned
    network decouple: `a' = L a^(2 - 2/L) (s - a)`, s the singular value of `W^T Y`.

    **Source:** Saxe, McClelland, Ganguli (2014); Arora, Cohen, Golowich, Hu (ICLR 2019).
    """

    scale: float | Float[Array, ""] = 0.1
    aligned: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        positive("scale", self.scale)

    def __call__(self, key: Key, data: Regression, *, width: int, depth: int) -> DeepLinear:
        m, r, dtype = problem(data).outputs, data.rank, data.X.dtype
        k = min(m, r)
        h = integer_width(width, k, "a balanced product of full rank needs min(r, m) hidden units")
        L, scale = integer("depth", depth, 2), jnp.asarray(self.scale, dtype)
        if self.aligned:
            A, _, Bt = jnp.linalg.svd(data.targets, full_matrices=False)
            a = jnp.broadcast_to(scale, (k,))
        else:
            G = scale * jr.normal(as_key(key), (r, m), dtype)
            A, a, Bt = jnp.linalg.svd(G, full_matrices=False)
        return balanced(data, A, a, Bt, h, L)


def balanced(
    data: Regression,
    A: Float[Array, "r k"],
    a: Float[Array, " k"],
    Bt: Float[Array, "k m"],
    width: int,
    depth: int,
) -> DeepLinear:
    """The balanced network of the product `Phi A diag(a) B^T`, at width >= k."""
    root, more = a ** (1 / depth), (0, width - len(a))
    first = jnp.pad(root[:, None] * (data.right @ A).T, (more, (0, 0)))
    last = jnp.pad(Bt.T * root[None], ((0, 0), more))
    diagonal = jnp.diag(jnp.pad(root, more))
    return DeepLinear(first, jnp.broadcast_to(diagonal, (depth - 2, width, width)), last)
