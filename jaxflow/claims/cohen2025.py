"""Cohen, Damian, Talwalkar, Kolter, Lee: central flows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..data import Regression
from ..theory import oscillation
from .base import Evidence
from .edges import (
    PRESETS,
    SETTLED,
    Setting,
    apart,
    chebyshev,
    failures,
    flowed,
    late,
    network_of,
    ran,
)
from .gather import at_most
from .kinds import Made

SOURCE = "Cohen, Damian, Talwalkar, Kolter, Lee (ICLR 2025)"


def follows(setting: Setting, model: str) -> Evidence:
    """The distance of descent to a model of it, over that to the gradient flow; late."""
    descent, flow = ran("descent", setting), flowed(setting)
    other = ran("central flow", setting) if model == "central flow" else flow
    ratio = late(apart(descent, other)) / late(apart(descent, flow))
    failed = failures(descent, flow, other)
    return at_most(
        "distance_over_distance_to_flow", ratio.ravel(), 0.1, trials="networks", failed=failed
    )


def _follows(model: str = "central flow", **variants: Any) -> Made:
    return Made(
        "cohen2025.follows",
        f"||descent - {model}|| <= 0.1 ||descent - gradient flow||, late",
        plan=lambda preset: PRESETS[preset],
        look=lambda setting: follows(setting, model),
        source=f"{SOURCE}, section 3",
        provenance="second-hand",
        hypotheses="Chebyshev regression, tanh units; descent at midpoints of steps",
        **variants,
    )


@jax.jit
def _predicted(weights: Any, data: Regression, rate: Any) -> Any:
    def one(flat: Any) -> Any:
        found = oscillation(network_of(flat), data, rate)
        return jnp.stack([found.loss, found.gradient, found.variance])

    return jax.lax.map(one, weights)


def averaged(setting: Setting, which: int, share: float) -> Evidence:
    """Averages along descent over the last half, against those predicted at the central flow.

    Bursts are rare and long: a single network scatters, the median of all does not.
    """
    descent = ran("descent", setting, dense=True)
    seen = descent["squares"][..., which].mean(axis=-1)
    weights = ran("central flow", setting)["weights"]
    data = chebyshev()
    weights = weights[:, :, weights.shape[2] // 2 :]
    found = np.stack(
        [
            np.asarray(_predicted(jnp.asarray(w.reshape(-1, w.shape[-1])), data, rate))
            for w, rate in zip(weights, setting.rates, strict=True)
        ]
    ).reshape(*weights.shape[:3], 3)
    rates = np.asarray(setting.rates)[:, None, None]
    # What the oscillation contributes, of which a mutant has only a share.
    added = found[..., 2] * (1 / rates if which == 0 else 4 / rates**2)
    expected = (found[..., which] - (1 - share) * added).mean(axis=-1)
    error = np.abs(np.median(expected / seen, axis=1) - 1)
    return at_most(
        "error_of_median_ratio",
        error,
        0.15,
        trials="step sizes",
        failed=failures(descent).any(axis=1),
    )


def _average(which: int, share: float = 1.0, **variants: Any) -> Made:
    name, seen, added = (
        ("loss", "L", "tr Sigma / eta"),
        ("gradient", "||grad L||^2", "4 tr Sigma / eta^2"),
    )[which]
    times = "" if share == 1 else f"{share:g} * "
    return Made(
        f"cohen2025.{name}",
        f"<{seen}> along descent = {seen} + {times}{added} at the central flow",
        plan=lambda preset: (SETTLED if preset == "quick" else PRESETS)[preset],
        look=lambda setting: averaged(setting, which, share),
        source=f"{SOURCE}, section 3",
        provenance="second-hand",
        hypotheses="Chebyshev regression, tanh units; last half; to 15 % in the median",
        **variants,
    )


CLAIMS = (
    _follows(mutant=_follows("gradient flow"), control=_follows()),
    *(_average(i, mutant=_average(i, 0.0), control=_average(i)) for i in (0, 1)),
)
