"""Separators of largest margin: the limits of flows under the exponential loss."""

import dataclasses
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike
from scipy.optimize import linprog, nnls

from ...data import Regression
from ...data.labels import classified, signed
from ...networks import MirrorMap
from ..diagonal.interpolation import least_potential

ACTIVE = 1e-9  # constraints whose margin is closer to 1 than this are active


@dataclasses.dataclass(frozen=True)
class Separator:
    """The minimizer of a potential Phi subject to `y_i x_i . beta >= 1` for all samples.

    Of m classes with one-hot targets, subject to `x_i . (beta_y - beta_k) >= 1` for every class k
    other than the right one, y.

    **Attributes:** `beta`, shape (d,), or (d, m); the KKT `multipliers`, shape (n,), or (n, m) with
    zeros for the right classes, such that `grad Phi(beta)` is the sum of the multipliers times the
    gradients of their constraints: nonnegative, zero where the margin exceeds 1. `gap` is the
    duality gap relative to the optimum: beta is optimal up to this share; nan if it was not
    computed.
    """

    beta: np.ndarray
    multipliers: np.ndarray
    gap: float = math.nan


def max_margin_l2(data: Regression) -> Separator:
    """The separator of least `|beta|_2^2 / 2`, the limit direction of the kernel regime.

    This is Lawson and Hanson's least distance problem, solved as one nonnegative least squares
    problem by SciPy's active-set method, which is exact up to rounding.

    **Raises:** `ValueError` if no beta separates the labels.

    **Source:** of several classes, Soudry, Hoffer, Nacson, Gunasekar, Srebro (JMLR 2018), section
    on the cross-entropy: the limit direction of a linear predictor (as cited; not read).
    """
    A = _constraints(data)
    E, f = np.vstack([A.T, np.ones(len(A))]), np.r_[np.zeros(A.shape[1]), 1.0]
    u, size = nnls(E, f, maxiter=100 * len(A))
    if size < 1e-7:
        raise ValueError(_INSEPARABLE)
    u = u / (1.0 - np.sum(u))
    beta = A.T @ u
    beta = beta / np.min(A @ beta)  # feasible
    square = beta @ beta
    return _separator(
        data, beta, u, (0.5 * square - (u.sum() - 0.5 * np.sum((A.T @ u) ** 2))) / (0.5 * square)
    )


def max_margin_l1(data: Regression) -> Separator:
    """The separator of least `|beta|_1`, the limit direction of the rich regime at depth 2.

    It is found by linear programming (HiGHS, through SciPy).

    **Raises:** `ValueError` if no beta separates the labels.
    """
    A = _constraints(data)
    d = A.shape[1]
    found = linprog(np.ones(2 * d), -np.hstack([A, -A]), -np.ones(len(A)), method="highs")
    if not found.success:
        raise ValueError(_INSEPARABLE)
    beta, u = found.x[:d] - found.x[d:], np.maximum(-found.ineqlin.marginals, 0)
    beta = beta / np.min(A @ beta)  # feasible
    bound = u.sum() / np.abs(A.T @ u).max()  # of the dual program, scaled to be feasible
    size = np.abs(beta).sum()
    return _separator(data, beta, u, (size - bound) / size)


def _constraints(data: Regression) -> np.ndarray:
    """The gradients of all margins in beta, one row each; beta flattened."""
    classified(data)
    if data.outputs == 1:
        return np.asarray(signed(data), float)
    X, Y = np.asarray(data.X, float), np.asarray(data.Y, float)
    ahead = Y[:, None, :] - np.eye(data.outputs)[None]  # e_y - e_k
    rows = X[:, None, :, None] * ahead[:, :, None, :]
    return rows[Y == 0].reshape(-1, X.shape[1] * data.outputs)


def _separator(data: Regression, beta: np.ndarray, u: np.ndarray, gap: float) -> Separator:
    """The separator with flat beta and multipliers, in the shape of the data."""
    if data.outputs == 1:
        return Separator(beta, u, gap)
    multipliers = np.zeros(data.Y.shape)
    multipliers[np.asarray(data.Y) == 0] = u
    return Separator(beta.reshape(data.features, data.outputs), multipliers, gap)


def max_margin_potential(mirror: MirrorMap, data: Regression) -> Separator:
    r"""The separator of least `Phi(beta)`, the limit direction of the intermediate regime.

    In this regime the initial scale alpha grows with the margin gamma such that
    `alpha^L / gamma = mu`, and Phi is the potential of the `mirror` map with `alpha^L = mu`. An
    active-set method, which starts from the constraints of `max_margin_l2` and finds
    `least_potential` on those that are active.

    **Raises:** `ValueError` if no beta separates the labels.

    **Source:** Moroshko et al. (NeurIPS 2020), from memory.
    """
    A = np.asarray(signed(data), float)
    n, d = A.shape
    active = max_margin_l2(data).multipliers > 0
    mirror = _widened(mirror, d, n)
    for _ in range(100 * n):
        # In place of an inactive constraint, a feature of its own is 0: all programs are of one
        # shape, and are compiled once.
        idle = np.diag(np.where(active, 0.0, np.linalg.norm(A, axis=1)))
        chosen = Regression(np.hstack([A * active[:, None], idle]), active.astype(float))
        found = least_potential(mirror, chosen)
        beta = np.asarray(found.beta)[:d]
        multipliers = np.where(active, np.asarray(chosen.left @ found.nu), 0.0)
        margins = A @ beta
        if multipliers.min() < 0:
            active[np.argmin(multipliers)] = False
        elif margins.min() < 1 - ACTIVE:
            active[np.argmin(margins)] = True
        else:
            return Separator(beta, multipliers)
    raise ValueError("The active constraints were not found: are some samples almost the same?")


def _widened(mirror: MirrorMap, d: int, more: int) -> MirrorMap:
    """The mirror map of d coordinates, and of so many more of the mean scale."""

    def widened(log: Array) -> Array:
        return jnp.concatenate([jnp.broadcast_to(log, (d,)), jnp.full(more, jnp.mean(log))])

    scales = widened(mirror.log_u), widened(mirror.log_v)
    return eqx.tree_at(lambda m: (m.log_u, m.log_v), mirror, scales)


def stationarity(beta: ArrayLike, data: Regression, depth: float) -> float:
    r"""How far a separator is from a stationary point of the l_(2/L) margin problem, L the depth.

    With `p = 2/L`, the rows `y_i x_i` of A, and b = beta scaled to margin 1, it is the minimum of
    `||b * (A^T lambda) - |b|^p|| / || |b|^p ||` over multipliers `lambda >= 0` of the active
    constraints (margins within 1% of the least). Zero means that the optimality condition
    `sign(b) |b|^(p-1) = A^T lambda` holds where b is not zero.

    **Source:** Moroshko et al. (NeurIPS 2020), from memory.
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
