"""The figure of a verdict: the slacks of its trials, or an interval beside its margin."""

import numpy as np
from matplotlib.figure import Figure

from ..claims import Verdict
from ..machine.arguments import instance
from .panels import FEW
from .style import ACCENT, INK, MUTED, style

GOOD, UNSURE = "#2a6f4e", "#b08900"


def colour(verdict: Verdict) -> str:
    """Colour of the outcome, as in the terminal."""
    return {True: GOOD, False: ACCENT, None: UNSURE}[verdict.holds]


def verdict_figure(verdict: Verdict) -> Figure | None:
    """The figure of a verdict; None if there is nothing to draw."""
    instance("verdict", verdict, Verdict, "a verdict, as jf.verify returns it")
    with style():
        if verdict.interval is not None and verdict.margin is not None:
            return _interval(verdict)
        finite = np.asarray([x for x in verdict.slacks if np.isfinite(x)])
        return _slacks(verdict, finite) if len(finite) else None


def _interval(verdict: Verdict) -> Figure:
    assert verdict.interval is not None
    assert verdict.margin is not None
    figure = Figure(figsize=(5.2, 1.3), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(*verdict.margin, color="#e2efe7", label="predicted")
    low, high = verdict.interval
    middle = 0.5 * (low + high)
    axes.errorbar(
        [middle],
        [0],
        xerr=[[middle - low], [high - middle]],
        fmt="o",
        color=colour(verdict),
        capsize=4,
        label="measured",
    )
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-1, 1)
    axes.margins(x=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _slacks(verdict: Verdict, slack: np.ndarray) -> Figure:
    figure = Figure(figsize=(5.2, 1.9), layout="constrained")
    axes = figure.subplots()
    share = (np.arange(len(slack)) + 0.5) / len(slack)
    # On a linear scale, slacks that differ by decades would be a single point.
    decades = np.ptp(slack) > 50
    if decades:
        axes.set_xscale("symlog", linthresh=1.0)
    axes.axvline(0, color=INK, linewidth=0.8)
    few = "." if len(slack) <= FEW else ""  # the steps of a single trial would be invisible
    axes.step(slack, share, where="mid", color=colour(verdict), marker=few)
    broken = slack < -(verdict.uncertainty or 0)
    axes.plot(slack[broken], share[broken], ".", color=ACCENT, markersize=4)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.5 if decades else -0.02 * (high - low)), high)
    axes.set_ylim(0, 1)
    axes.set_xlabel(f"slack of the {verdict.trials} (negative: the claim is broken)")
    axes.set_ylabel("share of trials below")
    axes.yaxis.label.set_color(MUTED)
    return figure
