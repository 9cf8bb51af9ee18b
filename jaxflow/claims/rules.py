"""From evidence to True, False or None: the rules that claims of one kind share."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import beta

from ..dynamics.status import Result, failed

if TYPE_CHECKING:
    from .evidence import Evidence, Rule

FAILED_SHARE = 0.01  # share of trials that may fail before a claim is left undecided


def for_all(evidence: "Evidence") -> tuple[bool | None, str]:
    """A bound on every trial: False on one violation, True only on evidence without any.

    Trials for which the claim is vacuous, and those outside its hypotheses, are counted and are
    never evidence. A slack that is not a number counts as a failed trial, and with more than 1% of
    failed trials, or fewer than `least` others, nothing is decided.
    """
    unusable = evidence.failed | np.isnan(evidence.slack)
    count, total = int(unusable.sum()), evidence.slack.size
    counts = evidence.applies & ~evidence.vacuous
    broken = counts & (evidence.slack < -evidence.allowance)
    tail = f" ({count} of {total} failed{_how(evidence)})" if count else ""
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
        said = f"it is vacuous for all {evidence.trials} that meet the hypotheses{tail}"
        return None, said
    if count > FAILED_SHARE * total:
        return None, f"too many {evidence.trials} failed: {count} of {total}{_how(evidence)}"
    if good.sum() < evidence.least:
        said = f"too few {evidence.trials}: {int(good.sum())}, and a verdict needs {evidence.least}"
        return None, said + tail
    worst = float(evidence.slack[good].min())
    said = f"no violation in {int(good.sum())} {evidence.trials}; tightest slack {worst:.2e}{tail}"
    return True, said


def _how(evidence: "Evidence") -> str:
    """How the failed trajectories of a sweep ended."""
    if evidence.dataset is None:
        return ""
    status = evidence.dataset["status"].values.ravel()
    names = sorted({Result(int(code)).name for code in status if failed(code)})
    return f", with {', '.join(names)}" if names else ""


def with_probability(delta: float, *, level: float = 0.999) -> "Rule":
    """The rule for an event of probability at least `1 - delta`.

    It takes exact (Clopper-Pearson) one-sided limits on the probability that the event fails. The
    verdict is True iff the upper limit is at most delta, and False iff the lower limit is above
    delta. Trials that failed count against the event where they could decide.
    """

    def rule(evidence: "Evidence") -> tuple[bool | None, str]:
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

    return rule


def upper_limit(events: int, trials: int, level: float) -> float:
    """The one-sided Clopper-Pearson upper limit of a probability."""
    return 1.0 if events >= trials else float(beta.ppf(level, events + 1, trials - events))


def within(evidence: "Evidence") -> tuple[bool | None, str]:
    """The rule for a number: True iff its interval lies inside the margin, False iff outside."""
    assert evidence.margin is not None
    if evidence.count is not None and evidence.count < evidence.least:
        said = f"too few {evidence.trials}: {evidence.count}, and a verdict needs {evidence.least}"
        return None, said
    if evidence.interval is None or not np.all(np.isfinite(evidence.interval)):
        return None, "it could not be measured"
    (low, high), (least, most) = evidence.interval, evidence.margin
    said = f"measured in [{low:.4f}, {high:.4f}], predicted in [{least:.4f}, {most:.4f}]"
    if least <= low and high <= most:
        return True, said
    if high < least or low > most:
        return False, said
    return None, f"{said}: the interval is too wide"
