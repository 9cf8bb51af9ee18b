"""Symmetric matrix sensing with measurements that commute, from the start `alpha I`."""

import numpy as np
from jaxtyping import Float


def entropic_limit(
    a: Float[np.ndarray, "n d"], y: Float[np.ndarray, " n"], log_alpha: float
) -> Float[np.ndarray, " d"]:
    r"""The eigenvalues of the limit of `U' = -A^*(A(U U^T) - y) U` from `U(0) = alpha I`.

    A maps a symmetric matrix X to its inner products with n matrices that commute, and A^* is its
    adjoint. In their common eigenvectors the eigenvalues of the limit `X = U U^T` are
    `x_j = alpha^2 exp(2 sum_i nu_i a_ij)`, with nu such that `a x = y`: the solution of `a x = y`
    that minimizes `sum_j x_j (log(x_j / alpha^2) - 1)`. It is found by Newton's method on the dual
    problem, in NumPy.

    **Arguments:** the eigenvalues `a` of the n measurement matrices, shape `(n, d)`; the
    measurements `y`, for which a positive x with `a x = y` must exist; `log_alpha`.

    **Raises:** `ValueError` if no such x is found.

    **Source:** derived, for the setting of Gunasekar et al. (NIPS 2017); compare Woodworth et al.
    (COLT 2020), theorem 4.
    """
    a, y = np.asarray(a, float), np.asarray(y, float)
    # Continuation in log(alpha): far down, the dual variable is an affine function of it.
    target = 2.0 * log_alpha
    path = [0.0]
    while abs(path[-1]) < abs(target):
        further = min(abs(target), max(1.2 * abs(path[-1]), abs(path[-1]) + 1.0))
        path.append(float(np.copysign(further, target)))
    known: list[np.ndarray] = []
    for i, base in enumerate(path):
        guess = known[-1] if known else np.zeros(len(a))
        if i >= 2:
            slope = (known[-1] - known[-2]) / (path[i - 1] - path[i - 2])
            guess = known[-1] + slope * (base - path[i - 1])
        known.append(_newton(a, y, base, guess))
    return np.exp(target + a.T @ known[-1])


def _newton(a: np.ndarray, y: np.ndarray, base: float, nu: np.ndarray) -> np.ndarray:
    """The minimizer nu of the convex function `sum exp(base + a^T nu) - y nu`.

    A step changes no exponent by more than 1, the scale on which the function is self-concordant.
    """
    for _ in range(1000):
        x = np.exp(np.minimum(base + a.T @ nu, 300))
        gradient = a @ x - y
        # The matrix a diag(x) a^T is factored by its root, or half the digits would be lost.
        root = (a * np.sqrt(x)).T
        scale = np.linalg.norm(root, axis=0)
        if not np.all(scale > 0):
            break
        _, R = np.linalg.qr(root / scale)
        # If no x fits, the dual variable diverges.
        with np.errstate(all="ignore"):
            try:
                step = -np.linalg.solve(R, np.linalg.solve(R.T, gradient / scale)) / scale
            except np.linalg.LinAlgError:
                break
        if not np.all(np.isfinite(step)):
            break
        change = np.abs(a.T @ step).max()
        nu = nu + step / max(1.0, change)
        if change <= 1e-13 * (1 + np.abs(nu).max()):
            break
    if not np.linalg.norm(a @ np.exp(base + a.T @ nu) - y) <= 1e-8 * np.linalg.norm(y):
        raise ValueError(
            "No positive solution was found: y must be the measurements of some X >= 0."
        )
    return nu
