"""Damian, Nichani, Lee: self-stabilization at the edge of stability."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..claims import Evidence, Moves, Paper, at_most, once, power, presets
from ..data import Regression
from ..dynamics import ConstrainedTrajectory, PredictedDynamics, gradient_descent
from ..theory import reduced_energy, reduced_step, self_stabilization, spike_height
from .settings.edge_of_stability import (
    FOLLOWS,
    GROUP,
    MIDPOINTS,
    PROBLEM,
    RISING,
    SHARE,
    Setting,
    Weights,
    chebyshev,
    follows,
    network_of,
    ran,
)

paper = Paper(
    "damian2023", "Damian, Nichani, Lee (ICLR 2023)", provenance="second-hand", group=GROUP
)
SPIKE = 400  # steps
MODELS: dict[str, Any] = {
    "predicted dynamics": PredictedDynamics(iterations=6),
    "constrained trajectory": ConstrainedTrajectory(iterations=6),
}


@eqx.filter_jit
def _spike(weights: Any, data: Regression, rate: Any) -> Any:
    """Descent, its prediction and the constrained trajectory, from weights at the edge."""

    def one(flat: Any) -> Any:
        at = self_stabilization(network_of(flat), data, rate)
        network = network_of(flat + 0.3 * at.delta * at.vector)
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
            for rule in (optax.sgd, *MODELS.values())
        ]
        return at.delta, at.epsilon, jnp.stack(found)

    return jax.lax.map(one, weights)


@once
def spikes(setting: Setting) -> dict[str, np.ndarray]:
    """The distance of descent to each of the models, by network.

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
    return dict(zip(MODELS, np.concatenate(rows, axis=1), strict=True))


@paper.claim(
    "||descent - {model}|| <= 4 epsilon delta over 4 / epsilon steps",
    source="as in its authors' code; the constant is measured",
    latex=r"\lVert w_t - \hat w_t\rVert \le 4\, \epsilon \delta \quad \text{for } t \le "
    r"\frac{4}{\epsilon}",
    hypotheses=f"{PROBLEM}; epsilon = eta sqrt(alpha) and delta = sqrt(2 alpha / beta), "
    "alpha = -<grad L, grad S>, beta = ||grad S_perp||^2 of the part of grad S orthogonal to the "
    "leading eigenvector u; from 0.3 delta u beside the central flow, where it reaches 2 / eta",
    settings=RISING,
    run=spikes,
    mutant={"model": "constrained trajectory"},
)
def predicted(gaps: dict[str, np.ndarray], model: str = "predicted dynamics") -> Evidence:
    """The distance of descent to a model over a spike, in units of `epsilon delta`."""
    return at_most("distance_over_epsilon_delta", gaps[model], 4.0, trials="networks at the edge")


def largest(setting: Setting) -> Setting:
    """The two largest steps: a flow that hardly gets beyond the edge is hardly farther away."""
    return dataclasses.replace(setting, rates=setting.rates[-2:])


@paper.claim(
    FOLLOWS,
    source="as in its authors' code",
    latex=r"\lVert w_t - w^\dagger_t\rVert \le 0.1\, \lVert w_t - w_{\text{flow}}(t)\rVert "
    r"\quad \text{late in training}",
    hypotheses=MIDPOINTS,
    settings=presets(largest, quick=RISING("quick"), paper=RISING("paper"), large=RISING("large")),
    moves=SHARE,
)
def constrained(
    setting: Setting, model: str = "constrained trajectory", share: float = 0.1
) -> Evidence:
    """Descent beside a model of it."""
    return follows(setting, model, share)


# The reduced map

ALPHA, BETA = 1.0, 1.0
STARTS = np.linspace(0.02, 0.4, 8)  # x over its standard deviation, at y = 0
TENDS = {
    "energy": "max |E - E(0)|, E the energy of the map in the limit",
    "spike": "max y / sqrt(alpha (z - log z - 1)) - 1, z = x(0)^2 beta / (2 alpha)",
}

TYPESET = {
    "energy": r"\max_t \lvert E(x_t, y_t) - E(x_0, y_0)\rvert \,\sim\, \eta",
    "spike": r"\frac{\max_t y_t}{\sqrt{\alpha (z - \log z - 1)}} - 1 \,\sim\, \eta, \qquad z = "
    r"\frac{\beta\, x_0^2}{2 \alpha}",
}


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


@once
def orbits(count: int) -> dict[str, np.ndarray]:
    """The step sizes, and how far the map is from its limit: arrays (step sizes, orbits)."""
    rates = 2e-3 * 0.5 ** np.arange(count)
    x = jnp.asarray(STARTS * (2 * ALPHA / BETA) ** 0.5)
    heights = np.asarray([spike_height(float(v), ALPHA, BETA) for v in x])
    found = [_orbit(x, jnp.zeros_like(x), eta, int(12 / eta)) for eta in rates]
    tops, drifts = (np.asarray(rows) for rows in zip(*found, strict=True))
    return {"rates": rates, "energy": drifts, "spike": np.abs(tops / heights - 1)}


@paper.claim(
    lambda quantity, order: (
        f"{TENDS[quantity]} ~ eta^{order:g} along x -> -(1 + eta y) x, "
        "y -> y + eta (alpha - beta x^2 / 2)"
    ),
    name="{quantity}",
    each=[{"quantity": "energy"}, {"quantity": "spike"}],
    source="for whose reduced map it is derived",
    provenance="derived",
    latex=lambda quantity, **_: TYPESET[quantity],
    hypotheses="from y = 0 over one spike and the next",
    settings=presets(quick=5, paper=7, large=9),
    run=orbits,
    moves=Moves("order", "order", by="difference"),
)
def reduced(found: dict[str, np.ndarray], quantity: str, order: float = 1.0) -> Evidence:
    """The order in eta at which the map tends to its limit."""
    # Each orbit has a size of its own, which says nothing about the order.
    values = found[quantity] / np.exp(np.mean(np.log(found[quantity]), axis=0))
    return power("order", found["rates"], values, order, 0.1, trials="orbits")
