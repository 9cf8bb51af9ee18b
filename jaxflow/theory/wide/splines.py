"""The functions that wide shallow networks learn: interpolants of kernels, and splines."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from ...data import Regression
from ...machine.arguments import number
from ...networks.init import Shallow
from .curvature_penalty import kink, zeta
from .kernels import infinite_width_kernel

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Interpolant:
    """`g(x) = sum_j k(x, x_j) c_j + <d, (1, x, ...)>`, to be called with points (k, D) or (k,).

    **Attributes:** `kernel`; `centers` (n, D); `weights` c (n, m); `affine` d, (1 + D, m) with
    the constant first (polynomials of higher degree for powers of the ReLU), or None.
    """

    kernel: Kernel
    centers: np.ndarray
    weights: np.ndarray
    affine: np.ndarray | None = None

    def __call__(self, X: ArrayLike) -> np.ndarray:
        """The values of g at the points X, shape `(k, m)`."""
        X = np.asarray(X, float)
        X = X[:, None] if X.ndim == 1 else X
        out = self.kernel(X, self.centers) @ self.weights
        if self.affine is None:
            return out
        return out + monomials(X, self._degree) @ self.affine

    @property
    def _degree(self) -> int:
        assert self.affine is not None
        return 1 if self.centers.shape[1] > 1 else len(self.affine) - 1


def monomials(X: np.ndarray, degree: int = 1) -> np.ndarray:
    """The values of `(1, x)`, in one dimension of `(1, x, ..., x^degree)`, one row per point."""
    if X.shape[1] == 1:
        return X ** np.arange(degree + 1)[None]
    return np.c_[np.ones(len(X)), X]


def interpolant(
    kernel: Kernel, data: Regression, *, degree: int | None = None, ridge: float = 0.0
) -> Interpolant:
    r"""The function g of least norm, in the space of the kernel, that interpolates the data.

    With `degree` None it solves `(K + ridge I) c = y`. Else the norm does not count polynomials up
    to that degree, and `[[K + ridge I, T], [T^T, 0]] (c, d) = (y, 0)`, where T holds the values of
    the monomials at the samples. With a `ridge` g minimizes `||g(X) - y||^2 + ridge ||g||^2`.

    **Arguments:** `kernel(X, Z)`, a function that returns shape `(n, k)`; the `data`.

    **Raises:** `ValueError` if there is no ridge and two samples have the same input and different
    targets, or if the samples are too few to determine the polynomial.
    """
    X, Y = np.asarray(data.X, float), np.asarray(data.Y, float)
    number("ridge", ridge, "be zero or more", lambda x: x >= 0)
    if ridge == 0:
        X, Y = _distinct(X, Y)
    K, square = kernel(X, X), (len(X), len(X))
    if np.shape(K) != square:
        raise ValueError(f"kernel(X, X) must have shape {square}, got {np.shape(K)}.")
    K = K + ridge * np.eye(len(X))
    if degree is None:
        return Interpolant(kernel, X, _solved(K, Y))
    T = monomials(X, degree)
    p = T.shape[1]
    if np.linalg.matrix_rank(T) < p:
        raise ValueError(
            f"{len(X)} samples do not fix a polynomial of {p} coefficients: give more, in general "
            "position, or use the kernel alone."
        )
    # K is scaled to the size of T, so that the elimination keeps the digits of both.
    size = np.abs(K).max()
    whole = np.block([[K / size, T], [T.T, np.zeros((p, p))]])
    found = _solved(whole, np.r_[Y, np.zeros((p, Y.shape[1]))])
    return Interpolant(kernel, X, found[: len(X)] / size, found[len(X) :])


def _solved(K: np.ndarray, Y: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(K, Y)
    except np.linalg.LinAlgError:
        raise ValueError(
            "The kernel is singular on these samples, so that no function interpolates them: use "
            "ridge > 0."
        ) from None


def _distinct(X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unique, first, where = np.unique(X, axis=0, return_index=True, return_inverse=True)
    if len(unique) == len(X):
        return X, Y
    if not np.array_equal(Y[first][where.reshape(-1)], Y):
        raise ValueError(
            "Two samples have the same input and different targets: nothing interpolates them; "
            "average their targets, or use ridge > 0."
        )
    keep = np.sort(first)
    return X[keep], Y[keep]


def network_limit(init: Shallow, data: Regression, *, ridge: float = 0.0) -> Interpolant:
    """The function that infinitely wide networks of this law learn, if they start at zero.

    It is the interpolant of their tangent kernel; with a `ridge`, its kernel ridge regression.
    """
    _reach(init, data)
    return interpolant(lambda X, Z: infinite_width_kernel(init, X, Z), data, ridge=ridge)


def adjustment(init: Shallow, data: Regression) -> np.ndarray:
    r"""The affine function `v + u x` that must be subtracted from the targets, shape `(1 + D, m)`.

    On the adjusted targets `y - u x - v` wide networks learn the spline of least weighted
    curvature. On y itself they learn another function, since affine functions have a norm in the
    space of their kernel. `(v, u)` is the polynomial part of `interpolant` with *that kernel*; the
    spline kernel would give another polynomial.

    **Source:** Jin and Montufar (JMLR 2023), theorem 1; which system, derived.
    """
    _reach(init, data)
    found = interpolant(lambda X, Z: infinite_width_kernel(init, X, Z), data, degree=kink(init)[0])
    assert found.affine is not None
    return found.affine


def adjusted(init: Shallow, data: Regression) -> Regression:
    """The data with the affine function of `adjustment` subtracted from the targets."""
    X, Y = np.asarray(data.X, float), np.asarray(data.Y, float)
    return Regression(X, Y - monomials(X, kink(init)[0]) @ adjustment(init, data))


def spline(data: Regression, init: Shallow | None = None, *, ridge: float = 0.0) -> Interpolant:
    r"""The interpolating spline g that minimizes `int g''(x)^2 / zeta(x) dx`.

    zeta is that of the law `init` (see `zeta`); without a law it is constant, which gives the
    natural cubic spline. g is the `interpolant` of the kernel
    `R(x, z) = int zeta(c) (x - c)_+ (z - c)_+ dc` and affine functions; for constant zeta R is
    `|x - z|^3 / 12` up to affine functions. For the m-th power of a ReLU derivatives of order m + 1
    take the place of g''. With a `ridge` g is the smoothing spline, which minimizes
    `sum (g(x_j) - y_j)^2 + ridge int g''^2 / zeta`.

    **Raises:** `ValueError` for inputs of more than one dimension, or outside the support of the
    breakpoints.

    **Source:** Jin and Montufar (JMLR 2023), theorem 1.
    """
    if data.features > 1:
        raise ValueError("Splines are functions of one input: use polyharmonic for more.")
    if init is None:
        return interpolant(_cubic, data, degree=1, ridge=ridge)
    _reach(init, data)
    m, _ = kink(init)
    kernel = _Weighted(init, m, np.asarray(data.X, float)[:, 0])
    return interpolant(kernel, data, degree=m, ridge=ridge)


def polyharmonic(data: Regression, *, ridge: float = 0.0) -> Interpolant:
    """The interpolant of the kernel `|x - z|^3 / 12` and affine functions, in any dimension.

    It is the polyharmonic spline, the counterpart of `spline` with constant zeta.

    **Source:** Jin and Montufar (JMLR 2023), theorem 8.
    """
    return interpolant(_cubic, data, degree=1, ridge=ridge)


def _cubic(X: np.ndarray, Z: np.ndarray) -> np.ndarray:
    return cdist(X, Z) ** 3 / 12


NODES = 24  # of Gauss-Legendre quadrature between neighbouring points


@dataclasses.dataclass(frozen=True)
class _Weighted:
    """`R(x, z) = int zeta(c) ((x - c)_+ (z - c)_+)^m dc`, c from the first sample on."""

    init: Shallow
    m: int
    samples: np.ndarray

    def __call__(self, X: np.ndarray, Z: np.ndarray) -> np.ndarray:
        x, z, first = X[:, 0], Z[:, 0], self.samples.min()
        t = np.minimum(x[:, None], z[None])
        cuts = np.unique(np.concatenate([[first], self._breaks(), t.ravel()]))
        cuts = cuts[cuts >= first]
        # Moments about the middle of the samples, summed up from cut to cut.
        middle = 0.5 * (first + self.samples.max())
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        half = 0.5 * np.diff(cuts)
        c = 0.5 * (cuts[1:] + cuts[:-1])[:, None] + half[:, None] * nodes[None]
        density = half[:, None] * weights[None] * zeta(self.init, c)
        k = np.arange(2 * self.m + 1)
        parts = np.sum(density[:, :, None] * (c - middle)[:, :, None] ** k, axis=1)
        moments = np.r_[np.zeros((1, len(k))), np.cumsum(parts, axis=0)]
        # Beyond the last sample R is a polynomial of x alone: t is never larger.
        at = np.searchsorted(cuts, np.maximum(t, first))
        p, q = self._powers(x - middle), self._powers(z - middle)
        out = np.zeros(t.shape)
        for i in range(self.m + 1):
            for j in range(self.m + 1):
                out += p[i][:, None] * q[j][None] * moments[at, i + j]
        return out

    def _powers(self, x: np.ndarray) -> list[np.ndarray]:
        """The coefficients of `(x - c)^m` in powers of c."""
        return [math.comb(self.m, i) * (-1.0) ** i * x ** (self.m - i) for i in range(self.m + 1)]

    def _breaks(self) -> np.ndarray:
        """Where zeta may have a kink: at zero, and where the breakpoints of all units reach."""
        edge = self.init.biases.support / self.init.weights.support
        return np.array([-edge, 0.0, edge]) if np.isfinite(edge) and edge > 0 else np.zeros(1)


def _reach(init: Shallow, data: Regression) -> None:
    """Raise unless there can be breakpoints wherever there are samples."""
    X = np.asarray(data.X, float)
    kink_free = not hasattr(init.activation, "power") and not hasattr(init.activation, "slope")
    if kink_free or not np.isfinite(init.biases.support):
        return
    r = np.linalg.norm(X, axis=1).max()
    if data.features == 1 and zeta(init, r * (1 - 1e-12)) == 0:
        raise ValueError(
            f"An input of size {r:g} lies outside the support of the breakpoints: give biases a "
            "larger bound, or scale the inputs."
        )
