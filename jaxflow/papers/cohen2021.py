"""Cohen, Kaur, Li, Kolter, Talwalkar: gradient descent at the edge of stability."""

import numpy as np

from ..claims import Evidence, Moves, Paper, at_least, at_most
from .settings.edge_of_stability import (
    GROUP,
    MIDPOINTS,
    PROBLEM,
    RISING,
    SETTLED,
    Setting,
    failures,
    held,
    late,
    ran,
)

paper = Paper(
    "cohen2021",
    "Cohen, Kaur, Li, Kolter, Talwalkar (ICLR 2021)",
    provenance="second-hand",
    group=GROUP,
)


@paper.claim(
    "the median of S over the late half of descent is {height:.12g} / eta",
    source="abstract; and the companion text of Cohen et al. (2025)",
    latex=r"\operatorname{median}_{t \ge T/2} S(w_t) = \frac{2}{\eta}",
    hypotheses=f"{MIDPOINTS}; to 1e-3 relative; where the central flow stays at the edge",
    settings=SETTLED,
    moves=Moves("height", "height"),
)
def edge(setting: Setting, height: float = 2.0) -> Evidence:
    """The late sharpness against 2 / eta; where the central flow leaves the edge, sharpening has
    ended, and the claim says nothing."""
    descent, central = ran("descent", setting), ran("central flow", setting)
    expected = height / np.asarray(setting.rates)[:, None]
    return at_most(
        "relative_gap",
        np.abs(late(descent["sharpness"]) / expected - 1),
        1e-3,
        applies=held(setting),
        trials="networks",
        failed=failures(descent, central),
    )


@paper.claim(
    "along the gradient flow S rises from below 2 / eta to above {factor:times}2 / eta",
    source="as in the companion text of Cohen et al. (2025)",
    latex=r"S(w(0)) < \frac{2}{\eta} < S(w(T)) \quad \text{along the gradient flow}",
    hypotheses=PROBLEM,
    settings=RISING,
    moves=Moves("factor", "sharpness"),
)
def sharpening(setting: Setting, factor: float = 1.0) -> Evidence:
    """How far the sharpness rises along the gradient flow, which nothing holds back."""
    flow = ran("gradient flow", setting)
    S = flow["sharpness"]
    return at_least(
        "sharpness_over_edge",
        S[:, :, -1] / setting.edge,
        factor,
        applies=S[:, :, 0] < setting.edge,
        trials="networks",
        failed=failures(flow),
    )
