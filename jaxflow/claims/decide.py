"""From evidence to a verdict: the rules every claim of one kind shares."""

import numpy as np

from .base import Evidence

FAILED_SHARE = 0.01  # of trajectories that may fail before a claim is left undecided


def universal(evidence: Evidence) -> tuple[bool | None, str]:
    """A bound on every trajectory: False on one violation, True only on evidence without any.

    Vacuous trajectories, and those outside the hypotheses, are counted and never evidence.
    """
    # A slack that is not a number is no evidence of anything.
    unusable = evidence.failed | np.isnan(evidence.slack)
    failed, total = int(unusable.sum()), evidence.slack.size
    counts = evidence.applies & ~evidence.vacuous
    broken = counts & (evidence.slack < -evidence.allowance)
    tail = f" ({failed} of {total} failed)" if failed else ""
    if broken.any():
        worst = float(evidence.slack[broken].min())
        return False, (
            f"{int(broken.sum())} of {int(counts.sum())} trajectories break the bound; worst slack "
            f"{worst:.2e}, allowance {evidence.allowance:.0e}{tail}"
        )
    if not evidence.applies.any():
        return None, "no trajectory meets the hypotheses"
    good = counts & ~unusable
    if not good.any():
        return None, f"the bound is vacuous on every trajectory that meets the hypotheses{tail}"
    if failed > FAILED_SHARE * total:
        return None, f"too many trajectories failed: {failed} of {total}"
    worst = float(evidence.slack[good].min())
    return True, f"no violation in {int(good.sum())} trajectories; tightest slack {worst:.2e}{tail}"
