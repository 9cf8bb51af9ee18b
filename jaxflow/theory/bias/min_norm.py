"""The implicit bias of two-layer linear networks towards the min-norm solution."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ...data import Regression
from ...machine.arguments import number
from ...networks import TwoLayerLinear, span_factors, stack
from ...networks.init import Gaussian
from ...networks.wishart import real


def off_span_overlap(network: TwoLayerLinear, data: Regression) -> Float[Array, "rows D"]:
    r"""The overlap `[V U2^T; U1 U2^T]` of the weights off the span of the data with the others.

    Off the span lies `U2 = (I - Phi Phi^T) U`. Along the flow the overlap obeys a linear equation,
    so that it stays 0 if it starts at 0.

    **Arguments:** a `network`, and the `data` that it learns from.

    **Returns:** the overlap, shape `(m + r, D)`; its rows are orthogonal to the span of the data.

    **Raises:** `ValueError` if the network does not fit the data.

    **Source:** Min et al. (ICML 2021), proposition 1 and its proof.
    """
    V, U1 = span_factors(network, data)
    return stack(V, U1) @ (network.U - data.right @ U1).T


class MinNormCondition(eqx.Module):
    """How far a network is from the invariant set whose trajectories end at the min-norm solution.

    **Attributes:**

    - `outputs`: `||V U2^T||_F`. At a minimum it is the distance of the predictor `U V^T` to the
      min-norm solution.
    - `inputs`: `||U1 U2^T||_F`.
    - `relative`: `||[V U2^T; U1 U2^T]||_F / (||[V; U1]||_F ||U2||_F)`, in [0, 1] (0 if U2 = 0).
    """

    outputs: Float[Array, ""]
    inputs: Float[Array, ""]
    relative: Float[Array, ""]

    @property
    def overlap(self) -> Float[Array, ""]:
        """`||[V U2^T; U1 U2^T]||_F`, the left side of Min et al.'s inequality (18)."""
        return jnp.hypot(self.outputs, self.inputs)


def min_norm_condition(network: TwoLayerLinear, data: Regression) -> MinNormCondition:
    r"""Two Frobenius norms: if both vanish at the start, the flow ends at the min-norm solution.

    That is, if `V U2^T = 0` and `U1 U2^T = 0` at the start and the flow reaches a zero residual.
    `V U2^T = 0` alone is not enough.

    **Arguments:** a `network`, and the `data` that it learns from.

    **Returns:** a `MinNormCondition`.

    **Raises:** `ValueError` if the network does not fit the data.

    **Source:** Min et al. (ICML 2021), proposition 1. (The condition `V U1^T = 0`, which is also
    quoted, is a different statement: inequality (19).)
    """
    V, U1 = span_factors(network, data)
    overlap = off_span_overlap(network, data)
    m = data.outputs
    outputs, inputs = _norm(overlap[:m]), _norm(overlap[m:])
    size = _norm(stack(V, U1)) * _norm(network.U - data.right @ U1)
    relative = jnp.hypot(outputs, inputs) / jnp.where(size > 0, size, 1)
    return MinNormCondition(outputs, inputs, relative)


def limit_product(network: TwoLayerLinear, data: Regression) -> Float[Array, "D m"]:
    r"""The predictor `Theta_hat + U2 V^T` of a minimum, Theta_hat the min-norm solution.

    The flow never moves U2. With the V of its limit, and the U of any time, this is therefore the
    limit of the product; the part on the span of the data is exact.

    **Arguments:** a `network` with the limiting V, and the `data`.

    **Returns:** `U(inf) V(inf)^T`, shape `(D, m)`.

    **Raises:** `ValueError` if the network does not fit the data.

    **Source:** Min et al. (ICML 2021), proposition 1.
    """
    V, U1 = span_factors(network, data)
    return data.min_norm + (network.U - data.right @ U1) @ V.T


class BiasBound(eqx.Module):
    r"""The bounds of theorem 2, which hold with probability at least `1 - delta`.

    They are stored as logarithms, since `least_width` and `bound` overflow near alpha = 1/4.

    **Attributes:**

    - `log_bound`: log of the bound on `||U(inf) V(inf)^T - Theta_hat||_2`.
    - `log_least_width`: log of `h0^(1/(4 alpha - 1))`, the width that theorem 2 requires.
    - `log_lemma_width`: log of `h0'`, the width that (17), (18) and (19) require.
    - `applies`: whether the width exceeds both.
    - `level`: (17), the lower bound `h^(1 - 2 alpha)` on `c`.
    - `overlap`: (18), the upper bound on `||[V U2^T; U1 U2^T]||_F`.
    - `product`: (19), the upper bound on `||U1 V^T||_F`.
    """

    log_bound: Float[Array, ""]
    log_least_width: Float[Array, ""]
    log_lemma_width: Float[Array, ""]
    applies: Array
    level: Float[Array, ""]
    overlap: Float[Array, ""]
    product: Float[Array, ""]

    @property
    def bound(self) -> Float[Array, ""]:
        """The bound on `||U(inf) V(inf)^T - Theta_hat||_2`."""
        return jnp.exp(self.log_bound)

    @property
    def least_width(self) -> Float[Array, ""]:
        """`h0^(1/(4 alpha - 1))`, the width that theorem 2 requires."""
        return jnp.exp(self.log_least_width)

    @property
    def lemma_width(self) -> Float[Array, ""]:
        """`h0'`, the width that (17), (18) and (19) require."""
        return jnp.exp(self.log_lemma_width)


def bias_bound(
    data: Regression,
    width: ArrayLike,
    *,
    alpha: ArrayLike = 0.5,
    delta: ArrayLike = 0.01,
    corrected: bool = False,
) -> BiasBound:
    r"""Theorem 2 of Min et al.: wide Gaussian networks end near the min-norm solution.

    Let the entries of U and V be independent `N(0, h^(-2 alpha))`, and let
    `q = sqrt(m + D) + log(2/delta) / 2` and `lambda_i = s_i^2`, s_i the singular values of X. With
    probability at least `1 - delta`, for `h > h0' = 16 q^2`,

    - (17) `c > h^(1 - 2 alpha)`,
    - (18) `||[V U2^T; U1 U2^T]||_F <= 2 sqrt(m + r) q h^(1/2 - 2 alpha)`,
    - (19) `||U1 V^T||_F <= 2 sqrt(m) q h^(1/2 - 2 alpha)`,

    and for `h > h0^(1/(4 alpha - 1))`, `h0 = max{h0', 4 (lambda_1 / lambda_r^3) m q^2}`,

        `||U(inf) V(inf)^T - Theta_hat||_2
            <= 2 C^(h^(2 alpha - 1)) sqrt(m + r) q h^(1/2 - 2 alpha)`,
        `C = exp(1 + (s_1 / s_r^2) ||Y||_F)`.

    With `corrected`, two steps of the printed proof are repaired. The Davidson-Szarek inequality
    gives `q = sqrt(m + D) + sqrt(2 log(2/delta))`. And h0 has `4 (lambda_1 / lambda_r)^2 m q^2`,
    since `||E(0)||` contains `S U1 V^T` where `S^-1 U1 V^T` is printed (the same if S = I).

    **Arguments:** the `data`; the `width` h >= 1; the exponent `alpha` in (1/4, 1/2]; the
    probability `delta` of failure, in (0, 1); whether to use the `corrected` constants.

    **Returns:** a `BiasBound`.

    **Raises:** `ValueError` for a width below 1, an alpha or a delta out of range.

    **Source:** Min et al. (ICML 2021), lemma 1, theorem 2, appendix E (the explicit h0).
    """
    Gaussian(_known(alpha))
    _check_width(width)
    must = "lie in (0, 1), since it is the probability of failure"
    number("delta", delta, must, lambda p: 0 < p < 1)
    s, m, r, D = data.singular_values, data.outputs, data.rank, data.features
    log_h = jnp.log(real(width, s.dtype))
    alpha, tail = real(alpha, s.dtype), jnp.log(2 / real(delta, s.dtype))
    q = math.sqrt(m + D) + (jnp.sqrt(2 * tail) if corrected else 0.5 * tail)
    ratio = 4 if corrected else 2
    log_ratio = ratio * jnp.log(s[0] / s[-1]) - (0 if corrected else 4 * jnp.log(s[-1]))
    log_h0_lemma = math.log(16) + 2 * jnp.log(q)
    log_h0 = jnp.maximum(log_h0_lemma, math.log(4 * m) + log_ratio + 2 * jnp.log(q))
    log_least = log_h0 / (4 * alpha - 1)
    log_decay = math.log(2) + jnp.log(q) - (2 * alpha - 0.5) * log_h
    log_C = 1 + s[0] / s[-1] ** 2 * _norm(data.Y)
    return BiasBound(
        log_bound=jnp.exp((2 * alpha - 1) * log_h) * log_C + log_decay + 0.5 * math.log(m + r),
        log_least_width=log_least,
        log_lemma_width=log_h0_lemma,
        applies=log_h > jnp.maximum(log_least, log_h0_lemma),
        level=jnp.exp((1 - 2 * alpha) * log_h),
        overlap=math.sqrt(m + r) * jnp.exp(log_decay),
        product=math.sqrt(m) * jnp.exp(log_decay),
    )


def bias_law(
    data: Regression,
    width: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    scale: tuple[ArrayLike, ArrayLike] | None = None,
) -> Float[Array, ""]:
    r"""The root-mean-square distance to the min-norm solution of wide Gaussian networks.

    Let the entries of U and V be independent with standard deviations su and sv, `a = h su^2`,
    `b = h sv^2`, and `sigma_i` the singular values of the min-norm solution `Theta_hat` (0 for
    i > r). For h much larger than m + r

        `E ||U(inf) V(inf)^T - Theta_hat||_F^2
            ~ su^2 (D - r) sum_{i <= m} ((b - a) + sqrt((a + b)^2 + 4 sigma_i^2)) / 2`,

    which for `su = sv = h^-alpha` is
    `h^(-2 alpha) (D - r) sum_i sqrt(h^(2 - 4 alpha) + sigma_i^2)`.

    **Arguments:** the `data`; the `width` h >= 1; and, as in `init.Gaussian`, either `alpha`
    (default 1/2) or `scale = (su, sv)`.

    **Returns:** the square root of the right side. This is an asymptotic law, not a bound.

    **Raises:** `ValueError` for a width below 1, an alpha or a scale out of range, or both given.

    **Source:** derived: U2 is independent of V(inf) (see `conditional_bias`), and `V V^T(inf)`
    follows from the conserved imbalance.

    **Example:** the distance falls as `h^(-1/2)`.

    >>> import jaxflow as jf
    >>> data = jf.Regression([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [2.0, 3.0])
    >>> [f"{float(jf.theory.bias_law(data, width)):.2e}" for width in (10**4, 10**6)]
    ['1.82e-02', '1.82e-03']
    """
    pair = tuple(map(_known, scale)) if isinstance(scale, tuple | list) else scale
    law = Gaussian(_known(alpha), scale=pair)
    _check_width(width)
    dtype, m, r = data.X.dtype, data.outputs, data.rank
    h = real(width, dtype)
    if law.scale is None:
        su = sv = h ** -real(law.alpha, dtype)
    else:
        su, sv = (real(size, dtype) for size in law.scale)
    a, b = h * su**2, h * sv**2
    sigma = jnp.linalg.svdvals(data.span_solution)
    sigma = jnp.concatenate([sigma, jnp.zeros(max(m - r, 0), dtype)])
    hyp = jnp.hypot(a + b, 2 * sigma)
    # The two forms are equal; the first is free of cancellation for b >= a, the second for b < a.
    total = jnp.where(b >= a, 0.5 * (b - a + hyp), 2 * (a * b + sigma**2) / (a - b + hyp))
    return su * jnp.sqrt((data.features - r) * jnp.sum(total))


def conditional_bias(data: Regression, su: ArrayLike, V: Float[Array, "m h"]) -> Float[Array, ""]:
    r"""The root-mean-square distance to the min-norm solution, given the limiting V.

    If U2 has independent `N(0, su^2)` entries, it is independent of V(t) and U1(t) at all times.
    Given V(inf), `U(inf) V(inf)^T - Theta_hat` is then a Gaussian matrix with

        `E ||U(inf) V(inf)^T - Theta_hat||_F^2 = su^2 (D - r) ||V(inf)||_F^2`

    exactly, at every width.

    **Arguments:** the `data`; the standard deviation `su` of the entries of U; the limiting `V`,
    shape `(m, h)`, compressed or not.

    **Returns:** the square root of the right side.

    **Source:** derived.
    """
    return real(su, V.dtype) * math.sqrt(data.features - data.rank) * _norm(V)


def _norm(A: Float[Array, "a b"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.sum(A**2))


def _known(value: ArrayLike | None) -> Any:
    # A number of the host: inside jit even comparisons of constants would be traced.
    free = value is None or isinstance(value, Tracer)
    return value if free else float(number("alpha", value))


def _check_width(width: ArrayLike) -> None:
    number("width", width, "be at least 1", lambda h: h >= 1)
