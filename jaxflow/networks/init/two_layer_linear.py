r"""Laws of initialization of the two-layer linear network.

A law is an Equinox module. Calling it with a key, the data and a width draws a network; its fields
are arrays that a sweep may vary. Notation: `U` is (D, h), `V` is (m, h), r = rank(X), and Phi
(D, r) holds the right singular vectors of X; `U1 = Phi^T U` is the part of U on the span of the
data, and `U2 = U - Phi U1` the rest.
"""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from ...data import Regression, orthonormal
from ...data.regression import problem
from ...machine.arguments import instance, number, positive
from ...machine.keys import Key, as_key
from ..compression import on_rotated
from ..two_layer_linear import TwoLayerLinear
from ..wishart import bartlett, real
from .base import Initialization, integer_width, pair, width_or_array


class Gaussian(Initialization):
    r"""Independent normal entries.

    Either `alpha`: every entry of U and V is `N(0, h^(-2 alpha))`, with `1/4 < alpha <= 1/2`; or
    `scale = (su, sv)`: entries of U are `N(0, su^2)` and of V `N(0, sv^2)`, whatever the width.

    **Raises:** `ValueError` for alpha outside (1/4, 1/2], scales that are not positive, or both.

    **Source:** Min et al. (ICML 2021), section 3.2 (`alpha`) and appendix A.1 (`scale`).

    **Example:**

    >>> import jax
    >>> import jaxflow as jf
    >>> data = jf.data.gaussian(jax.random.key(0), samples=5, features=20)
    >>> law = jf.init.Gaussian(alpha=0.5)
    >>> law(jax.random.key(1), data, width=500).width
    500
    >>> law.compressed(jax.random.key(1), data, width=10**9).width  # r + m
    6
    """

    width_free: ClassVar[bool] = True
    alpha: float | Float[Array, ""] | None = None
    scale: tuple[float | Float[Array, ""], float | Float[Array, ""]] | None = None

    def __init__(self, alpha: Any = None, *, scale: Any = None):
        if alpha is None and scale is None:
            alpha = 0.5
        self.alpha = alpha
        self.scale = tuple(scale) if isinstance(scale, list) else scale

    def __check_init__(self):
        if self.alpha is not None and self.scale is not None:
            raise ValueError("Give alpha or scale=(su, sv), not both.")
        if self.scale is not None:
            pair(self.scale)
        else:
            remedy = ": use scale=(su, sv) for any other size of the weights"
            number("alpha", self.alpha, "lie in (1/4, 1/2]", lambda x: 0.25 < x <= 0.5, remedy)

    def scales(self, width: Any) -> tuple[Any, Any]:
        """The standard deviations `(su, sv)` of the entries of U and V at this width."""
        if self.scale is not None:
            return self.scale
        assert self.alpha is not None
        size = (width if isinstance(width, jax.Array) else float(width)) ** (-self.alpha)
        return size, size

    def __call__(self, key: Key, data: Regression, *, width: int) -> TwoLayerLinear:
        width = integer_width(width)
        u_key, v_key = jr.split(as_key(key))
        dtype = problem(data).X.dtype
        su, sv = (jnp.asarray(s, dtype) for s in self.scales(width))
        return TwoLayerLinear(
            su * jr.normal(u_key, (data.features, width), dtype),
            sv * jr.normal(v_key, (data.outputs, width), dtype),
        )

    def compressed(self, key: Key, data: Regression, *, width: Any) -> TwoLayerLinear:
        """`[V; U1] = diag(sv, su) L` with L the Bartlett factor, beside independent normals.

        **Source:** derived: `U2 Q^T` has independent `N(0, su^2)` entries, independent of L.
        """
        V, U1, su, rest_key = self._span(key, data, width)
        U2 = su * jr.normal(rest_key, (data.features, V.shape[1]), V.dtype)
        return TwoLayerLinear(U2 + data.right @ (U1 - data.right.T @ U2), V)

    def rotated(self, key: Key, data: Regression, *, width: Any) -> TwoLayerLinear:
        """As `compressed`, with R in place of `U2 Q^T = O R`, where O has orthonormal columns.

        R is the transposed Bartlett factor of a (k, D - r) Gaussian matrix. The norm of `U2 V^T`
        is that of `R V^T` at all times.
        """
        V, U1, su, rest_key = self._span(key, data, width)
        L = bartlett(rest_key, V.shape[1], data.features - data.rank, V.dtype)
        return on_rotated(V, U1, su * L.T, data)

    def _span(
        self, key: Key, data: Regression, width: Any
    ) -> tuple[Array, Array, Array, PRNGKeyArray]:
        m, r, dtype = data.outputs, data.rank, data.X.dtype
        width = width_or_array(width)
        span_key, rest_key = jr.split(as_key(key))
        su, sv = (jnp.asarray(s, dtype) for s in self.scales(width))
        L = bartlett(span_key, m + r, width, dtype)
        return sv * L[:m], su * L[m:], su, rest_key


class Balanced(Initialization):
    r"""Zero imbalance, `U1^T U1 = V^T V`, with the end-to-end product of a Gaussian draw.

    From the product `Theta = U V^T` of a network drawn from `law`, with the economy decomposition
    `Phi^T Theta = A diag(s) B^T` of rank k and Q any (h, k) matrix with orthonormal columns,

        `V = B diag(s)^(1/2) Q^T`,  `U = Theta B diag(s)^(-1/2) Q^T`.

    For k = m this is `V = [Theta^T Phi Phi^T Theta]^(1/4) Q^T`,
    `U = Theta [Theta^T Phi Phi^T Theta]^(-1/4) Q^T` up to a rotation. Where m > r, only the part
    of the product along its k = r right singular vectors is kept.

    **Source:** Min et al. (ICML 2021), appendix A.1; the transpose on Q in V is missing in print.
    """

    law: Gaussian = eqx.field(default_factory=Gaussian)

    width_free: ClassVar[bool] = True

    def __check_init__(self):
        instance("law", self.law, Gaussian, "a jf.init.Gaussian")

    def __call__(self, key: Key, data: Regression, *, width: int) -> TwoLayerLinear:
        width = self._width(data, width)
        network_key, q_key = jr.split(as_key(key))
        narrow = self._factors(self.law(network_key, data, width=width), data)
        Q = orthonormal(q_key, width, narrow.width, narrow.V.dtype)
        return TwoLayerLinear(narrow.U @ Q.T, narrow.V @ Q.T)

    def compressed(self, key: Key, data: Regression, *, width: Any) -> TwoLayerLinear:
        """The network of width k, without Q."""
        width = self._width(data, width)
        return self._factors(self.law.compressed(key, data, width=width), data)

    def rotated(self, key: Key, data: Regression, *, width: Any) -> TwoLayerLinear:
        """As `compressed`, from a Gaussian network in rotated inputs."""
        width = self._width(data, width)
        return self._factors(self.law.rotated(key, data, width=width), data.rotated())

    def _width(self, data: Regression, width: Any) -> Any:
        k = min(problem(data).rank, data.outputs)
        return width_or_array(
            width, k, "a balanced product of full rank needs min(r, m) hidden units"
        )

    @staticmethod
    def _factors(network: TwoLayerLinear, data: Regression) -> TwoLayerLinear:
        product = network.product
        _, s, Bt = jnp.linalg.svd(data.right.T @ product, full_matrices=False)
        root = jnp.sqrt(s)[None, :]
        return TwoLayerLinear(product @ Bt.T / root, Bt.T * root)


class Spectral(Initialization):
    r"""Weights aligned with the singular vectors of `W^T Y = A diag(s) B^T`.

    `U1 = su A R^T`, `V = sv B R^T`, `U2 = 0`, with A (r, k), B (m, k), R (h, k) orthonormal columns
    and k = min(r, m). On whitened data the k modes decouple, `u_i' = (s_i - u_i v_i) v_i` and
    `v_i' = (s_i - u_i v_i) u_i`: Saxe's setting for su = sv, where `u_i v_i = su sv` at t = 0.

    **Source:** Saxe, McClelland, Ganguli (2014); Tarmoun et al. (ICML 2021).
    """

    width_free: ClassVar[bool] = True
    scale: tuple[float | Float[Array, ""], float | Float[Array, ""]] = (0.1, 0.1)

    def __check_init__(self):
        pair(self.scale)

    def __call__(self, key: Key, data: Regression, *, width: int) -> TwoLayerLinear:
        width = integer_width(width)
        narrow = self.compressed(key, data, width=width)
        R = orthonormal(key, width, narrow.width, data.X.dtype)
        return TwoLayerLinear(narrow.U @ R.T, narrow.V @ R.T)

    def compressed(self, key: Key, data: Regression, *, width: Any) -> TwoLayerLinear:
        """The network of width k, without R: nothing in it is random."""
        k = min(problem(data).rank, data.outputs)
        width_or_array(width, k, "each of the min(r, m) modes needs a hidden unit")
        A, _, Bt = jnp.linalg.svd(data.targets, full_matrices=False)
        su, sv = (jnp.asarray(s, data.X.dtype) for s in self.scale)
        return TwoLayerLinear(su * (data.right @ A), sv * Bt.T)

    def rotated(self, key: Key, data: Regression, *, width: Any) -> TwoLayerLinear:
        """As `compressed`: the weights off the span are zero."""
        return self.compressed(key, data.rotated(), width=width)


class Orthogonal(Initialization):
    r"""The invariant set of the min-norm proposition: `V U2^T = 0` and `U1 U2^T = 0`.

    The rows of `[V; U1]` are orthogonal: `V V^T = h sv^2 I`, `U1 U1^T = h su^2 I`, `U1 V^T = 0`,
    as in the limit of infinitely wide Gaussian networks. `U2` has the entries of a Gaussian draw,
    projected off the row space of `[V; U1]`. The flow then ends at the min-norm solution.
    `alpha` and `scale` mean what they mean in `Gaussian`.

    **Source:** Min et al. (ICML 2021), proposition 1.
    """

    width_free: ClassVar[bool] = True
    law: Gaussian

    def __init__(self, alpha: Any = None, *, scale: Any = None):
        self.law = Gaussian(alpha, scale=scale)

    def compressed(self, key: Key, data: Regression, *, width: Any) -> TwoLayerLinear:
        """`[V; U1] = sqrt(h) diag(sv, su)`, `U2 Q^T = 0`: nothing in it is random."""
        m, r = data.outputs, data.rank
        width = self._width(data, width)
        dtype = data.X.dtype
        su, sv = (jnp.asarray(s, dtype) for s in self.law.scales(width))
        root = jnp.sqrt(real(width, dtype))
        rows = jnp.eye(m + r, dtype=dtype)
        return TwoLayerLinear(data.right @ (su * root * rows[m:]), sv * root * rows[:m])

    def rotated(self, key: Key, data: Regression, *, width: Any) -> TwoLayerLinear:
        """As `compressed`: the weights off the span do not change the trajectory."""
        return self.compressed(key, data.rotated(), width=width)

    def _width(self, data: Regression, width: Any) -> Any:
        rows = data.outputs + data.rank
        return width_or_array(
            width, rows, f"m + r = {rows} orthogonal rows need as many hidden units"
        )

    def __call__(self, key: Key, data: Regression, *, width: int) -> TwoLayerLinear:
        m, r = problem(data).outputs, data.rank
        width = integer_width(self._width(data, width))
        z_key, u_key = jr.split(as_key(key))
        dtype = data.X.dtype
        su, sv = (jnp.asarray(s, dtype) for s in self.law.scales(width))
        Q = orthonormal(z_key, width, m + r, dtype)
        V = sv * math.sqrt(width) * Q[:, :m].T
        U1 = su * math.sqrt(width) * Q[:, m:].T
        U2 = su * jr.normal(u_key, (data.features, width), dtype)
        U2 = U2 - data.right @ (data.right.T @ U2)
        # One projection leaves rounding errors of the size of U2 in the row space, two do not.
        for _ in range(2):
            U2 = U2 - (U2 @ Q) @ Q.T
        return TwoLayerLinear(data.right @ U1 + U2, V)


class LambdaBalanced(Initialization):
    r"""Homogeneous imbalance, `U1^T U1 - V^T V = lam I_h`.

    It exists for lam > 0 only if h <= r, for lam < 0 only if h <= m, and for lam = 0 at any width.
    One layer is drawn with independent normal entries of standard deviation `scale`; the identity
    then determines the other up to a rotation, which is drawn uniformly. `U2 = 0`.

    **Raises:** `ValueError` where no such network exists.

    **Source:** Fukumizu (1998), Braun et al. (2022) for lam = 0; Domine et al. (ICLR 2025) for
    lam != 0 (their lambda is minus ours).
    """

    lam: float = eqx.field(default=0.0, static=True)
    scale: float | Float[Array, ""] = 1.0

    def __check_init__(self):
        positive("scale", self.scale)
        number("lam", self.lam)

    def __call__(self, key: Key, data: Regression, *, width: int) -> TwoLayerLinear:
        m, r = problem(data).outputs, data.rank
        width = integer_width(width)
        lam = float(self.lam)
        if (lam > 0 and width > r) or (lam < 0 and width > m):
            raise ValueError(
                f"U1^T U1 - V^T V = {lam} I_h needs h <= {r if lam > 0 else m} (the rank r for a "
                f"positive, m for a negative value), got width {width}: only lam = 0 exists there."
            )
        dtype = data.X.dtype
        free_key, q_key = jr.split(as_key(key))
        # Where either layer may be drawn first, it is the one with fewer rows.
        v_is_free = lam > 0 or (lam == 0 and m <= r)
        rows, partner_rows = (m, r) if v_is_free else (r, m)
        k = min(width, rows)
        # Its rank is at most k, so that a partner of k columns exists.
        free = jnp.asarray(self.scale, dtype) * jr.normal(free_key, (rows, width), dtype)
        _, s, Rt = jnp.linalg.svd(free, full_matrices=False)
        if lam == 0:
            partner = (orthonormal(q_key, partner_rows, k, dtype) * s[None, :]) @ Rt
        else:
            values, vectors = jnp.linalg.eigh(free.T @ free)
            root = jnp.sqrt(jnp.clip(values, 0) + abs(lam))
            partner = (orthonormal(q_key, partner_rows, width, dtype) * root[None, :]) @ vectors.T
        V, U1 = (free, partner) if v_is_free else (partner, free)
        return TwoLayerLinear(data.right @ U1, V)


class Prescribed(Initialization):
    r"""A prescribed spectrum of the imbalance, and a prescribed product.

    `Lambda = U1^T U1 - V^T V` has the eigenvalues `plus` and `-minus` and zeros, and `U V^T` is
    `product`. Mode i of `Phi^T product = A diag(p) B^T` has two hidden units, with
    `s = plus_i + minus_i` and `cosh(2 k) = sqrt(1 + 4 p_i^2 / s^2)`,

        `u_i = (cosh(k) sqrt(plus_i), sinh(k) sqrt(minus_i))`,
        `v_i = (sinh(k) sqrt(plus_i), cosh(k) sqrt(minus_i))`:

    a hyperbolic rotation of orthogonal weights, as the flow itself applies. The hidden units are
    then rotated at random.

    **Arguments:** `plus`, at most r numbers >= 0, and `minus`, at most m; `product`, shape (D, m),
    default `data.min_norm`. A part off the span of the data needs V of rank m.

    **Source:** derived; the flow acts by hyperbolic rotations, too (Min et al., ICML 2021, eq. 16).
    """

    plus: Float[Array, " k"] = eqx.field(converter=jnp.asarray, default=())
    minus: Float[Array, " l"] = eqx.field(converter=jnp.asarray, default=())
    product: Float[Array, "D m"] | None = None

    def __check_init__(self):
        for name, values in (("plus", self.plus), ("minus", self.minus)):
            if values.ndim != 1:
                raise ValueError(f"{name} must be a vector, got shape {values.shape}.")
            if not isinstance(values, Tracer) and not bool((values >= 0).all()):
                raise ValueError(f"{name} must hold numbers >= 0, got {values}.")

    def __call__(self, key: Key, data: Regression, *, width: int) -> TwoLayerLinear:
        narrow = self._modes(data)
        why = "each eigenvalue needs a hidden unit, and each mode of the product at least one"
        R = orthonormal(key, integer_width(width, narrow.width, why), narrow.width, data.X.dtype)
        return TwoLayerLinear(narrow.U @ R.T, narrow.V @ R.T)

    def _modes(self, data: Regression) -> TwoLayerLinear:
        m, r, dtype = problem(data).outputs, data.rank, data.X.dtype
        if len(self.plus) > r or len(self.minus) > m:
            raise ValueError(
                f"At most r = {r} eigenvalues of the imbalance are positive and m = {m} negative, "
                f"got {len(self.plus)} and {len(self.minus)}."
            )
        product = data.min_norm if self.product is None else jnp.asarray(self.product, dtype)
        if product.shape != (data.features, m):
            raise ValueError(f"product must have shape {(data.features, m)}, got {product.shape}.")
        A, p, Bt = jnp.linalg.svd(data.right.T @ product)
        V, U1 = hyperbolic(self.plus.astype(dtype), self.minus.astype(dtype), p, r, m)
        V, U1 = Bt.T @ V, A @ U1
        off = product - data.right @ (data.right.T @ product)
        U2 = (
            jnp.linalg.lstsq(V, off.T)[0].T
            if data.features > r
            else jnp.zeros_like(data.right[:, :1])
        )
        return TwoLayerLinear(data.right @ U1 + U2, V)


def hyperbolic(
    plus: Float[Array, " k"], minus: Float[Array, " l"], p: Float[Array, " modes"], r: int, m: int
) -> tuple[Float[Array, "m h"], Float[Array, "r h"]]:
    """`(V, U1)` with these eigenvalues of the imbalance and `U1 V^T = diag(p)`."""
    first = max(len(plus), len(p))
    a = jnp.pad(plus, (0, r - len(plus)))
    b = jnp.pad(minus, (0, m - len(minus)))
    k = len(p)
    total = a[:k] + b[:k]
    share = jnp.where(total > 0, a[:k] / jnp.where(total > 0, total, 1), 1)
    root = jnp.hypot(total, 2 * p)
    # cosh^2 and sinh^2 of the rotation, times the total; both are p where the total is 0.
    large = 0.5 * (total + root)
    small = jnp.where(root > 0, 2 * p**2 / jnp.where(root > 0, total + root, 1), 0)
    over, under = (jnp.sqrt(x * y) for x, y in ((share, large), (share, small)))
    under_minus, over_minus = (jnp.sqrt((1 - share) * x) for x in (small, large))
    U1, V = jnp.zeros((r, first + m), p.dtype), jnp.zeros((m, first + m), p.dtype)
    i = jnp.arange(k)
    U1 = U1.at[jnp.arange(len(plus)), jnp.arange(len(plus))].set(jnp.sqrt(plus))
    V = V.at[jnp.arange(m), first + jnp.arange(m)].set(jnp.sqrt(b))
    U1 = U1.at[i, i].set(over).at[i, first + i].set(under_minus)
    V = V.at[i, i].set(under).at[i, first + i].set(over_minus)
    return V[:, : first + len(minus)], U1[:, : first + len(minus)]
