"""From evidence to a verdict: the rules every claim of one kind shares."""

import numpy as np
from scipy.stats import beta

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
            f"{int(broken.sum())} of {int(counts.sum())} {evidence.trials} break it; worst slack "
            f"{worst:.2e}, allowance {evidence.allowance:.0e}{tail}"
        )
    if not evidence.applies.any():
        return None, f"none of {total} {evidence.trials} meets the hypotheses"
    good = counts & ~unusable
    if not good.any():
        return (
            None,
            f"it is vacuous for all {evidence.trials} that meet the hypotheses{tail}",
        )
    if failed > FAILED_SHARE * total:
        return None, f"too many {evidence.trials} failed: {failed} of {total}"
    worst = float(evidence.slack[good].min())
    return (
        True,
        f"no violation in {int(good.sum())} {evidence.trials}; tightest slack {worst:.2e}{tail}",
    )


def likely(evidence: Evidence, delta: float, *, level: float = 0.999) -> tuple[bool | None, str]:
    """An event of probability at least `1 - delta`, by exact (Clopper-Pearson) one-sided limits.

    True iff the upper limit on the probability that it fails is at most delta, False iff the lower
    limit is above it. Trials that failed count as failures of the event where that decides.
    """
    counts = evidence.applies & ~evidence.vacuous
    total = int(counts.sum())
    if not total:
        return None, f"none of {evidence.slack.size} {evidence.trials} meets the hypotheses"
    unknown = counts & (evidence.failed | np.isnan(evidence.slack))
    broken = int((counts & ~unknown & (evidence.slack < -evidence.allowance)).sum())
    high = upper_limit(broken + int(unknown.sum()), total, level)
    low = 1 - upper_limit(total - broken, total, level)
    said = f"it fails in {broken} of {total} {evidence.trials}: a probability of "
    said += f"{low:.2g} to {high:.2g} (delta = {delta:g})"
    return (True if high <= delta else False if low > delta else None), said


def upper_limit(events: int, trials: int, level: float) -> float:
    """The one-sided Clopper-Pearson upper limit of a probability."""
    return 1.0 if events >= trials else float(beta.ppf(level, events + 1, trials - events))


def around(value: float, tolerance: float) -> tuple[float, float]:
    """The margin `value +- tolerance`."""
    return value - tolerance, value + tolerance


def near(evidence: Evidence) -> tuple[bool | None, str]:
    """A number: True iff its interval lies within the margin, False iff outside of it."""
    assert evidence.margin is not None
    if evidence.interval is None or not np.all(np.isfinite(evidence.interval)):
        return None, "it could not be measured"
    (low, high), (least, most) = evidence.interval, evidence.margin
    said = f"measured in [{low:.4f}, {high:.4f}], predicted in [{least:.4f}, {most:.4f}]"
    if least <= low and high <= most:
        return True, said
    if high < least or low > most:
        return False, said
    return None, f"{said}: the interval is too wide"
