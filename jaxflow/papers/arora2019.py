"""Arora, Cohen, Golowich, Hu: balanced deep linear networks."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from .. import data as problems, measures
from ..claims import Evidence, Moves, Paper, at_least, at_most, once, presets
from ..data import Regression
from ..falsify.charts import DeepBalanced, Size
from ..networks import DeepLinear
from ..networks.base import trainable
from ..networks.init import DeepGaussian, Initialization
from ..networks.init.deep_linear import balanced
from ..networks.losses import SquaredLoss
from ..sweeps import Sweep
from ..theory import deficiency_margin, end_to_end_velocity, layer_imbalances
from .settings.agreement import agreement, relative
from .settings.decay import decay, follow

paper = Paper("arora2019", "Arora, Cohen, Golowich, Hu (ICLR 2019)", provenance="read")
HYPOTHESES = "whitened inputs, balanced layers, deficiency margin c > 0"


class Drift(measures.Measure):
    """Relative change at the end of the layers' imbalances, and of `W_1 W_1^T` alone."""

    name = "drift"
    dims = ("quantity",)

    @staticmethod
    def quantities(network: DeepLinear) -> tuple[Any, Any]:
        return layer_imbalances(network), network.first @ network.first.T

    def start(self, first: Any) -> Any:
        return self.quantities(first.initial)

    def finish(self, ts: Any, saved: Any, last: Any, fixed: Any) -> Any:
        size = jnp.sum(last.network.first**2) + jnp.sum(last.network.hidden**2)
        pairs = zip(self.quantities(last.network), fixed, strict=True)
        return jnp.stack([jnp.linalg.norm((now - then).ravel()) / size for now, then in pairs])


def unbalanced(seeds: int, depths: list[int]) -> Sweep:
    """Gaussian networks, unbalanced, of several depths."""
    data = problems.gaussian(jr.key(14), 5, 8, 2)
    over = {"width": [6], "depth": depths}
    return Sweep(data, DeepGaussian(), over=over, seeds=seeds, t1=5.0, measures=(Drift(),))


QUANTITIES = ("W_(l+1)^T W_(l+1) - W_l W_l^T", "W_1 W_1^T")  # as `Drift` has them


@paper.claim(
    "(d/dt) ({quantity}) = 0",
    source="quoted there from Arora, Cohen, Hazan (ICML 2018)",
    provenance="second-hand",
    latex=r"\frac{d}{dt}\left(W_{l+1}^\top W_{l+1} - W_l W_l^\top\right) = 0",
    settings=presets(unbalanced, quick=(8, [4]), paper=(32, [3, 5, 8]), large=(256, [3, 5, 8])),
    mutant={"quantity": QUANTITIES[1]},
)
def conserved(dataset: xr.Dataset, quantity: str = QUANTITIES[0]) -> Evidence:
    """How far a conserved quantity has moved, or one that is not conserved."""
    drift = dataset["drift"].values[..., QUANTITIES.index(quantity)]
    return at_most("drift", drift, 1e-8, dataset=dataset)


@once
def velocities(sizes: tuple[Size, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The velocity of the product, by the chain rule through the layers, and by the formula."""
    chart = DeepBalanced(isotropic=True)
    found = []
    for size in sizes:

        def one(key: Any, size: Size = size) -> Any:
            network, data = chart(chart.sample(key, size), size)
            moving = jax.grad(lambda n: SquaredLoss()(jax.vmap(n)(data.X), data.Y))(network)
            velocity = jax.tree.map(
                lambda g, moves: -g if moves else jnp.zeros_like(g), moving, trainable(network)
            )
            _, found = jax.jvp(lambda n: n.product, (network,), (velocity,))
            W = network.product.T
            gradient = (W @ data.X.T - data.Y.T) @ data.X
            return found.T, end_to_end_velocity(W, gradient, size.depth)

        found.append(jax.jit(jax.vmap(one))(jr.split(jr.key(0), 64)))
    return found


SIZES = (Size(3, 2, 2, 3), Size(2, 3, 3, 4))
LARGER = (*SIZES, Size(4, 4, 5, 6))


@agreement(
    paper,
    "W' = -sum_j [W W^T]^((j-1)/L) (dL/dW) [W^T W]^((L-j)/L)",
    source="quoted there from Arora, Cohen, Hazan (ICML 2018)",
    provenance="second-hand",
    latex=r"\dot W = -\sum_{j=1}^{L} \left[W W^\top\right]^{\frac{j-1}{L}}\, \nabla "
    r"\mathcal{L}(W)\, \left[W^\top W\right]^{\frac{L-j}{L}}",
    noun="velocity",
    moved="times {:.12g}",
    hypotheses="balanced layers",
    settings=presets(quick=SIZES, paper=LARGER, large=LARGER),
    tolerance=1e-6,
)
def end_to_end(sizes: tuple[Size, ...], time_factor: float) -> np.ndarray:
    """The errors of the formula, by network."""
    pairs = velocities(sizes)
    return np.concatenate([relative(flow, time_factor * formula) for flow, formula in pairs])


class WithMargin(Initialization):
    """A balanced network whose product is near the target: at a share of its least mode."""

    share: float = 0.8

    def __call__(self, key: Any, data: Regression, *, width: int, depth: int) -> DeepLinear:
        dtype = data.X.dtype
        away = jr.normal(key, data.targets.shape, dtype)
        least = jnp.linalg.svdvals(data.targets)[-1]
        product = data.span_solution + self.share * least * away / jnp.linalg.norm(away)
        A, a, Bt = jnp.linalg.svd(product, full_matrices=False)
        return balanced(data, A, a, Bt, width, depth)


def _level(network: DeepLinear, data: Regression) -> Any:
    c = deficiency_margin(data.right.T @ network.product, data.span_solution)
    return jnp.where(c > 0, jnp.abs(c), 0) ** (2 - 2 / network.depth)


class LeastSingularValue(measures.Measure):
    """The least singular value of the product on the span, over the margin c, at its least."""

    name = "least_over_margin"

    def start(self, first: Any) -> Any:
        product = first.data.right.T @ first.initial.product
        return deficiency_margin(product, first.data.span_solution)

    def update(self, t: Any, view: Any, fixed: Any) -> Any:
        return jnp.linalg.svdvals(view.data.right.T @ view.network.product)[-1]

    def finish(self, ts: Any, saved: Any, last: Any, fixed: Any) -> Any:
        return jnp.min(saved) / fixed


def with_margin(r: int, m: int, seeds: int, depths: list[int]) -> Sweep:
    """Whitened data, several depths and margins."""
    data = problems.gaussian(jr.key(12), r, r + 2, m, whiten=True)
    over = {"width": [m], "depth": depths, "share": [0.3, 0.8]}
    looks = (*measures.decay(_level), LeastSingularValue())
    return follow(data, WithMargin(), _level, over=over, seeds=seeds, measures=looks)


MARGINS = presets(
    with_margin,
    quick=(4, 2, 16, [3]),
    paper=(10, 5, 16, [2, 3, 4, 6]),
    large=(20, 10, 64, [2, 3, 4, 6, 8]),
)


@paper.claim(
    "L(t) - L* <= exp(-{factor:times}c^(2 - 2/L) t) (L(0) - L*)",
    source="section 3.2, the proof of lemma 1 for gradient flow, which gives twice this "
    "exponent; theorem 1 is for descent",
    latex=r"\mathcal{L}(t) - \mathcal{L}^* \le e^{-c^{2 - 2/L}\, t} \left(\mathcal{L}(0) - "
    r"\mathcal{L}^*\right)",
    hypotheses=HYPOTHESES,
    settings=MARGINS,
    moves=Moves("factor", "rate"),
)
def rate(dataset: xr.Dataset, setting: Sweep, factor: float = 1.0) -> Evidence:
    """Every trajectory against the bound, with its exponent multiplied by `factor`."""
    return decay(dataset, setting, factor)


@paper.claim(
    "sigma_min(W(t)) >= {factor:times}c for all t",
    source="definition 2 and claim 1",
    latex=r"\sigma_{\min}(W(t)) \ge c \quad \text{for all } t \ge 0",
    hypotheses=HYPOTHESES,
    settings=MARGINS,
    moves="factor",
)
def margin(dataset: xr.Dataset, factor: float = 1.0) -> Evidence:
    """Whether the margin is kept along the flow, for the first eight seeds."""
    dataset = dataset.isel(seed=slice(8))
    ratio = dataset["least_over_margin"].values
    return at_least("least_over_margin", ratio, factor, allowance=1e-7, dataset=dataset)
