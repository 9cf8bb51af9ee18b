"""Domine et al.: the closed form of the two-layer flow from lambda-balanced weights."""

import numpy as np

from ..claims import Paper
from ..theory import domine
from .settings.agreement import agreement
from .settings.balanced_flow import Case, everywhere, in_their_variables, of_any_shape

paper = Paper("domine2025", "Domine et al. (ICLR 2025)", provenance="second-hand")
SQUARE = (
    Case(seed=20, rank=3, outputs=3, width=3, lam=0.8, size=0.7),
    Case(seed=20, rank=3, outputs=3, width=3, lam=-0.5, size=0.7),
)
RECTANGULAR = (
    Case(seed=30, rank=3, outputs=2, width=2, lam=0.6, size=0.6),
    Case(seed=30, rank=2, outputs=4, width=3, lam=-0.7, size=0.6),
)


@agreement(
    paper,
    "Q Q^T = Z M^-1 Z^T, Q = [U1; V], with Z and M of theory.domine",
    source="as in a co-author's thesis and code",
    latex=r"Q Q^\top(t) = Z M^{-1} Z^\top, \qquad Q = \begin{pmatrix} U_1 \\ V \end{pmatrix}",
    settings=everywhere(*SQUARE),
    hypotheses="whitened inputs, U1^T U1 - V^T V = lam I, lam != 0, "
    "as many outputs as input directions",
)
def exact(cases: tuple[Case, ...], time_factor: float) -> np.ndarray:
    """Both signs of lambda; that of the paper is minus ours."""

    def formula(W1, W2, S, lam, t):
        return domine(W1, W2, S, -lam, t)

    return in_their_variables(formula, cases, time_factor)


@agreement(
    paper,
    "Q Q^T = e^(Ft) Q0 [I + Q0^T (int_0^t e^(2Fs) ds) Q0]^-1 Q0^T e^(Ft), Q = [V; U1]",
    source="beyond it: derived for any number of outputs",
    provenance="derived",
    latex=r"Q Q^\top(t) = e^{F t} Q_0 \left[I + Q_0^\top \left(\int_0^t e^{2 F s}\, ds\right) "
    r"Q_0\right]^{-1} Q_0^\top e^{F t}, \qquad Q = \begin{pmatrix} V \\ U_1 "
    r"\end{pmatrix}",
    settings=everywhere(*RECTANGULAR),
    hypotheses="whitened inputs, U1^T U1 - V^T V = lam I; "
    "F = [[-lam/2 I, T^T], [T, lam/2 I]] of the targets T",
)
def any_shape(cases: tuple[Case, ...], time_factor: float) -> np.ndarray:
    """More inputs than outputs, and fewer; both signs of lambda."""
    return of_any_shape(cases, time_factor)
