"""Gunasekar et al.: vanishing initialization and the minimum nuclear norm; and where it ends."""

import functools
import math

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import linprog

from ..claims import Evidence, Moves, Paper, at_most, near, once, presets
from ..data import Regression, orthonormal
from ..dynamics import gradient_flow, until
from ..theory.bias.matrix_sensing import entropic_limit

paper = Paper(
    "gunasekar2017",
    "Gunasekar, Woodworth, Bhojanapalli, Neyshabur, Srebro (NIPS 2017)",
    provenance="second-hand",
)
COMMUTING = "commuting measurements; the flow of X = U U^T from U(0) = alpha I"


class SymmetricProduct(eqx.Module):
    """`f(A) = <A, U U^T>` of a flattened (d, d) matrix A: symmetric matrix sensing."""

    U: Float[Array, "d k"]

    def __call__(self, x: Float[Array, " d*d"]) -> Float[Array, " 1"]:
        d = self.U.shape[0]
        return jnp.sum(x.reshape(d, d) * (self.U @ self.U.T))[None]

    @property
    def matrix(self) -> Float[Array, "d d"]:
        """`X = U U^T`."""
        return self.U @ self.U.T


def limit(alpha: float, data: Regression, ratio: float, rtol: float) -> np.ndarray:
    """`X = U U^T` at the end of the flow from `alpha I`, where the loss has fallen by a ratio."""
    start = SymmetricProduct(alpha * jnp.eye(math.isqrt(data.features)))
    end = gradient_flow(start, data, until=until.loss_ratio(ratio), rtol=rtol).network
    assert isinstance(end, SymmetricProduct)
    return np.asarray(end.matrix)


@once
def commuting(d: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues `a` (count, d) of commuting measurements, their eigenvectors, and the answers."""
    key = jr.key(100 + seed)
    a = np.asarray(jr.normal(key, (count, d)))
    planted = np.asarray(jr.uniform(jr.fold_in(key, 2), (d,), minval=0.2, maxval=1.0))
    Q = np.asarray(orthonormal(jr.fold_in(key, 1), d, d, jnp.float64))
    return a, Q, a @ planted


def limits(setting: tuple[int, int]) -> dict[tuple[int, float], np.ndarray]:
    """The limits of the flow by problem and alpha."""
    found = {}
    for seed in range(4):
        a, Q, y = commuting(*setting, seed)
        measurements = np.einsum("ij,nj,kj->nik", Q, a, Q)
        data = Regression(measurements.reshape(len(a), -1), y)
        for alpha in (0.3, 0.05):
            found[seed, alpha] = limit(alpha, data, 1e-24, 1e-11)
    return found


@paper.claim(
    "X(inf) minimizes sum x (log(x / alpha^{exponent:.12g}) - 1) over the eigenvalues x of "
    "solutions",
    name="commuting",
    source="for whose commuting measurements it is derived",
    provenance="derived",
    latex=r"X(\infty) = \operatorname{argmin} \sum_i x_i \left(\log \frac{x_i}{\alpha^2} - "
    r"1\right) \quad \text{over the eigenvalues } x \text{ of solutions}",
    hypotheses=COMMUTING,
    settings=presets(quick=(5, 3), paper=(20, 8), large=(50, 20)),
    run=limits,
    moves=Moves("exponent", "exponent", by="difference"),
)
def entropic(
    found: dict[tuple[int, float], np.ndarray], setting: tuple[int, int], exponent: float = 2.0
) -> Evidence:
    """The flow's limit against the closed form of the limit."""
    errors = []
    for (seed, alpha), X in found.items():
        a, Q, y = commuting(*setting, seed)
        x = entropic_limit(a, y, 0.5 * exponent * math.log(alpha))
        errors.append(np.linalg.norm(X - (Q * x) @ Q.T) / np.linalg.norm(x))
    return at_most("relative_error", errors, 1e-7, trials="comparisons")


def least_trace(a: np.ndarray, y: np.ndarray) -> float:
    """The least nuclear norm of a positive semidefinite solution, which may be taken diagonal."""
    found = linprog(np.ones(a.shape[1]), A_eq=a, b_eq=y, bounds=(0, None), method="highs")
    return float(found.fun)


@paper.claim(
    "||X(inf)||_* -> min ||X||_* over X >= 0 that fit, as alpha -> 0 (at e^{log_alpha:g})",
    source="as Woodworth et al. (2020) cite it",
    latex=r"\lVert X(\infty)\rVert_* \to \min_{X \succeq 0,\ \mathcal{A}(X) = y} \lVert "
    r"X\rVert_* \quad \text{as } \alpha \to 0",
    hypotheses=COMMUTING,
    settings=presets(quick=(5, 3, 10), paper=(20, 8, 50), large=(50, 20, 200)),
    moves=Moves("log_alpha", "logarithm of alpha"),
)
def nuclear_norm(setting: tuple[int, int, int], log_alpha: float = -500.0) -> Evidence:
    """The nuclear norm of the limit over the least one, on random problems."""
    d, count, problems = setting
    ratios = []
    for seed in range(problems):
        a, _, y = commuting(d, count, seed)
        ratios.append(entropic_limit(a, y, log_alpha).sum() / least_trace(a, y))
    return near(
        "nuclear_norm_over_least",
        float(np.mean(ratios)),
        (min(ratios), max(ratios)),
        1.0,
        0.02,
        count=problems,
        trials="problems",
    )


@functools.cache
def completion(R: float) -> Regression:
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


def least(R: float) -> float:
    """The trace of a positive semidefinite completion: `4 R`, of `[[R 1], [1 R]]` blocks."""
    X = np.array([[R, 1, 1, R], [1, R, R, 1], [1, R, R, 1], [R, 1, 1, R]])
    data = completion(R)
    assert np.linalg.eigvalsh(X).min() > -1e-12
    assert np.allclose(np.asarray(data.X) @ X.ravel(), np.asarray(data.Y)[:, 0])
    return float(np.trace(X))


@once
def completed(R: float, power: int) -> float:
    """The nuclear norm of the limit from `10^power I`."""
    return float(np.trace(limit(10.0**power, completion(R), 1e-20, 1e-9)))


def _conjecture(powers: tuple[int, ...]) -> str:
    alphas = ", ".join(f"1e{power}" for power in powers)
    if powers[-1] > powers[0]:
        return f"||X(inf)||_* does not grow along alpha = {alphas}"
    return (
        "||X(inf)||_* tends to the least nuclear norm as alpha -> 0, for all measurements: it "
        f"does not grow along alpha = {alphas}"
    )


@paper.claim(
    _conjecture,
    source="its conjecture, as later papers quote it; counterexample after Li, Luo, Lyu "
    "(ICLR 2021), matrix completion",
    latex=r"\lim_{\alpha \to 0} \lVert X_\alpha(\infty)\rVert_* = \min_{X \succeq 0,\ "
    r"\mathcal{A}(X) = y} \lVert X\rVert_*",
    hypotheses="any measurements; the flow of X = U U^T from U(0) = alpha I, alpha -> 0",
    settings=presets(quick=3.0, paper=3.0, large=3.0),
    expected=False,
    mutant={"powers": (-3, -12)},
    control={"powers": (-12, -3, -1)},  # the other way round, where the norm falls
)
def conjecture(R: float, powers: tuple[int, ...] = (-1, -3, -6, -12)) -> Evidence:
    """The nuclear norm of the limits for ever smaller starts, over the least one."""
    norms = [completed(R, power) / least(R) for power in powers]
    # If they tend to the minimum they at least do not move away from it.
    return at_most(
        "growth",
        np.diff(norms),
        1e-6,
        measured={f"nuclear_norm_over_least_1e{p}": x for p, x in zip(powers, norms, strict=True)},
        trials="decreases of alpha",
        least=1,  # one problem is enough to refute a statement about all
    )
