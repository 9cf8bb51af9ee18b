"""Cohen, Damian, Talwalkar, Kolter, Lee: central flows."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..claims.base import Evidence
from ..claims.gather import at_most
from ..claims.kinds import Made
from ..data import Regression
from ..theory import oscillation
from .settings.edge_of_stability import (
    PRESETS,
    PROBLEM,
    SETTLED,
    Setting,
    chebyshev,
    failures,
    follows,
    network_of,
    ran,
)

SOURCE = "Cohen, Damian, Talwalkar, Kolter, Lee (ICLR 2025)"


def _follows(model: str = "central flow", **variants: Any) -> Made:
    plan = PRESETS.__getitem__
    return follows("cohen2025.follows", f"{SOURCE}, section 3", model, plan, **variants)


@functools.cache
def oscillations(setting: Setting) -> np.ndarray:
    """Loss, squared gradient and variance predicted along the late central flow.

    Averaged over time: shape (3, rates, seeds).
    """

    @jax.jit
    def found(weights: Any, data: Regression, rate: Any) -> Any:
        def one(flat: Any) -> Any:
            found = oscillation(network_of(flat), data, rate)
            return jnp.stack([found.loss, found.gradient, found.variance])

        rows = jax.lax.map(one, weights.reshape(-1, weights.shape[-1]))
        return rows.reshape(*weights.shape[:-1], 3).mean(axis=1)

    weights = ran("central flow", setting)["weights"]
    weights = weights[:, :, weights.shape[2] // 2 :]
    pairs = zip(jnp.asarray(weights), setting.rates, strict=True)
    return np.stack([found(w, chebyshev(), rate) for w, rate in pairs]).transpose(2, 0, 1)


def averaged(setting: Setting, which: int, share: float) -> Evidence:
    """Averages along descent over the last half, against those predicted at the central flow.

    Bursts are rare and long: a single network scatters, the median of all does not.
    """
    descent = ran("descent", setting, dense=True)
    seen = descent["squares"][..., which].mean(axis=-1)
    *averages, variance = oscillations(setting)
    rates = np.asarray(setting.rates)[:, None]
    # What the oscillation contributes, of which a mutant has only a share.
    added = variance * (1 / rates if which == 0 else 4 / rates**2)
    expected = averages[which] - (1 - share) * added
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
        hypotheses=f"{PROBLEM}; last half; to 15 % in the median",
        **variants,
    )


CLAIMS = (
    _follows(mutant=_follows("gradient flow"), control=_follows()),
    *(_average(i, mutant=_average(i, 0.0), control=_average(i)) for i in (0, 1)),
)
