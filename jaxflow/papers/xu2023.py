"""Xu, Min, Tarmoun, Mallada, Vidal: linear convergence of gradient descent (AISTATS 2023)."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from .. import data as problems
from ..claims.base import Evidence
from ..claims.kinds import Everywhere, Made
from ..data import Regression
from ..dynamics import gradient_descent
from ..falsify.charts import Free, Size
from ..falsify.inequality import Inequality
from ..networks import TwoLayerLinear
from ..networks.init import Gaussian
from ..theory import descent_bound, imbalance, kernel_range, limit_rate
from ..theory.rates.bounds import span_residual
from .min2023 import NearMinimum

SOURCE = "Xu, Min, Tarmoun, Mallada, Vidal (AISTATS 2023)"


def printed_alpha(network: TwoLayerLinear, data: Regression) -> Any:
    """alpha_0 with the least singular value in both roots."""
    spectrum, E = imbalance(network, data), span_residual(network, data)
    least = jnp.linalg.svdvals(data.targets)[-1]
    p = jax.nn.relu(least - jnp.sqrt(jnp.sum(E**2))) / data.singular_values[0]
    ends = [
        jnp.sqrt((spread + spectrum.c) ** 2 + 4 * p**2) - spread
        for spread in (spectrum.spread_plus, spectrum.spread_minus)
    ]
    return 0.5 * (ends[0] + ends[1])


def _alpha(printed: bool) -> Inequality:
    def smaller(network: TwoLayerLinear, data: Regression) -> Any:
        alpha = printed_alpha(network, data) if printed else kernel_range(network, data).least
        return 2 * data.singular_values[-1] ** 2 * alpha

    roots = ("p_1", "p_1") if printed else ("p_m", "p_r")
    return Inequality(
        f"2 s_r^2 alpha_0 <= 2 lambda_min(T), alpha_0 = (-d+ + sqrt((d+ + c)^2 + 4 {roots[0]}^2) "
        f"- d- + sqrt((d- + c)^2 + 4 {roots[1]}^2)) / 2",
        smaller,
        limit_rate,
    )


_ABOUT: dict[str, Any] = {
    "hypotheses": "none",
    "sizes": [Size(2, 1, 1), Size(2, 2, 2), Size(2, 3, 4)],
    "sound": _alpha(False),
    "tight": (NearMinimum(), [Size(1, 1, 1)]),
}


def descend(preset: str, factor: float, seed: int) -> Evidence:
    """Gradient descent from the paper's kind of start, step after step against the bound."""
    size, width, steps, seeds = {
        "quick": (4, 100, 200, 8),
        "paper": (20, 1000, 500, 8),
        "large": (20, 1000, 5000, 64),
    }[preset]
    data = problems.gaussian(jr.key(seed), size, size, size, whiten=preset == "quick")
    slack, applies = [], []
    for i in range(seeds):
        network = Gaussian(scale=(0.3, 0.3)).compressed(jr.key(seed + i), data, width=width)
        start = descent_bound(network, data, 0.0)
        if not (np.isfinite(start.largest_rate) and start.largest_rate > 0):
            slack.append(np.zeros(1))
            applies.append(np.zeros(1, bool))
            continue
        rate = 0.9 * start.largest_rate
        bound = descent_bound(network, data, rate)
        solution = gradient_descent(network, data, optax.sgd, learning_rate=rate, steps=steps)
        log_excess = np.asarray(solution.log_excess)
        step = np.round(np.asarray(solution.ts) / rate)
        decay = (log_excess[0] - log_excess[1:]) / step[1:]
        promised = -np.log(float(bound.factor))
        slack.append(decay / (factor * promised) - 1)
        applies.append(np.full(decay.shape, promised > 0))
    return Evidence(
        slack=np.concatenate(slack),
        applies=np.concatenate(applies),
        allowance=1e-6,
        measured={"decay_over_bound_median": float(np.median(np.concatenate(slack)) + 1)},
        predicted={"decay_over_bound": f">= {factor:g}"},
        trials="steps",
    )


def _descent(factor: float = 1.0, seed: int = 0, **variants: Any) -> Made:
    extra = "" if factor == 1 else f"^{factor:g}"
    return Made(
        "xu2023.descent",
        f"L(k) - L* <= (1 - a1 eta + a2 eta^2 + a3 eta^3 + a4 eta^4)^(k{extra}) (L(0) - L*)",
        plan=lambda preset: preset,
        look=lambda preset: descend(preset, factor, seed),
        source=f"{SOURCE}, theorem 2, with the corrected alpha_0",
        hypotheses="eta below the roots of the theorem's two cubics",
        **variants,
    )


CLAIMS = (
    Everywhere(
        "xu2023.alpha_printed",
        _alpha(True),
        Free(),
        source=f"{SOURCE}, theorem 1, as printed",
        expected=False,
        **_ABOUT,
    ),
    Everywhere(
        "xu2023.alpha",
        _alpha(False),
        Free(),
        source=f"{SOURCE}, theorem 1, corrected for n != m",
        provenance="derived",
        **_ABOUT,
    ),
    _descent(mutant=_descent(50.0), control=_descent(seed=1)),
)
