"""Gunasekar et al.: vanishing initialization and the minimum nuclear norm; and where it ends."""

import functools
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import linprog

from ..claims.agreement import agreement
from ..claims.base import Evidence
from ..claims.decide import around, near
from ..claims.kinds import Made
from ..data import Regression, orthonormal
from ..dynamics import gradient_flow, until
from ..theory.bias.matrix_sensing import entropic_limit

SOURCE = "Gunasekar, Woodworth, Bhojanapalli, Neyshabur, Srebro (NIPS 2017)"
LATER = "Li, Luo, Lyu (ICLR 2021), matrix completion"


class SymmetricProduct(eqx.Module):
    """`f(A) = <A, U U^T>` of a flattened (d, d) matrix: symmetric matrix sensing."""

    U: Float[Array, "d k"]

    def __call__(self, x: Float[Array, " d*d"]) -> Float[Array, " 1"]:
        d = self.U.shape[0]
        return jnp.sum(x.reshape(d, d) * (self.U @ self.U.T))[None]

    @property
    def matrix(self) -> Float[Array, "d d"]:
        """`X = U U^T`."""
        return self.U @ self.U.T


def commuting(preset: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues `a` (count, d) of commuting measurements, their eigenvectors, and the answers."""
    d, count = {"quick": (5, 3), "paper": (20, 8), "large": (50, 20)}[preset]
    key = jr.key(100 + seed)
    a = np.asarray(jr.normal(key, (count, d)))
    planted = np.asarray(jr.uniform(jr.fold_in(key, 2), (d,), minval=0.2, maxval=1.0))
    Q = np.asarray(orthonormal(jr.fold_in(key, 1), d, d, jnp.float64))
    return a, Q, a @ planted


def simulated(preset: str, clock: float, seed: int) -> np.ndarray:
    """The flow's limit from alpha I against the closed form of the limit."""
    a, Q, y = commuting(preset, seed)
    measurements = np.einsum("ij,nj,kj->nik", Q, a, Q)
    data = Regression(measurements.reshape(len(a), -1), y)
    errors = []
    for alpha in (0.3, 0.05):
        start = SymmetricProduct(alpha * jnp.eye(len(Q)))
        end = gradient_flow(start, data, until=until.loss_ratio(1e-24), rtol=1e-11).network
        assert isinstance(end, SymmetricProduct)
        # The mutant takes another size of the start.
        x = entropic_limit(a, y, math.log(alpha) * clock)
        errors.append(np.linalg.norm(np.asarray(end.matrix) - (Q * x) @ Q.T) / np.linalg.norm(x))
    return np.asarray(errors)


def least_trace(a: np.ndarray, y: np.ndarray) -> float:
    """The least nuclear norm of a positive semidefinite solution, which may be taken diagonal."""
    found = linprog(np.ones(a.shape[1]), A_eq=a, b_eq=y, bounds=(0, None), method="highs")
    return float(found.fun)


def vanishing(preset: str, log_alpha: float) -> Evidence:
    """The nuclear norm of the limit over the least one, as alpha vanishes."""
    ratios = []
    for seed in range({"quick": 10, "paper": 50, "large": 200}[preset]):
        a, _, y = commuting(preset, seed)
        ratios.append(entropic_limit(a, y, log_alpha).sum() / least_trace(a, y))
    return Evidence(
        slack=np.zeros(0),
        interval=(min(ratios), max(ratios)),
        margin=around(1.0, 0.02),
        measured={"nuclear_norm_over_least": float(np.mean(ratios)), "problems": len(ratios)},
        predicted={"nuclear_norm_over_least": 1.0},
        trials="problems",
    )


def _vanishing(log_alpha: float, **variants: Any) -> Made:
    return Made(
        "gunasekar2017.nuclear_norm",
        f"||X(inf)||_* -> min ||X||_* over X >= 0 that fit, as alpha -> 0 (at e^{log_alpha:g})",
        plan=lambda preset: preset,
        look=lambda preset: vanishing(preset, log_alpha),
        rule=near,
        source=f"{SOURCE}, theorem 1",
        provenance="memory",
        hypotheses="commuting measurements, U(0) = alpha I",
        **variants,
    )


R = 3.0  # of the counterexample


@functools.cache
def completion() -> Regression:
    """Three entries of a symmetric 4 x 4 matrix: X_13 = 1, X_14 = X_23 = R.

    The rank-one completion has trace `2 + 2 R^2`; `4 R` is the least one.
    """
    rows, answers = [], []
    for (i, j), value in {(0, 2): 1.0, (0, 3): R, (1, 2): R}.items():
        A = np.zeros((4, 4))
        A[i, j] = A[j, i] = 0.5
        rows.append(A.ravel())
        answers.append(value)
    return Regression(np.asarray(rows), np.asarray(answers))


def completed(log10_alpha: tuple[int, ...], least: float) -> Evidence:
    """The nuclear norm of the limits for ever smaller starts, over the least one."""
    traces = []
    for power in log10_alpha:
        start = SymmetricProduct(10.0**power * jnp.eye(4))
        solution = gradient_flow(start, completion(), until=until.loss_ratio(1e-20), rtol=1e-9)
        assert isinstance(solution.network, SymmetricProduct)
        traces.append(float(jnp.trace(solution.network.matrix)) / least)
    # If they tend to the minimum they at least do not move away from it.
    return Evidence(
        slack=-np.diff(traces),
        allowance=1e-6,
        measured={
            f"nuclear_norm_over_least_1e{p}": t for p, t in zip(log10_alpha, traces, strict=True)
        },
        predicted={"nuclear_norm_over_least": "-> 1"},
        trials="decreases of alpha",
    )


def feasible() -> float:
    """The trace of a positive semidefinite completion: `4 R`, of `[[R 1], [1 R]]` blocks."""
    X = np.array([[R, 1, 1, R], [1, R, R, 1], [1, R, R, 1], [R, 1, 1, R]])
    assert np.linalg.eigvalsh(X).min() > -1e-12
    assert np.allclose(np.asarray(completion().X) @ X.ravel(), np.asarray(completion().Y)[:, 0])
    return float(np.trace(X))


def _conjecture(powers: tuple[int, ...], statement: str, **more: Any) -> Made:
    return Made(
        "gunasekar2017.conjecture",
        statement,
        plan=lambda preset: preset,
        look=lambda preset: completed(powers, feasible()),
        source=f"{SOURCE}, conjecture; counterexample after {LATER}",
        provenance="memory",
        hypotheses="any measurements, U(0) = alpha I, alpha -> 0",
        **more,
    )


SMALL = (-1, -3, -6, -12)
_SAME = "||X(inf)||_* tends to the least nuclear norm as alpha -> 0"

CLAIMS = (
    agreement(
        "gunasekar2017.commuting",
        "X(inf) minimizes sum x (log(x / alpha^2) - 1) over the eigenvalues of solutions",
        simulated,
        source=f"{SOURCE}, theorem 1 and its proof",
        provenance="memory",
        hypotheses="commuting measurements, U(0) = alpha I",
        tolerance=1e-7,
    ),
    _vanishing(-500.0, mutant=_vanishing(-1.0), control=_vanishing(-1000.0)),
    _conjecture(
        SMALL,
        f"{_SAME}, for all measurements",
        expected=False,
        mutant=_conjecture((-3, -12), f"{_SAME}, from 1e-3 to 1e-12"),
        control=_conjecture((-12, -3, -1), "it decreases as alpha grows, here"),
    ),
)
