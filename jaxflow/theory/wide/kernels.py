"""The tangent kernel of infinitely wide shallow networks."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from scipy.special import gammaln, ndtr

from ...networks.activations import LeakyReLU, ReLU
from ...networks.init import Normal, Shallow, Sphere, Uniform


def infinite_width_kernel(init: Shallow, X: ArrayLike, Z: ArrayLike | None = None) -> np.ndarray:
    r"""The limit, for h -> infinity, of the tangent kernel `T(x, z)`, or of T / h.

    In the standard parametrization T / h tends to the contribution of the output layer,

        `K(x, z) = E phi(<w, x> + b) phi(<w, z> + b)`;

    in the NTK parametrization T itself tends to
    `K(x, z) + E[v^2] (1 + <x, z>) E phi'(<w, x> + b) phi'(<w, z> + b)`, plus 1 with an intercept,
    and without the second term with `output_only`. It is known in closed form, in any dimension,
    for ReLU and leaky ReLU with

    - `Sphere` weights and `Uniform(a)` biases where `|<w, x>| <= a` for all points:
      `(1 / 2a) (a^3 / 3 + a s^2 <x, z> / d + s^3 c_d |x - z|^3 / 12)`,
      `c_d = Gamma(d / 2) / (sqrt(pi) Gamma((d + 3) / 2))`;
    - two normal laws: the arc-cosine kernels of `(s_w x, s_b)`.

    In one dimension it is found by quadrature for all other laws and activations.

    **Arguments:** the law `init`; points `X` (n, d) and `Z` (k, d), default X.

    **Returns:** shape `(n, k)`.

    **Raises:** `ValueError` if neither applies.

    **Source:** derived, after Jin and Montufar (JMLR 2023), appendix; the arc-cosine kernels are of
    Cho and Saul (2009).
    """
    X = _points(X)
    Z = X if Z is None else _points(Z)
    if X.shape[1] != Z.shape[1]:
        raise ValueError(f"X has {X.shape[1]} features and Z has {Z.shape[1]}.")
    output = _expected(init, X, Z, derivative=False)
    if init.parametrization == "standard":
        return output
    if init.intercept:
        output = output + 1
    if init.output_only:
        return output
    size = float(init.outputs.radius(lambda v: v**2, 1))
    return output + size * (1 + X @ Z.T) * _expected(init, X, Z, derivative=True)


def _points(X: ArrayLike) -> np.ndarray:
    X = np.asarray(X, float)
    if X.ndim not in (1, 2):
        raise ValueError(f"Points must have shape (n, d), got {X.shape}.")
    return X[:, None] if X.ndim == 1 else X


def _expected(init: Shallow, X: np.ndarray, Z: np.ndarray, derivative: bool) -> np.ndarray:
    """`E phi(s) phi(t)` of the preactivations s and t, or of the derivatives of phi."""
    phi = init.activation
    if isinstance(phi, ReLU) and phi.power == 1:
        leak = 0.0
    elif isinstance(phi, LeakyReLU):
        leak = phi.slope
    else:
        return _quadrature(init, X, Z, derivative)
    parts = _closed(init, X, Z)
    if parts is None:
        return _quadrature(init, X, Z, derivative)
    linear, kinked, switched = parts
    # phi(z) = a z + (1 - a) max(z, 0), and E s max(t, 0) = E s t / 2 by symmetry.
    if derivative:
        return leak**2 + leak * (1 - leak) + (1 - leak) ** 2 * switched
    return (leak**2 + leak * (1 - leak)) * linear + (1 - leak) ** 2 * kinked


def _closed(
    init: Shallow, X: np.ndarray, Z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """`E s t`, `E s_+ t_+` and `P(s, t > 0)` of the preactivations s and t, or None."""
    w, b, d = init.weights, init.biases, X.shape[1]
    if isinstance(w, Normal) and isinstance(b, Normal):
        sw, sb = float(w.std), float(b.std)
        A, B = (np.c_[sw * x, np.full(len(x), sb)] for x in (X, Z))
        a, c = np.linalg.norm(A, axis=1)[:, None], np.linalg.norm(B, axis=1)[None]
        inner = A @ B.T
        # The angle from its chord, since arccos would lose half the digits of small angles.
        chord = cdist(A / a, B / c.T)
        theta = 2 * np.arcsin(np.clip(chord / 2, 0, 1))
        kinked = a * c * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi)
        return inner, kinked, (np.pi - theta) / (2 * np.pi)
    if isinstance(w, Sphere) and isinstance(b, Uniform):
        s, bound = float(w.size), float(b.bound)
        reach = s * max(np.linalg.norm(X, axis=1).max(), np.linalg.norm(Z, axis=1).max())
        if reach > bound * (1 + 1e-12):
            return None
        far = s * cdist(X, Z)
        # c_d, and E |w_1| of a unit vector w; the Gamma functions themselves overflow at d = 343.
        cubic, mean = (
            math.exp(gammaln(d / 2) - gammaln((d + k) / 2)) / math.sqrt(math.pi) for k in (3, 1)
        )
        inner = s**2 * (X @ Z.T) / d
        linear = inner + bound**2 / 3
        kinked = (bound**3 / 3 + bound * inner + cubic * far**3 / 12) / (2 * bound)
        return linear, kinked, 0.5 - mean * far / (4 * bound)
    return None


def _quadrature(init: Shallow, X: np.ndarray, Z: np.ndarray, derivative: bool) -> np.ndarray:
    if X.shape[1] > 1:
        raise ValueError(
            "In more than one dimension the infinite-width kernel is known for (leaky) ReLU with "
            "Normal weights and biases, or Sphere weights and Uniform biases that reach all "
            "points: use one of these, or the tangent kernel of a wide network."
        )
    phi = init.activation
    power = phi.power if isinstance(phi, ReLU) else 1
    kinked = isinstance(phi, ReLU | LeakyReLU)
    x, z = X[:, 0], Z[:, 0]
    if kinked and not (power == 1 and derivative):
        smooth = power - 1 if derivative else power
        scale = power**2 if derivative else 1
    elif kinked:
        smooth, scale = 0, 1
    else:
        return _smooth(init, x, z, derivative)
    leak = phi.slope if isinstance(phi, LeakyReLU) else 0.0
    second = float(init.biases.radius(lambda b: b**2, 1)) if leak else 0.0

    def given(w: float) -> np.ndarray:
        s, t = np.broadcast_arrays((w * x)[:, None], (w * z)[None])
        # The terms with the leak follow from symmetry.
        inside = scale * _truncated(init.biases, s, t, smooth)
        if not leak:
            return inside
        even = np.ones_like(s) if derivative else s * t + second
        return (leak**2 + leak * (1 - leak)) * even + (1 - leak) ** 2 * inside

    ends = np.concatenate([x, z])
    support = init.biases.support
    breaks = [support / abs(p) for p in ends if p != 0 and math.isfinite(support)]
    return init.weights.expect(given, breaks)


def _truncated(law: Any, s: np.ndarray, t: np.ndarray, k: int) -> np.ndarray:
    """`E (s + b)_+^k (t + b)_+^k` over b."""
    lower = -np.minimum(s, t)
    moments = upper_moments(law, lower, 2 * k)
    out = np.zeros_like(s)
    for i in range(k + 1):
        for j in range(k + 1):
            weight = math.comb(k, i) * math.comb(k, j)
            out += weight * s ** (k - i) * t ** (k - j) * moments[i + j]
    return out


def upper_moments(law: Any, lower: Any, most: int) -> list[Any]:
    """`E b^k 1(b > lower)` for k = 0 ... most."""
    if isinstance(law, Uniform):
        a = float(law.bound)
        low = np.clip(lower, -a, a)
        return [(a ** (k + 1) - low ** (k + 1)) / ((k + 1) * 2 * a) for k in range(most + 1)]
    if isinstance(law, Normal):
        s = float(law.std)
        lower = np.clip(lower, -law.reach, law.reach)
        density = law.density(lower)
        out = [ndtr(-lower / s), s**2 * density]
        for k in range(2, most + 1):
            out.append(s**2 * ((k - 1) * out[k - 2] + lower ** (k - 1) * density))
        return out[: most + 1]
    lower = np.asarray(lower, float)
    cuts, index = np.unique(lower, return_inverse=True)
    every = [
        law.expect(lambda b, c=c: float(b > c) * b ** np.arange(most + 1), [abs(c)]) for c in cuts
    ]
    return list(np.moveaxis(np.asarray(every)[index.reshape(lower.shape)], -1, 0))


def _smooth(init: Shallow, x: np.ndarray, z: np.ndarray, derivative: bool) -> np.ndarray:
    both = np.concatenate([x, z])

    def given(w: float, b: float) -> np.ndarray:
        out = np.asarray(_activated(init.activation, derivative, jnp.asarray(w * both + b)))
        return out[: len(x), None] * out[None, len(x) :]

    return init.weights.expect(lambda w: init.biases.expect(lambda b: given(w, b)))


@eqx.filter_jit
def _activated(phi: Any, derivative: bool, z: Float[Array, " k"]) -> Float[Array, " k"]:
    return jax.vmap(jax.grad(phi))(z) if derivative else phi(z)
