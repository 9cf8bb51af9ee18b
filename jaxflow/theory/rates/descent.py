"""Rates of gradient descent, and the bounds on the tangent kernel on which they rest."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...data import Regression
from ...networks import TwoLayerLinear
from .bounds import rate_bound, span_residual
from .imbalance import imbalance


class KernelRange(eqx.Module):
    r"""Bounds, at all times of a flow, on what the weights contribute to the tangent kernel.

    **Attributes:** `least`, alpha, with `lambda_r(U1 U1^T) + lambda_m(V V^T) >= alpha`; `most`,
    beta, with `lambda_1(U1 U1^T) + lambda_1(V V^T) <= beta`.
    """

    least: Float[Array, ""]
    most: Float[Array, ""]


def kernel_range(network: TwoLayerLinear, data: Regression) -> KernelRange:
    r"""The range of the tangent kernel along the flow from this network.

    With `p_i = [sigma_i(W^T Y) - ||E(0)||_F]_+ / s_1` and `q = (||W^T Y||_F + ||E(0)||_F) / s_r`,

        `alpha = (-d+ + sqrt((d+ + c)^2 + 4 p_m^2) - d- + sqrt((d- + c)^2 + 4 p_r^2)) / 2`,
        `beta = (l+ + sqrt(l+^2 + 4 q^2) + l- + sqrt(l-^2 + 4 q^2)) / 2`,

    `l+ = [lambda_1(Lambda)]_+`, `l- = [lambda_1(-Lambda)]_+`, the rest as in `rate_bound`.

    **Arguments:** the `network` at time 0 and its `data`.

    **Source:** Xu, Min, Tarmoun, Mallada, Vidal (AISTATS 2023), table 2 and theorem 3.1; in print
    `alpha` has the smallest singular value in both roots, which is correct for m = r only.
    """
    spectrum, distance = imbalance(network, data), jnp.linalg.norm(span_residual(network, data))
    q = (jnp.linalg.norm(data.targets) + distance) / data.singular_values[-1]
    ends = [x + jnp.hypot(x, 2 * q) for x in (spectrum.largest_plus, spectrum.largest_minus)]
    return KernelRange(rate_bound(network, data, margin=True).level, 0.5 * (ends[0] + ends[1]))


class DescentBound(eqx.Module):
    r"""`L(k + 1) - L* <= factor (L(k) - L*)` for gradient descent with this learning rate.

    **Attributes:** `factor`, at step 0; `largest_rate`, the learning rate below which the theorem
    applies.
    """

    factor: Float[Array, ""]
    largest_rate: float


def descent_bound(
    network: TwoLayerLinear,
    data: Regression,
    learning_rate: float,
    *,
    c1: float = 0.5,
    c2: float = 1.5,
) -> DescentBound:
    r"""Linear convergence of gradient descent `W <- W - eta grad L`.

    With alpha, beta and q of `kernel_range`, s and S the least and largest singular values of X,
    `kappa = (S/s)^2` and L the excess loss at step 0, a step multiplies the excess loss by at most
    `1 - a1 eta + a2 eta^2 + a3 eta^3 + a4 eta^4`, where

        `a1 = 2 c1 alpha s^2`,  `a2 = 2 sqrt(2 kappa L s^6) q + kappa s^4 (c2 beta)^2`,
        `a3 = 2 sqrt(2 kappa^3 L s^10) c2 beta q`,  `a4 = 2 kappa^2 s^6 q^2 L`,

    if eta is below the positive roots of `a4 x^3 + a3 x^2 + (a2 + b) x = a1` both for
    `b = 4 c2 L S^2 / (c2 - 1)` and for `b = 8 c2 beta L S^2 / ((1 - c1) alpha)`.

    **Arguments:** the `network` at time 0, its `data`, the `learning_rate` eta, and the constants
    `0 < c1 < 1 < c2`.

    **Source:** Xu, Min, Tarmoun, Mallada, Vidal (AISTATS 2023), theorem 3.2 with (26), (27)
    and (29), and L - L* for L.
    """
    if not 0 < c1 < 1 < c2:
        raise ValueError(f"The constants must satisfy 0 < c1 < 1 < c2, got {c1} and {c2}.")
    level, E = kernel_range(network, data), span_residual(network, data)
    L, distance = 0.5 * jnp.sum(E**2), jnp.linalg.norm(E)
    S, s = data.singular_values[0], data.singular_values[-1]
    kappa = (S / s) ** 2
    q = (jnp.linalg.norm(data.targets) + distance) / s
    beta = level.most
    a1 = 2 * c1 * level.least * s**2
    a2 = 2 * jnp.sqrt(2 * kappa * L * s**6) * q + kappa * s**4 * (c2 * beta) ** 2
    a3 = 2 * jnp.sqrt(2 * kappa**3 * L * s**10) * c2 * beta * q
    a4 = 2 * kappa**2 * s**6 * q**2 * L
    rate = jnp.asarray(learning_rate, L.dtype)
    factor = 1 - a1 * rate + a2 * rate**2 + a3 * rate**3 + a4 * rate**4
    largest = np.inf
    for b in (4 * c2 * L * S**2 / (c2 - 1), 8 * c2 * beta * L * S**2 / ((1 - c1) * level.least)):
        if not np.isfinite(b):  # alpha is 0, and no step is known to be short enough
            return DescentBound(factor, 0.0)
        roots = np.roots(np.asarray([a4, a3, a2 + b, -a1], float))
        real = roots[np.abs(roots.imag) < 1e-12 * np.abs(roots)].real
        largest = min(largest, *real[real > 0], np.inf)
    return DescentBound(factor, float(largest))
