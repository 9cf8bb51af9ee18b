"""Moroshko et al.: initialization scale against training accuracy, under the exponential loss."""

import functools
import math
from typing import Any

import jax.random as jr
import numpy as np

from ..claims.agreement import relative
from ..claims.base import Evidence
from ..claims.gather import at_least, at_most
from ..claims.kinds import Made
from ..data import Regression
from ..dynamics import log_loss_flow
from ..networks import MirrorMap
from ..networks.init import Diagonal
from ..theory import max_margin_l1, max_margin_l2, max_margin_potential, stationarity

SOURCE = "Moroshko et al. (NeurIPS 2020)"
LATE = 1e5  # -log L: an accuracy of 1e-43429


@functools.cache
def problem(seed: int) -> Regression:
    """Labels of a sparse teacher: ten samples in fifteen dimensions."""
    X = np.asarray(jr.normal(jr.key(seed), (10, 15)))
    return Regression(X, np.sign(X[:, 0] + 0.3 * X[:, 1]))


def seeds(preset: str) -> range:
    """Of the problems."""
    return range({"quick": 4, "paper": 16}.get(preset, 64))


@functools.cache
def separator(seed: int, depth: float, alpha: float, s: float) -> tuple[np.ndarray, float]:
    """beta and its least margin at `-log L = s`."""
    data = problem(seed)
    found = log_loss_flow(Diagonal(alpha, depth)(jr.key(0), data), data, [s])
    assert bool(found.finished)
    return np.asarray(found.beta)[-1], float(np.asarray(found.margins)[-1].min())


MU = 0.1  # alpha^2 / gamma


@functools.cache
def kept(seed: int) -> bool:
    """Whether no multiplier falls as mu does, down to MU.

    Along the flow they are integrals of exp(-margin), which cannot.
    """
    path = MU * np.geomspace(1e4, 1, 41)
    every = [max_margin_potential(MirrorMap(m**0.5), problem(seed)).multipliers for m in path]
    return bool(np.all(np.diff(every, axis=0) >= -1e-9))


def intermediate(preset: str, times: float, all_of_them: bool = False) -> Evidence:
    """At fixed mu and large alpha: the direction against the minimizer."""
    errors, alpha = [], 100.0
    for seed in seeds(preset):
        beta, gamma = separator(seed, 2.0, alpha, alpha**2 / MU)
        scale = math.sqrt(times * alpha**2 / gamma)
        expected = max_margin_potential(MirrorMap(scale), problem(seed)).beta
        errors.append(relative(beta / gamma, expected))
    applies = all_of_them or [kept(seed) for seed in seeds(preset)]
    return at_most("relative_distance", errors, 1e-3, applies=applies, trials="problems")


def _intermediate(times: float = 1.0, all_of_them: bool = False, **more: Any) -> Made:
    mu = "mu" if times == 1 else f"({times:g} mu)"
    hypotheses = "exponential loss, depth 2; here alpha = 100 and mu = 0.1"
    if not all_of_them:
        hypotheses += "; no multiplier of the problem falls as mu does, from infinity on"
    return Made(
        "moroshko2020.path_of_any_data" if all_of_them else "moroshko2020.path",
        f"beta / gamma -> argmin Q^L_{mu} over margins >= 1, for alpha -> inf at fixed "
        "mu = alpha^L / gamma",
        plan=lambda preset: preset,
        look=lambda preset: intermediate(preset, times, all_of_them),
        source=f"{SOURCE}, theorem on the intermediate regime",
        provenance="memory",
        hypotheses=hypotheses,
        **more,
    )


def late(preset: str, depth: float, alphas: tuple[float, ...], norm: int, least: float) -> Evidence:
    """The margin in this norm at `L = e^-100000`, over the greatest one."""
    ratios = []
    for seed in seeds(preset):
        best = (max_margin_l1 if norm == 1 else max_margin_l2)(problem(seed)).beta
        for alpha in alphas:
            beta, gamma = separator(seed, depth, alpha, LATE)
            ratios.append(np.linalg.norm(best, norm) * gamma / np.linalg.norm(beta, norm))
    return at_least("share_of_the_margin", ratios, least, trials="problems")


def _late(norm: int, **variants: Any) -> Made:
    return Made(
        "moroshko2020.l1_margin",
        f"at depth 2 the l{norm} margin is the greatest as L -> 0 (95% of it at L = e^-100000)",
        plan=lambda preset: preset,
        look=lambda preset: late(preset, 2.0, (0.1, 1.0), norm, 0.95),
        source=f"{SOURCE}, theorem on fixed alpha",
        provenance="memory",
        hypotheses="exponential loss, fixed alpha, depth 2",
        **variants,
    )


def stationary(preset: str, s: float) -> Evidence:
    """How far separators of depth 3 at `-log L = s` are from stationary points."""
    residuals, excess = [], []
    for seed in seeds(preset):
        data = problem(seed)
        beta, gamma = separator(seed, 3.0, 0.1, s)
        residuals.append(stationarity(beta, data, 3.0))
        excess.append(np.abs(beta).sum() / gamma / np.abs(max_margin_l1(data).beta).sum() - 1)
    return at_most(
        "stationarity",
        residuals,
        0.02,
        measured={
            "stationarity_max": float(np.max(residuals)),
            "l1_excess": [float(e) for e in excess],
        },
        trials="problems",
    )


def _stationary(s: float, **variants: Any) -> Made:
    return Made(
        "moroshko2020.stationary",
        f"at depth 3 the separator is a stationary point of the l_(2/3) margin at L = e^-{s:g}",
        plan=lambda preset: preset,
        look=lambda preset: stationary(preset, s),
        source=f"{SOURCE}, theorem on depth L > 2",
        provenance="memory",
        hypotheses="exponential loss, fixed alpha = 0.1",
        **variants,
    )


def _only(least: float = 0.95, **more: Any) -> Made:
    return Made(
        "moroshko2020.l1_margin_at_depth_3",
        f"at depth 3 the l1 margin is at least {least:g} of the greatest as L -> 0",
        plan=lambda preset: preset,
        look=lambda preset: late(preset, 3.0, (0.1,), 1, least),
        source=f"{SOURCE}: not so, beyond depth 2",
        provenance="memory",
        hypotheses="exponential loss, fixed alpha = 0.1",
        **more,
    )


CLAIMS = (
    _intermediate(mutant=_intermediate(1.1), control=_intermediate()),
    _intermediate(
        all_of_them=True, expected=False, mutant=_intermediate(1.1), control=_intermediate()
    ),
    _late(1, mutant=_late(2), control=_late(1)),
    _stationary(LATE, mutant=_stationary(3.0), control=_stationary(LATE)),
    _only(expected=False, mutant=_only(0.99), control=_only(0.1)),
)
