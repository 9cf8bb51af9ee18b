"""Xu, Min, Tarmoun, Mallada, Vidal: linear convergence of gradient descent (AISTATS 2023)."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from .. import data as problems
from ..claims import Evidence, Moves, Paper, presets
from ..data import Regression
from ..dynamics import gradient_descent
from ..falsify.charts import Free, Size
from ..falsify.inequality import Inequality
from ..networks import TwoLayerLinear
from ..networks.init import Gaussian
from ..theory import descent_bound, imbalance, kernel_range, limit_rate
from ..theory.rates.bounds import span_residual
from .min2023 import NearMinimum
from .settings.random_networks import inequality

paper = Paper("xu2023", "Xu, Min, Tarmoun, Mallada, Vidal (AISTATS 2023)", provenance="read")


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


def corrected_alpha(network: TwoLayerLinear, data: Regression) -> Any:
    """alpha_0 with the m-th singular value in one root and the r-th in the other."""
    return kernel_range(network, data).least


def _at_most_the_kernel(alpha: Any, p: str, q: str) -> Inequality:
    return Inequality(
        f"2 s_r^2 alpha_0 <= 2 lambda_min(T), alpha_0 = (-d+ + sqrt((d+ + c)^2 + 4 {p}^2) "
        f"- d- + sqrt((d- + c)^2 + 4 {q}^2)) / 2",
        lambda network, data: 2 * data.singular_values[-1] ** 2 * alpha(network, data),
        limit_rate,
    )


PRINTED = _at_most_the_kernel(printed_alpha, "p_1", "p_1")
CORRECTED = _at_most_the_kernel(corrected_alpha, "p_m", "p_r")
ALPHA: dict[str, Any] = {
    "sizes": [Size(2, 1, 1), Size(2, 2, 2), Size(2, 3, 4)],
    "tight": [Size(1, 1, 1)],
    "tight_chart": NearMinimum(),
}
inequality(
    paper,
    "alpha_printed",
    PRINTED,
    Free(),
    source="(11), with alpha_0 of table 2 as printed",
    latex=r"2 \sigma_r^2\, \alpha_0 \le 2 \lambda_{\min}(T), \qquad \alpha_0 = \frac{1}{2} "
    r"\left(-\Delta_+ + \sqrt{(\Delta_+ + c)^2 + 4 p_1^2} - \Delta_- + \sqrt{(\Delta_- "
    r"+ c)^2 + 4 p_1^2}\right)",
    expected=False,
    sound=CORRECTED,
    **ALPHA,
)
inequality(
    paper,
    "alpha",
    CORRECTED,
    Free(),
    source="(11), corrected for n != m",
    provenance="derived",
    latex=r"2 \sigma_r^2\, \alpha_0 \le 2 \lambda_{\min}(T), \qquad \alpha_0 = \frac{1}{2} "
    r"\left(-\Delta_+ + \sqrt{(\Delta_+ + c)^2 + 4 p_m^2} - \Delta_- + \sqrt{(\Delta_- "
    r"+ c)^2 + 4 p_r^2}\right)",
    **ALPHA,
)


class Descents(NamedTuple):
    """Problems of this size, and networks; or, `near` the minimum, networks of one unit."""

    size: int
    width: int
    steps: int
    seeds: int
    whiten: bool
    near: bool = False

    def network(self, key: Any, data: Regression) -> TwoLayerLinear:
        """The paper's kind of start, or one whose excess loss is a millionth of a millionth."""
        if not self.near:
            return Gaussian(scale=(0.3, 0.3)).compressed(key, data, width=self.width)
        x, y = float(data.X[0, 0]), float(data.Y[0, 0])
        u = math.exp(float(jr.normal(key)))
        v = (1 + 1e-6) * y / (x * u)
        return TwoLayerLinear(jnp.full((1, 1), u), jnp.full((1, 1), v))


def descents(given: Descents) -> tuple[np.ndarray, np.ndarray]:
    """Gradient descent with 0.9 of the largest rate allowed; near the minimum with a thousandth.

    For every step of every network: the mean decay of `log(L - L*)` per step so far over the one
    promised, and whether the theorem promises anything.
    """
    n = given.size
    data = problems.gaussian(jr.key(0), n, n, n, whiten=given.whiten)
    constants, part = ((0.999, 1.001), 1e-3) if given.near else ((0.5, 1.5), 0.9)
    bound = functools.partial(descent_bound, c1=constants[0], c2=constants[1])
    ratios, applies = [], []
    for seed in range(given.seeds):
        network = given.network(jr.key(seed), data)
        rate = part * bound(network, data, 0.0).largest_rate
        if not (np.isfinite(rate) and rate > 0):
            ratios.append(np.ones(1))
            applies.append(np.zeros(1, bool))
            continue
        promised = -np.log(float(bound(network, data, rate).factor))
        solution = gradient_descent(network, data, optax.sgd, learning_rate=rate, steps=given.steps)
        log_excess = np.asarray(solution.log_excess)
        step = np.round(np.asarray(solution.ts) / rate)
        decay = (log_excess[0] - log_excess[1:]) / step[1:]
        ratios.append(decay / promised)
        applies.append(np.full(decay.shape, promised > 0))
    return np.concatenate(ratios), np.concatenate(applies)


NEAR = Descents(1, 1, 200, 8, True, near=True)


@paper.claim(
    "L(k) - L* <= (1 - a1 eta + a2 eta^2 + a3 eta^3 + a4 eta^4)^({times:times}k) (L(0) - L*)",
    source="theorem 3.2, with (26), (27), (29) and the corrected alpha_0",
    latex=r"\mathcal{L}(k) - \mathcal{L}^* \le \left(1 - a_1 \eta + a_2 \eta^2 + a_3 \eta^3 + "
    r"a_4 \eta^4\right)^{k} \left(\mathcal{L}(0) - \mathcal{L}^*\right)",
    hypotheses="alpha_0 > 0, at most as many samples as features (L* = 0), 0 < c1 < 1 < c2, "
    "eta below the positive roots of the theorem's two cubics",
    settings=presets(
        quick=Descents(4, 100, 200, 8, True),
        paper=Descents(20, 1000, 500, 8, False),
        large=Descents(20, 1000, 5000, 64, False),
    ),
    tight=presets(quick=NEAR, paper=NEAR, large=NEAR),
    run=descents,
    moves=Moves("times", "number of steps"),
)
def descent(found: tuple[np.ndarray, np.ndarray], times: float = 1.0) -> Evidence:
    """Step after step against the bound, with `times` as many steps."""
    ratios, applies = found
    slack = ratios / times - 1
    return Evidence(
        slack=slack,
        applies=applies,
        allowance=1e-6,
        measured={"decay_over_bound_median": float(np.median(slack) + 1)},
        predicted={"decay_over_bound": f">= {times:g}"},
        trials="steps",
    )
