"""The bounds of v2, from product and imbalance: now, from the start, and restarted."""

import functools
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from ... import data as problems, measures
from ...claims.base import Evidence
from ...claims.gather import at_least, finished
from ...claims.kinds import Everywhere, Made
from ...data import Regression
from ...falsify.charts import Free, Size
from ...falsify.inequality import Inequality
from ...networks import TwoLayerLinear
from ...networks.init import Initialization, Prescribed
from ...sweeps import Sweep
from ...theory import instantaneous_bound, instantaneous_rate, rate_bound
from ..settings.decay import VACUOUS, Decay, follow

SOURCE = "Min, Tarmoun, Vidal, Mallada, v2 (arXiv 2105.06351v2)"
SCALAR = Size(1, 1, 1)  # where the bounds are attained


class NearMinimum(Initialization):
    r"""Random imbalance, and a product at a given distance from the min-norm solution.

    Eigenvalues of the imbalance are uniform in [0, spread] and [-spread, 0]. Relative `distance`.
    """

    distance: float | Float[Array, ""] = 0.1
    spread: float | Float[Array, ""] = 1.0

    def __call__(self, key: PRNGKeyArray, data: Regression, *, width: int) -> TwoLayerLinear:
        plus_key, minus_key, product_key, law_key = jr.split(key, 4)
        dtype, m, r = data.X.dtype, data.outputs, data.rank
        spread, distance = (jnp.asarray(x, dtype) for x in (self.spread, self.distance))
        plus = spread * jr.uniform(plus_key, (r,), dtype)
        minus = spread * jr.uniform(minus_key, (m,), dtype)
        away = data.right @ jr.normal(product_key, (r, m), dtype)
        size = jnp.linalg.norm(data.min_norm) / jnp.linalg.norm(away)
        law = Prescribed(plus, minus, data.min_norm + distance * size * away)
        return law(law_key, data, width=width)


def margin_rate(network: Any, data: Regression, residual: Any = None) -> Array:
    """The exponent of theorem 3."""
    return rate_bound(network, data, margin=True, residual=residual).rate


def _follow(data: Regression, init: Initialization, **options: Any) -> Sweep:
    """For the margin theorem and its restarts alike."""
    looks = (*measures.decay(margin_rate), measures.RestartSlack(margin_rate))
    return follow(data, init, margin_rate, measures=looks, **options)


@functools.cache
def plan(preset: str) -> Sweep:
    """Stretched Gaussian data, and starts from near a minimum to far away."""
    sizes = {"quick": (5, 8, 2, 16), "paper": (20, 30, 5, 64), "large": (50, 80, 10, 256)}
    samples, features, outputs, seeds = sizes[preset]
    data = problems.spectrum(jr.key(3), samples, features, outputs, condition=10.0)
    over = {"distance": [0.01, 0.1, 1.0], "width": [samples + outputs]}
    return _follow(data, NearMinimum(), over=over, seeds=seeds)


@functools.cache
def scalar_plan(preset: str) -> Sweep:
    """One sample, one feature, one output: the bound is attained at the minimum."""
    data = problems.gaussian(jr.key(4), 1, 1, 1)
    over = {"distance": [1e-3], "width": [2]}
    return _follow(data, NearMinimum(spread=1e-9), over=over, seeds=16)


def about(**more: Any) -> dict[str, Any]:
    """What the margin theorem says of itself."""
    return {
        "id": "min2021.margin",
        "source": f"{SOURCE}, theorem 3",
        "provenance": "read",
        "hypotheses": "k > 0: imbalance c > 0, or sigma_min(W^T Y) > ||E(0)||_F",
        "exponent": "lambda_r(Sigma) k",
        **more,
    }


MARGIN = Decay(
    plan,
    **about(
        mutant=Decay(scalar_plan, 1.05, **about()),
        control=Decay(scalar_plan, **about()),
    ),
)


def restarted(sweep: Sweep, factor: float = 1.0) -> Evidence:
    """Every stretch of every trajectory against the bound of where it begins."""
    dataset = finished(sweep)
    promised = (dataset["bound_rate"] * dataset["t_end"]).values
    return at_least(
        "decay_over_bound",
        1 + dataset["restart_slack"].values,
        factor,
        vacuous=promised < VACUOUS,
        allowance=1e-5,  # of a stretch: both ends have the solver's error, over a short decay
        dataset=dataset,
    )


def _restart(factor: float, plan: Any, **variants: Any) -> Made:
    extra = "" if factor == 1 else f" * {factor:g}"
    return Made(
        "min2021.restart",
        f"L(t) - L* <= exp(-lambda_r(Sigma) k(t0) (t - t0){extra}) (L(t0) - L*) for t >= t0",
        plan=plan,
        look=lambda sweep: restarted(sweep, factor),
        source=f"{SOURCE}, corollary 6",
        hypotheses="k(t0) > 0",
        **variants,
    )


RESTART = _restart(
    1.0, plan, mutant=_restart(1.05, scalar_plan), control=_restart(1.0, scalar_plan)
)

INSTANTANEOUS = Everywhere(
    "min2021.instantaneous",
    Inequality(
        "lambda_r(Sigma) (-d+ + sqrt((d+ + c)^2 + 4 sigma_m^2) - d- + sqrt((d- + c)^2 + 4 "
        "sigma_r^2)) <= -(d/dt) log(L - L*)",
        instantaneous_bound,
        instantaneous_rate,
    ),
    Free(),
    source=f"{SOURCE}, proposition 1",
    hypotheses="none",
    sizes=[Size(1, 1, 1), Size(2, 1, 3), Size(2, 3, 6)],
    tight=(Free(), [SCALAR]),
)

CLAIMS = (INSTANTANEOUS, MARGIN, RESTART)
