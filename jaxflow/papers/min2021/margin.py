"""The rate bounds of v2, from product and imbalance: instantaneous, from the start, restarted."""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray

from ... import data as problems, measures
from ...claims import Evidence, Moves, at_least, once, presets
from ...data import Regression
from ...falsify.charts import Free, Size
from ...falsify.inequality import Inequality
from ...networks import TwoLayerLinear
from ...networks.init import Initialization, Prescribed
from ...sweeps import Sweep
from ...theory import instantaneous_bound, instantaneous_rate, rate_bound
from ..settings.decay import VACUOUS, decay, follow
from ..settings.random_networks import inequality
from .paper import later

RATE = Moves("factor", "rate")
INSTANTANEOUS = Inequality(
    "lambda_r(Sigma) (-d+ + sqrt((d+ + c)^2 + 4 sigma_m^2) - d- + sqrt((d- + c)^2 + 4 sigma_r^2)) "
    "<= -(d/dt) log(L - L*)",
    instantaneous_bound,
    instantaneous_rate,
)
inequality(
    later,
    "instantaneous",
    INSTANTANEOUS,
    Free(),
    source="proposition 1, (17)",
    latex=r"\lambda_r(\Sigma) \left(-\Delta_+ + \sqrt{(\Delta_+ + c)^2 + 4 \sigma_m^2} - "
    r"\Delta_- + \sqrt{(\Delta_- + c)^2 + 4 \sigma_r^2}\right) \le -\frac{d}{dt} "
    r"\log\left(\mathcal{L} - \mathcal{L}^*\right)",
    sizes=[Size(1, 1, 1), Size(2, 1, 3), Size(2, 3, 6)],
    tight=[Size(1, 1, 1)],
)


class NearMinimum(Initialization):
    r"""Random imbalance, and a product at a given distance from the min-norm solution.

    Eigenvalues of the imbalance are uniform in [0, spread] and [-spread, 0]; `distance` is relative
    to the norm of the min-norm solution.
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
    """The exponent of theorem 3, `lambda_r(Sigma) k`."""
    return rate_bound(network, data, margin=True, residual=residual).rate


def followed(data: Regression, init: Initialization, **options: Any) -> Sweep:
    """A sweep for the theorem and its corollary alike."""
    looks = (*measures.decay(margin_rate), measures.RestartSlack(margin_rate))
    return follow(data, init, margin_rate, measures=looks, **options)


def stretched(samples: int, features: int, outputs: int, seeds: int) -> Sweep:
    """Data of condition number 10, and starts from near a minimum to far away."""
    data = problems.spectrum(jr.key(3), samples, features, outputs, condition=10.0)
    over = {"distance": [0.01, 0.1, 1.0], "width": [samples + outputs]}
    return followed(data, NearMinimum(), over=over, seeds=seeds)


@once
def attained(preset: str) -> Sweep:
    """One sample, one feature, one output: the bounds are attained at the minimum."""
    data = problems.gaussian(jr.key(4), 1, 1, 1)
    over = {"distance": [1e-3], "width": [2]}
    return followed(data, NearMinimum(spread=1e-9), over=over, seeds=16)


settings = presets(stretched, quick=(5, 8, 2, 16), paper=(20, 30, 5, 64), large=(50, 80, 10, 256))


@later.claim(
    "L(t) - L* <= exp(-{factor:times}lambda_r(Sigma) k t) (L(0) - L*)",
    source="theorem 3, (21)",
    latex=r"\mathcal{L}(t) - \mathcal{L}^* \le e^{-\lambda_r(\Sigma)\, k\, t} "
    r"\left(\mathcal{L}(0) - \mathcal{L}^*\right)",
    hypotheses="k > 0: imbalance c > 0, or sigma_min(W^T Y) > ||E(0)||_F",
    settings=settings,
    tight=attained,
    moves=RATE,
)
def margin(dataset: xr.Dataset, setting: Sweep, factor: float = 1.0) -> Evidence:
    """Every trajectory against theorem 3, with its exponent multiplied by `factor`."""
    return decay(dataset, setting, factor)


@later.claim(
    "L(t) - L* <= exp(-{factor:times}lambda_r(Sigma) k(t0) (t - t0)) (L(t0) - L*) for t >= t0",
    source="corollary 6, with t - t0 for the t that is printed",
    latex=r"\mathcal{L}(t) - \mathcal{L}^* \le e^{-\lambda_r(\Sigma)\, k(t_0) (t - t_0)} "
    r"\left(\mathcal{L}(t_0) - \mathcal{L}^*\right) \quad \text{for } t \ge t_0",
    hypotheses="k(t0) > 0",
    settings=settings,
    tight=attained,
    moves=RATE,
)
def restart(dataset: xr.Dataset, factor: float = 1.0) -> Evidence:
    """Every stretch between two saved times against the bound of the network it begins with."""
    promised = (dataset["bound_rate"] * dataset["t_end"]).values
    return at_least(
        "decay_over_bound",
        1 + dataset["restart_slack"].values,
        factor,
        vacuous=promised < VACUOUS,
        allowance=1e-5,  # both ends of a stretch have the solver's error, over a short decay
        dataset=dataset,
    )
