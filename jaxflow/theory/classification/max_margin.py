"""Which separator the flow ends at under the exponential loss, or passes: margin problems."""

import dataclasses

import numpy as np
from jaxtyping import ArrayLike
from scipy.optimize import linprog, nnls

from ...data import Regression
from ...data.labels import signed
from ...networks import MirrorMap
from ..diagonal.interpolation import least_potential

ACTIVE = 1e-9  # of the margin: constraints closer to it are active


@dataclasses.dataclass(frozen=True)
class Separator:
    """The minimizer `beta` (d,) of a potential s.t. `y_i x_i . beta >= 1`; the `multipliers` (n,).

    They are those of its optimality, `grad Phi(beta) = sum_i multipliers_i y_i x_i`: none negative,
    zero where the margin is above 1.
    """

    beta: np.ndarray
    multipliers: np.ndarray


def max_margin_l2(data: Regression) -> Separator:
    """The least `|beta|_2^2 / 2`: where the kernel regime ends.

    Lawson and Hanson's least distance problem, one nonnegative least squares (SciPy, an active-set
    method: exact up to rounding, where interior point solvers stop at 1e-8).

    **Raises:** `ValueError` if no beta separates the labels.
    """
    A = np.asarray(signed(data), float)
    E, f = np.vstack([A.T, np.ones(len(A))]), np.r_[np.zeros(A.shape[1]), 1.0]
    u, size = nnls(E, f, maxiter=100 * len(A))
    if size < 1e-7:
        raise ValueError(_INSEPARABLE)
    rest = 1.0 - np.sum(u)
    return Separator(A.T @ u / rest, u / rest)


def max_margin_l1(data: Regression) -> Separator:
    """The least `|beta|_1`: where the rich regime ends at depth 2. A linear program (HiGHS).

    **Raises:** `ValueError` if no beta separates the labels.
    """
    A = np.asarray(signed(data), float)
    d = A.shape[1]
    found = linprog(np.ones(2 * d), -np.hstack([A, -A]), -np.ones(len(A)), method="highs")
    if not found.success:
        raise ValueError(_INSEPARABLE)
    return Separator(found.x[:d] - found.x[d:], -found.ineqlin.marginals)


def max_margin_potential(mirror: MirrorMap, data: Regression) -> Separator:
    r"""The least `Phi(beta)`: where the intermediate regime, `alpha^L / gamma = mu`, ends.

    With the `mirror` map of `alpha^L = mu`. An active-set method: `least_potential` on the active
    constraints, from those of `max_margin_l2` on.

    **Raises:** `ValueError` if no beta separates the labels.

    **Source:** Moroshko et al. (NeurIPS 2020), theorem on `Q_mu`.
    """
    A = np.asarray(signed(data), float)
    active = max_margin_l2(data).multipliers > 0
    for _ in range(100 * len(A)):
        chosen = Regression(A[active], np.ones(int(active.sum())))
        found = least_potential(mirror, chosen)
        beta, multipliers = np.asarray(found.beta), np.zeros(len(A))
        multipliers[active] = np.asarray(chosen.left @ found.nu)
        margins = A @ beta
        if multipliers.min() < 0:
            active[np.argmin(multipliers)] = False
        elif margins.min() < 1 - ACTIVE:
            active[np.argmin(margins)] = True
        else:
            return Separator(beta, multipliers)
    raise ValueError("The active constraints were not found: are some samples almost the same?")


def stationarity(beta: ArrayLike, data: Regression, depth: float) -> float:
    r"""How far a separator is from a stationary point of the l_(2/L) margin problem.

    The least over `lambda >= 0` on the active constraints (margins within 1% of the least) of
    `||b * (A^T lambda) - |b|^p|| / || |b|^p ||`, `p = 2/L`, b = beta at margin 1: the optimality
    condition `sign(b) |b|^(p-1) = A^T lambda` where b is not zero, weighted by b.

    **Source:** Moroshko et al. (NeurIPS 2020), theorem on depth L > 2.
    """
    A, b = np.asarray(signed(data), float), np.asarray(beta, float)
    margins = A @ b
    if margins.min() <= 0:
        raise ValueError("beta does not separate the labels.")
    b, margins = b / margins.min(), margins / margins.min()
    power = 2.0 / depth
    goal = np.abs(b) ** power
    _, size = nnls((A[margins < 1.01] * b).T, goal)
    return float(size / np.linalg.norm(goal))


_INSEPARABLE = "No beta separates the labels: the least margin is never positive."
