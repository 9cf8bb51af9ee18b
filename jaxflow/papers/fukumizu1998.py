"""Fukumizu: the closed form of the two-layer flow from balanced weights."""

import numpy as np

from ..claims import Paper
from .settings.agreement import agreement
from .settings.balanced_flow import Case, everywhere, of_any_shape

paper = Paper("fukumizu1998", "Fukumizu (ICONIP 1998)", provenance="second-hand")
TALL_AND_WIDE = (
    Case(seed=0, rank=3, outputs=2, width=2, lam=0.0, size=0.5),
    Case(seed=0, rank=2, outputs=3, width=6, lam=0.0, size=0.5),
)


@agreement(
    paper,
    "Q Q^T = e^(Ft) Q0 [I + Q0^T (int_0^t e^(2Fs) ds) Q0]^-1 Q0^T e^(Ft), Q = [V; U1]",
    source="as later papers quote it; for any shape and singular F derived",
    latex=r"Q Q^\top(t) = e^{F t} Q_0 \left[I + Q_0^\top \left(\int_0^t e^{2 F s}\, ds\right) "
    r"Q_0\right]^{-1} Q_0^\top e^{F t}, \qquad Q = \begin{pmatrix} V \\ U_1 "
    r"\end{pmatrix}",
    settings=everywhere(*TALL_AND_WIDE),
    hypotheses="whitened inputs, U1^T U1 = V^T V; F = [[0, T^T], [T, 0]] of the targets T",
)
def balanced(cases: tuple[Case, ...], time_factor: float) -> np.ndarray:
    """Narrow and wide networks."""
    return of_any_shape(cases, time_factor)
