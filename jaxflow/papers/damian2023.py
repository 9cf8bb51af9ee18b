"""Damian, Nichani, Lee: self-stabilization at the edge of stability."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..claims.base import Evidence
from ..claims.decide import near
from ..claims.gather import at_most, power
from ..claims.kinds import Made
from ..data import Regression
from ..dynamics import ConstrainedTrajectory, PredictedDynamics, gradient_descent
from ..theory import reduced_energy, reduced_step, self_stabilization, spike_height
from .settings.edge_of_stability import (
    PRESETS,
    PROBLEM,
    Setting,
    Weights,
    chebyshev,
    follows,
    network_of,
    ran,
)

SOURCE = "Damian, Nichani, Lee (ICLR 2023)"
ALPHA, BETA = 1.0, 1.0
STARTS = np.linspace(0.02, 0.4, 8)  # x over its standard deviation, at y = 0
RATES = {"quick": 5, "paper": 7, "large": 9}


@jax.jit
def _orbit(x: Any, y: Any, eta: Any, steps: Any) -> Any:
    """The largest y, and the largest change of the energy, of the map over a spike."""
    first = reduced_energy(x, y, ALPHA, BETA)

    def advance(_: Any, carry: Any) -> Any:
        x, y, top, drift = carry
        x, y = reduced_step(x, y, eta, ALPHA, BETA)
        change = jnp.abs(reduced_energy(x, y, ALPHA, BETA) - first)
        return x, y, jnp.maximum(top, y), jnp.maximum(drift, change)

    return jax.lax.fori_loop(0, steps, advance, (x, y, y, jnp.zeros_like(x)))[2:]


def reduced(preset: str, which: str, order: float) -> Evidence:
    """The order in eta at which the map tends to its limit."""
    rates = 2e-3 * 0.5 ** np.arange(RATES[preset])
    x = jnp.asarray(STARTS * (2 * ALPHA / BETA) ** 0.5)
    heights = np.asarray([spike_height(float(v), ALPHA, BETA) for v in x])
    rows = []
    for eta in rates:
        top, drift = _orbit(x, jnp.zeros_like(x), eta, int(12 / eta))
        rows.append(np.asarray(drift) if which == "energy" else np.abs(top / heights - 1))
    # Each orbit has a size of its own, which says nothing about the order.
    values = np.asarray(rows) / np.exp(np.mean(np.log(rows), axis=0))
    return power("order", rates, values, order, 0.1, trials="orbits")


def _reduced(which: str, order: float = 1.0, **variants: Any) -> Made:
    what = "max |E - E(0)|" if which == "energy" else "max y / sqrt(alpha (z - log z - 1)) - 1"
    return Made(
        f"damian2023.{which}",
        f"{what} ~ eta^{order:g} along x -> -(1 + eta y) x, y -> y + eta (alpha - beta x^2 / 2)",
        plan=lambda preset: preset,
        look=lambda preset: reduced(preset, which, order),
        rule=near,
        source=f"{SOURCE}, section 4; the order derived",
        provenance="derived",
        hypotheses="from y = 0 over one spike and the next",
        **variants,
    )


def far(preset: str) -> Setting:
    """The larger steps: a flow that hardly gets beyond the edge is hardly farther away."""
    setting = PRESETS[preset]
    return dataclasses.replace(setting, rates=setting.rates[-2:])


def _constrained(model: str = "constrained trajectory", **variants: Any) -> Made:
    return follows("damian2023.constrained", f"{SOURCE}, section 3", model, far, **variants)


SPIKE = 400  # steps


@eqx.filter_jit
def _spike(weights: Any, data: Regression, rate: Any) -> Any:
    """Descent, its prediction and the constrained trajectory, from weights at the edge."""

    def one(flat: Any) -> Any:
        at = self_stabilization(network_of(flat), data, rate)
        network = network_of(flat + 0.3 * at.delta * at.vector)
        rules = optax.sgd, PredictedDynamics(iterations=6), ConstrainedTrajectory(iterations=6)
        found = [
            gradient_descent(
                network,
                data,
                rule,
                learning_rate=rate,
                steps=SPIKE,
                saves=range(SPIKE + 1),
                measures=[Weights()],
            ).measures["weights"]
            for rule in rules
        ]
        return at.delta, at.epsilon, jnp.stack(found)

    return jax.lax.map(one, weights)


@functools.cache
def spikes(setting: Setting) -> np.ndarray:
    """The distances of descent to its prediction and to the constrained trajectory, (2, networks).

    The largest over `4 / epsilon` steps, in units of `epsilon delta`.
    """
    central, rows = ran("central flow", setting), []
    for weights, sharp, rate in zip(
        central["weights"], central["sharpness"], setting.rates, strict=True
    ):
        there = sharp * rate >= 2 * (1 - 1e-3)
        first = weights[np.arange(len(weights)), there.argmax(axis=1)][there.any(axis=1)]
        delta, epsilon, found = map(np.asarray, _spike(first, chebyshev(), jnp.asarray(rate)))
        gap = np.linalg.norm(found[:, :1] - found[:, 1:], axis=-1)
        over = np.arange(SPIKE + 1) <= 4 / epsilon[:, None, None]
        rows.append((gap * over).max(axis=2).T / (epsilon * delta))
    return np.concatenate(rows, axis=1)


MODELS = ("predicted dynamics", "constrained trajectory")


def predicted(setting: Setting, model: str) -> Evidence:
    """The distance of descent to the prediction over a spike, in units of `epsilon delta`."""
    gap = spikes(setting)[MODELS.index(model)]
    return at_most("distance_over_epsilon_delta", gap, 4.0, trials="networks at the edge")


def _predicted(model: str = MODELS[0], **variants: Any) -> Made:
    return Made(
        "damian2023.predicted",
        f"||descent - {model}|| <= 4 epsilon delta over 4 / epsilon steps",
        plan=PRESETS.__getitem__,
        look=lambda setting: predicted(setting, model),
        source=f"{SOURCE}, theorem 1; the constant is measured",
        provenance="second-hand",
        hypotheses=f"{PROBLEM}; from 0.3 delta u beside the central flow, where it reaches 2 / eta",
        **variants,
    )


CLAIMS = (
    *(_reduced(w, mutant=_reduced(w, 2.0), control=_reduced(w)) for w in ("energy", "spike")),
    _predicted(mutant=_predicted(MODELS[1]), control=_predicted()),
    _constrained(mutant=_constrained("gradient flow"), control=_constrained()),
)
