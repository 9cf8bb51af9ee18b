"""Cohen, Damian, Talwalkar, Kolter, Lee: central flows, which averages of descent follow."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..claims import Evidence, Moves, Paper, median_interval, near, once, presets
from ..data import Regression
from ..theory import oscillation
from .settings.edge_of_stability import (
    FOLLOWS,
    GROUP,
    MIDPOINTS,
    PROBLEM,
    RISING,
    SETTLED,
    SHARE,
    Setting,
    chebyshev,
    failures,
    follows as nearer,
    network_of,
    ran,
)

paper = Paper(
    "cohen2025",
    "Cohen, Damian, Talwalkar, Kolter, Lee (ICLR 2025)",
    provenance="second-hand",
    group=GROUP,
)


@paper.claim(
    FOLLOWS,
    source="as in the companion text by its authors, part I",
    latex=r"\lVert w_t - w(t)\rVert \le 0.1\, \lVert w_t - w_{\text{flow}}(t)\rVert \quad "
    r"\text{late in training}",
    hypotheses=MIDPOINTS,
    settings=RISING,
    moves=SHARE,
)
def follows(setting: Setting, model: str = "central flow", share: float = 0.1) -> Evidence:
    """Descent beside a model of it."""
    return nearer(setting, model, share)


@jax.jit
def _oscillations(weights: Array, data: Regression, rates: Array) -> dict[str, Array]:
    def one(row: tuple[Array, Array]) -> dict[str, Array]:
        found = oscillation(network_of(row[0]), data, row[1], unstable=1)
        return {"loss": found.loss, "gradient": found.gradient, "variance": found.variance}

    rows = weights.reshape(-1, weights.shape[-1])
    every = jnp.broadcast_to(rates[:, None, None], weights.shape[:-1]).ravel()
    found = jax.lax.map(one, (rows, every), batch_size=64)
    return jax.tree.map(lambda x: x.reshape(weights.shape[:-1]).mean(axis=2), found)


@once
def oscillations(setting: Setting) -> dict[str, np.ndarray]:
    """Loss, squared gradient and variance predicted along the late half of the central flow.

    Averaged over time: each of shape (rates, seeds).
    """
    weights = ran("central flow", setting)["weights"]
    tail = jnp.asarray(weights[:, :, weights.shape[2] // 2 :])
    found = _oscillations(tail, chebyshev(), jnp.asarray(setting.rates))
    return {name: np.asarray(values) for name, values in found.items()}


def _average(quantity: str, share: float) -> str:
    seen, added = {
        "loss": ("L", "tr Sigma / eta"),
        "gradient": ("||grad L||^2", "4 tr Sigma / eta^2"),
    }[quantity]
    times = "" if share == 1 else f"{share:g} * "
    return f"<{seen}> along descent = {seen} + {times}{added} at the central flow"


AVERAGES = {
    "loss": (
        r"\langle \mathcal{L}(w_t)\rangle = \mathcal{L}(w(t)) + \frac{1}{\eta} "
        r"\operatorname{tr} \Sigma(t)"
    ),
    "gradient": (
        r"\langle \lVert\nabla \mathcal{L}(w_t)\rVert^2\rangle = \lVert\nabla "
        r"\mathcal{L}(w(t))\rVert^2 + \frac{4}{\eta^2} \operatorname{tr} \Sigma(t)"
    ),
}


@paper.claim(
    _average,
    name="{quantity}",
    each=[{"quantity": "loss"}, {"quantity": "gradient"}],
    source="as in the companion text and the code by its authors",
    latex=lambda quantity, **_: AVERAGES[quantity],
    hypotheses=f"{PROBLEM}; Sigma is the covariance of the oscillation, <...> the average over the "
    "last half; to 15 % in the median over networks",
    settings=presets(
        quick=SETTLED("quick"),
        paper=RISING("paper"),
        large=RISING("large"),
    ),
    moves=Moves("share", "contribution of the oscillation"),
)
def average(setting: Setting, quantity: str, share: float = 1.0) -> Evidence:
    """Averages along descent over the last half, against those predicted at the central flow.

    Bursts are rare and long: a single network scatters, the median of all does not. Its interval,
    of 99% at least, is between two order statistics; with several step sizes it is the widest. The
    oscillation contributes a `share` of what is predicted.
    """
    descent, predicted = ran("descent", setting, dense=True), oscillations(setting)
    squares = {"loss": descent["log_excess"], "gradient": 2 * descent["log_speed"]}
    seen = np.exp(squares[quantity]).mean(axis=-1)
    eta = np.asarray(setting.rates)[:, None]
    added = predicted["variance"] * {"loss": 1 / eta, "gradient": 4 / eta**2}[quantity]
    ratio = (predicted[quantity] - (1 - share) * added) / seen
    lows, highs = zip(*map(median_interval, ratio), strict=True)
    middle = np.median(ratio, axis=1)
    return near(
        "median_ratio",
        float(middle[np.argmax(np.abs(middle - 1))]),
        None if failures(descent).any() else (min(lows), max(highs)),
        1.0,
        0.15,
        trials="networks",
        count=ratio.size,
    )
