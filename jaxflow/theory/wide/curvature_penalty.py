"""The weight of curvature in the implicit bias of wide shallow networks."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from ...networks.activations import LeakyReLU, ReLU
from ...networks.init import Normal, Shallow, Sphere, Uniform
from .kernels import upper_moments


def zeta(init: Shallow, x: ArrayLike | float, *, features: int = 1) -> np.ndarray:
    r"""The weight zeta of a law: wide networks minimize `int g''(x)^2 / zeta(x) dx`.

    They converge to the interpolant g that minimizes this weighted curvature. zeta is the density
    of breakpoints, weighted by w^2. For the ReLU, with w and b independent and symmetric,

        `zeta(x) = int |W|^3 p(W, -W x) dW = E |W|^3 p_b(W x)`,

    p_b the density of b; for the m-th power of the ReLU, where the penalty is on the derivative of
    order m + 1, it is `E |W|^(2 m + 1) p_b(W x)`. For `features` > 1 and uniform directions it is a
    function of the offset c of a ridge, `E |w|^3 p_b(|w| c)`. It is known in closed form for

    - `Sphere(s)` and `Uniform(a)`: `s^3 / (2 a)` where `|x| <= a / s`: natural cubic splines;
    - `Uniform(a_w)` and `Uniform(a_b)`: `a_w^3 / (8 a_b)` where `|x| <= a_b / a_w`, and
      `a_b^3 / (8 a_w x^4)` beyond;
    - two normal laws: `2 s_w^3 s_b^3 / (pi (s_b^2 + x^2 s_w^2)^2)`; with d features proportional to
      `(s_b^2 + c^2 s_w^2)^(-(d + 3) / 2)`;

    and similarly for the powers; else truncated moments or quadrature are used.

    **Arguments:** the law `init`, and the points `x`, any shape.

    **Raises:** `ValueError` for an activation without kinks, biases without a density, or weights
    without the moment.

    **Source:** Jin and Montufar (JMLR 2023), theorem 1; closed forms derived.
    """
    m, leak = kink(init)
    x = np.asarray(x, float)
    known = _closed(init, x, m, features)
    if known is None and features == 1 and isinstance(init.biases, Uniform):
        known = _truncated(init, x, m)
    if known is None:
        known = _quadrature(init, x, m, features)
    return np.asarray((1 - leak) ** 2 * known)


def kink(init: Shallow) -> tuple[int, float]:
    """The power of a ReLU, and its slope where z < 0."""
    phi = init.activation
    if isinstance(phi, ReLU):
        return phi.power, 0.0
    if isinstance(phi, LeakyReLU):
        return 1, phi.slope
    raise ValueError(
        f"The implicit bias of {phi} is not known as a penalty of derivatives: use "
        "infinite_width_kernel, which needs none."
    )


def _closed(init: Shallow, x: np.ndarray, m: int, features: int) -> Any:
    w, b, k = init.weights, init.biases, 2 * m + 1
    if isinstance(w, Sphere) and isinstance(b, Uniform):
        s, a = float(w.size), float(b.bound)
        return np.where(np.abs(x) <= a / s, s**k / (2 * a), 0.0)
    if isinstance(w, Uniform) and isinstance(b, Uniform) and features == 1:
        aw, ab = float(w.bound), float(b.bound)
        last = ab / np.maximum(np.abs(x), ab / aw)
        return last ** (k + 1) / ((k + 1) * 2 * aw * ab)
    if isinstance(w, Normal) and isinstance(b, Normal):
        sw, sb, d = float(w.std), float(b.std), features
        moment = 2 ** (k / 2) * math.exp(gammaln((d + k) / 2) - gammaln(d / 2))
        size = sw**k * moment / (sb * math.sqrt(2 * math.pi))
        return size * (1 + (x * sw / sb) ** 2) ** (-(d + k) / 2)
    return None


def _truncated(init: Shallow, x: np.ndarray, m: int) -> Any:
    """`E |W|^(2 m + 1) 1(|W x| <= a) / (2 a)`."""
    a = float(init.biases.support)
    limit = a / np.where(x == 0, 1e-300, np.abs(x))
    below = [upper_moments(init.weights, at, 2 * m + 1)[-1] for at in (np.zeros_like(x), limit)]
    return (below[0] - below[1]) / a


def _quadrature(init: Shallow, x: np.ndarray, m: int, features: int) -> np.ndarray:
    b = init.biases

    def at(x: np.ndarray, breaks: Sequence[float]) -> np.ndarray:
        def weighted(r: float) -> Any:
            return r ** (2 * m + 1) * np.asarray(b.density(r * x))

        return np.asarray(init.weights.radius(weighted, features, breaks))

    if not math.isfinite(b.support):
        return at(x, ())
    # The integrand of each point has its own break, where |w| x leaves the support.
    edges = [[b.support / abs(p)] if p != 0 else [] for p in x.ravel()]
    values = [float(at(np.asarray(p), e)) for p, e in zip(x.ravel(), edges, strict=True)]
    return np.reshape(values, x.shape)
