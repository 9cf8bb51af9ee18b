"""Symmetric matrix sensing from `alpha I`, with measurements that commute."""

import numpy as np
from jaxtyping import Float


def entropic_limit(
    a: Float[np.ndarray, "n d"], y: Float[np.ndarray, " n"], log_alpha: float
) -> Float[np.ndarray, " d"]:
    r"""The eigenvalues of the limit of `U' = -A^*(A(U U^T) - y) U` from `U(0) = alpha I`.

    In the common eigenvectors the eigenvalues of `X = U U^T` are
    `x_j = alpha^2 exp(2 sum_i nu_i a_ij)`: the one solution of `a x = y` of this form, which
    minimizes `sum_j x_j (log(x_j / alpha^2) - 1)`. Found by Newton's method on the dual, on the host.

    **Arguments:** the eigenvalues `a` of the n measurements, shape `(n, d)`; the answers `y`, which
    some positive x must give; `log_alpha`.

    **Raises:** `ValueError` if no such x is found.

    **Source:** Gunasekar et al. (NIPS 2017), theorem 1 and its proof.
    """
    a, y = np.asarray(a, float), np.asarray(y, float)
    # Along a path of starts: from a large one, whose limit is found at once, to the one asked for.
    nu = np.zeros(len(a))
    path = np.linspace(0.0, 1.0, 2 + int(abs(log_alpha) / 10))
    exponent = np.zeros(a.shape[1])
    for share in path:
        base = 2 * share * log_alpha
        nu = _newton(a, y, base, nu)
        exponent = base + a.T @ nu
    return np.exp(exponent)


def _newton(a: np.ndarray, y: np.ndarray, base: float, nu: np.ndarray) -> np.ndarray:
    """The minimizer of the convex `sum exp(base + a^T nu) - y nu`, damped."""

    def value(nu: np.ndarray) -> float:
        return float(np.exp(np.minimum(base + a.T @ nu, 700)).sum() - y @ nu)

    for _ in range(500):
        x = np.exp(np.minimum(base + a.T @ nu, 700))
        gradient = a @ x - y
        if np.linalg.norm(gradient) <= 1e-13 * np.linalg.norm(y):
            return nu
        # a diag(x) a^T by its root: half the digits are lost otherwise.
        R = np.linalg.qr((a * np.sqrt(x)).T, mode="r")
        try:
            step = -np.linalg.solve(R, np.linalg.solve(R.T, gradient))
        except np.linalg.LinAlgError:
            break
        size, here = 1.0, value(nu)
        while value(nu + size * step) > here + 1e-4 * size * (gradient @ step) and size > 1e-12:
            size /= 2
        nu = nu + size * step
        if size * np.linalg.norm(step) <= 1e-14 * (1 + np.linalg.norm(nu)):
            break
    if np.linalg.norm(a @ np.exp(base + a.T @ nu) - y) > 1e-8 * np.linalg.norm(y):
        raise ValueError("No positive solution was found: the answers must come from some X >= 0.")
    return nu
