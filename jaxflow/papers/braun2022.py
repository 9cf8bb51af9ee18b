"""Braun, Domine, Fitzgerald, Saxe: exact learning dynamics with prior knowledge."""

import numpy as np

from ..claims import Paper
from ..theory import braun
from .settings.agreement import agreement
from .settings.balanced_flow import Case, everywhere, in_their_variables

paper = Paper(
    "braun2022", "Braun, Domine, Fitzgerald, Saxe (NeurIPS 2022)", provenance="second-hand"
)
# B = U^T U~ + V^T V~ is a sum of two orthogonal matrices if the target is square. If their
# determinants differ in sign and k is odd, as for half of all draws, it is singular.
SQUARE_AND_RECTANGULAR = (
    Case(seed=15, rank=3, outputs=3, width=3, lam=0.0, size=0.7),
    Case(seed=15, rank=4, outputs=2, width=3, lam=0.0, size=0.7),
)


@agreement(
    paper,
    "Q Q^T = Z M^-1 Z^T, Q = [U1; V], with Z and M of theory.braun",
    source="as a co-author's later thesis quotes it",
    latex=r"Q Q^\top(t) = Z M^{-1} Z^\top, \qquad Q = \begin{pmatrix} U_1 \\ V \end{pmatrix}",
    settings=everywhere(*SQUARE_AND_RECTANGULAR),
    hypotheses="whitened inputs, U1^T U1 = V^T V, targets and product of full rank, the B "
    "of theory.braun invertible",
)
def exact(cases: tuple[Case, ...], time_factor: float) -> np.ndarray:
    """Square and rectangular targets."""

    def formula(W1, W2, S, lam, t):
        return braun(W1, W2, S, t)

    return in_their_variables(formula, cases, time_factor)
