"""Cohen, Kaur, Li, Kolter, Talwalkar: descent at the edge of stability."""

from typing import Any

import numpy as np

from ..claims.base import Evidence
from ..claims.gather import at_least, at_most
from ..claims.kinds import Made
from .settings.edge_of_stability import (
    PRESETS,
    PROBLEM,
    SETTLED,
    Setting,
    failures,
    held,
    late,
    ran,
)

SOURCE = "Cohen, Kaur, Li, Kolter, Talwalkar (ICLR 2021)"


def hovering(setting: Setting, height: float) -> Evidence:
    """The sharpness halfway between steps, late, against 2 / eta.

    It speaks of networks whose central flow stays at the edge: elsewhere sharpening has ended.
    """
    rates = np.asarray(setting.rates)[:, None]
    descent, central = ran("descent", setting), ran("central flow", setting)
    gap = np.abs(late(descent["sharpness"]) * rates / height - 1)
    return at_most(
        "relative_gap",
        gap.ravel(),
        1e-3,
        applies=held(setting),
        trials="networks",
        failed=failures(descent, central),
    )


def _edge(height: float = 2.0, **variants: Any) -> Made:
    return Made(
        "cohen2021.edge",
        f"the median of S over the late half of descent is {height:g} / eta",
        plan=SETTLED.__getitem__,
        look=lambda setting: hovering(setting, height),
        source=f"{SOURCE}, section 3",
        provenance="second-hand",
        hypotheses=f"{PROBLEM}; S at midpoints of steps; to 1e-3 relative; "
        "where the central flow stays at the edge",
        **variants,
    )


def sharpened(setting: Setting, factor: float) -> Evidence:
    """How far the sharpness rises along the gradient flow, which nothing holds back."""
    flow = ran("gradient flow", setting)
    S = flow["sharpness"]
    edge = 2 / np.asarray(setting.rates)[:, None]
    return at_least(
        "sharpness_over_edge",
        (S[:, :, -1] / edge).ravel(),
        factor,
        applies=S[:, :, 0] < edge,
        trials="networks",
        failed=failures(flow),
    )


def _sharpening(factor: float = 1.0, **variants: Any) -> Made:
    times = "" if factor == 1 else f"{factor:g} * "
    return Made(
        "cohen2021.sharpening",
        f"along the gradient flow S rises from below 2 / eta to above {times}2 / eta",
        plan=PRESETS.__getitem__,
        look=lambda setting: sharpened(setting, factor),
        source=f"{SOURCE}, section 3.1",
        provenance="second-hand",
        hypotheses=PROBLEM,
        **variants,
    )


CLAIMS = (
    _edge(mutant=_edge(2.01), control=_edge()),
    _sharpening(mutant=_sharpening(100.0), control=_sharpening()),
)
