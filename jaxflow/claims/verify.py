"""Judge a claim, together with its mutant and its control."""

import dataclasses
from typing import Any

import numpy as np

from ..machine import Stopwatch
from ..machine.arguments import instance
from ..machine.progress import Progress
from .claim import PRESETS, Claim
from .evidence import Evidence
from .experiments import shared_runs
from .registry import find
from .resolution import FINE, Resolution, beyond, edge
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
    trials = trials if evidence.count is None else evidence.count
    said = {name: getattr(claim, name) for name in _OF_CLAIM}
    found = {name: getattr(evidence, name) for name in _OF_EVIDENCE}
    return Verdict(
        **said,
        **found,
        **_near_misses(claim, evidence, preset),
        certificate=claim.prove(claim.setting(preset)) if claim.prove and holds is False else None,
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
        slacks=_thinned(slack),
    )


def _near_misses(claim: Claim, evidence: Evidence, preset: str) -> dict[str, Any]:
    """How fine the check is, and the statements beside the claim's that it tells apart from it."""
    holds, _ = evidence.decide()
    own = resolution(claim, evidence, preset)
    out: dict[str, Any] = {"resolution": own, "room": None, "mutant": None, "control": None}
    base, there = claim, own
    if claim.control is not None:
        attained = claim.control
        judged = attained.evaluate(attained.setting(preset))
        out["control"] = _outcome(attained, judged, same=claim)
        if attained.moves is not None and judged.decide()[0]:
            finer = resolution(attained, judged, preset)
            if finer is not None and (own is None or not holds or finer.distance < own.distance):
                base, there = attained, dataclasses.replace(finer, attained=True)
                if holds and attained.statement == claim.statement:
                    out |= {"resolution": there, "room": own}
    if claim.mutant is not None:
        out["mutant"] = _outcome(claim.mutant, claim.mutant.evaluate(claim.mutant.setting(preset)))
    elif base.moves is not None and there is not None:
        value = beyond(base.moves, there.value, there.edge)
        moved = base.with_arguments({base.moves.argument: value})
        told = _outcome(moved, moved.evaluate(moved.setting(preset)))
        # Beside what is refuted, the near miss is a statement that is not.
        out["control" if base is claim and holds is False else "mutant"] = told
    return out


def resolution(claim: Claim, evidence: Evidence, preset: str) -> Resolution | None:
    """How far the number that the claim moves, or else the evidence itself, moves it."""
    holds, _ = evidence.decide()
    moves = claim.moves or evidence.moves
    if holds is None or moves is None:
        return None
    value = claim.arguments[moves.argument] if claim.moves is not None else evidence.value

    def judged(value: float) -> Evidence:
        if claim.moves is not None:
            moved = claim.with_arguments({moves.argument: value})
            return moved.evaluate(moved.setting(preset))
        assert evidence.moved is not None
        return evidence.moved(value)

    def changed(value: float) -> bool:
        try:
            with np.errstate(all="ignore"):
                return (judged(value).decide()[0] is False) is holds
        except Exception:  # a value so far off that nothing can be computed tells nothing
            return False

    found = edge(moves, value, changed, FINE.get(preset, FINE["quick"]))
    return None if found is None else Resolution(moves.noun, value, found, moves.by)


def _thinned(slack: np.ndarray) -> tuple[float, ...]:
    ordered = np.sort(slack)
    if not len(ordered):
        return ()
    places = np.unique(np.linspace(0, len(ordered) - 1, 256).astype(int))
    return tuple(float(x) for x in ordered[places])


def _outcome(claim: Claim, evidence: Evidence, same: Claim | None = None) -> dict[str, object]:
    """The outcome of a variant; `same` is the claim, whose statement it may share."""
    holds, reason = evidence.decide()
    said = claim.statement
    if same is not None and said == same.statement:
        said += ", on an instance that attains it"
    return {"statement": said, "holds": holds, "reason": reason}
