"""Judge a claim, together with its mutant and its control."""

import dataclasses

import numpy as np

from ..machine import Stopwatch
from ..machine.arguments import instance
from ..machine.progress import Progress
from .claim import PRESETS, Claim
from .evidence import Evidence
from .experiments import shared_runs
from .registry import find
from .verdict import Verdict

_OF_CLAIM = ("id", "source", "provenance", "statement", "expected", "hypotheses")
_OF_EVIDENCE = ("measured", "predicted", "trials", "interval", "margin")


def verify(
    claim: Claim | str, *, preset: str = "quick", progress: Progress | bool = False
) -> Verdict:
    """Run a claim's experiment, judge the claim, its mutant and its control, return the verdict.

    **Arguments:** a `Claim` or the id of one; `preset` is "quick", "paper" or "large"; `progress`
    is called as in `jf.run` while a sweep runs.

    **Raises:** `ValueError` for an unknown claim or preset.
    """
    instance("claim", claim, Claim | str, "a Claim, or the id of one")
    instance("preset", preset, str, "a text")
    if preset not in PRESETS:
        raise ValueError(f"No preset is called {preset!r}: choose one of {', '.join(PRESETS)}.")
    if isinstance(claim, str):
        found = find(claim)
        if len(found) > 1:
            names = ", ".join(c.id for c in found)
            raise ValueError(f"{claim!r} means several claims; name one of {names}.")
        claim = found[0]
    with Stopwatch() as watch, shared_runs():
        evidence = claim.evaluate(claim.setting(preset), progress)
        verdict = judge(claim, evidence, preset)
    return dataclasses.replace(verdict, seconds=watch.seconds)


def judge(claim: Claim, evidence: Evidence, preset: str) -> Verdict:
    """The verdict on evidence in hand; the claim's mutant and control are judged beside it."""
    holds, reason = evidence.decide()
    slack, data = evidence.slack[evidence.counts], evidence.dataset
    # A number is measured on a whole sweep.
    trials = evidence.slack.size or (0 if data is None else data["status"].size)
    said = {name: getattr(claim, name) for name in _OF_CLAIM}
    found = {name: getattr(evidence, name) for name in _OF_EVIDENCE}
    return Verdict(
        **said,
        **found,
        latex=claim.typeset,
        preset=preset,
        holds=holds,
        reason=reason,
        uncertainty=evidence.allowance,
        slack=float(slack.min()) if slack.size else None,
        trajectories=int(trials),
        vacuous=int((evidence.applies & evidence.vacuous).sum()),
        failed=int(evidence.failed.sum()),
        seconds=0.0,
        mutant=_variant(claim.mutant, preset),
        control=_variant(claim.control, preset),
        slacks=_thinned(slack),
    )


def _thinned(slack: np.ndarray) -> tuple[float, ...]:
    ordered = np.sort(slack)
    if not len(ordered):
        return ()
    places = np.unique(np.linspace(0, len(ordered) - 1, 256).astype(int))
    return tuple(float(x) for x in ordered[places])


def _variant(claim: Claim | None, preset: str) -> dict[str, object] | None:
    if claim is None:
        return None
    holds, reason = claim.evaluate(claim.setting(preset)).decide()
    return {"statement": claim.statement, "holds": holds, "reason": reason}
