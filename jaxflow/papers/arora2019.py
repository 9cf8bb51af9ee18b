"""Arora, Cohen, Golowich, Hu: balanced deep linear networks."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .. import data as problems, measures
from ..claims.agreement import agreement, relative
from ..claims.base import Evidence
from ..claims.gather import at_least, at_most, finished
from ..claims.kinds import Made
from ..data import Regression
from ..falsify.charts import DeepBalanced, Size
from ..networks import DeepLinear
from ..networks.base import trainable
from ..networks.init import DeepGaussian, Initialization
from ..networks.init.deep_linear import balanced
from ..networks.losses import SquaredLoss
from ..sweeps import Sweep
from ..theory import deficiency_margin, end_to_end_velocity, layer_imbalances
from .settings.decay import Decay, follow

SOURCE = "Arora, Cohen, Golowich, Hu (ICLR 2019)"
HYPOTHESES = "whitened inputs, balanced layers, deficiency margin c > 0"


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


@functools.cache
def plan(preset: str) -> Sweep:
    """Whitened data, several depths and margins."""
    r, m, seeds, depths = {
        "quick": (4, 2, 16, [3]),
        "paper": (10, 5, 16, [2, 3, 4, 6]),
        "large": (20, 10, 64, [2, 3, 4, 6, 8]),
    }[preset]
    data = problems.gaussian(jr.key(12), r, r + 2, m, whiten=True)
    over = {"width": [m], "depth": depths, "share": [0.3, 0.8]}
    return follow(data, WithMargin(), _level, over=over, seeds=seeds)


@functools.cache
def scalar_plan(preset: str) -> Sweep:
    """One mode, from near its end: the exact rate is 2 L s^(2 - 2/L), and c nearly s."""
    data = problems.gaussian(jr.key(13), 1, 1, 1, whiten=True)
    over = {"width": [1], "depth": [3], "share": [1e-3]}
    return follow(data, WithMargin(), _level, over=over, seeds=16)


def _about(**more: Any) -> dict[str, Any]:
    return {
        "id": "arora2019.rate",
        "source": f"{SOURCE}, theorem 2 (gradient flow)",
        "provenance": "second-hand",
        "hypotheses": HYPOTHESES,
        "exponent": "c^(2 - 2/L)",
        **more,
    }


RATE = Decay(
    plan,
    **_about(
        # 2 L is exact there; a twentieth more is false.
        mutant=Decay(scalar_plan, 6.3, **_about()),
        control=Decay(scalar_plan, **_about()),
    ),
)


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


@functools.cache
def margin_plan(preset: str) -> Sweep:
    """The same, fewer seeds."""
    return plan(preset).replace(measures=(LeastSingularValue(),), seeds=8)


def kept(sweep: Sweep, factor: float) -> Evidence:
    """Whether the margin is kept along the flow."""
    dataset = finished(sweep)
    ratio = dataset["least_over_margin"].values
    return at_least("least_over_margin", ratio, factor, allowance=1e-7, dataset=dataset)


def _margin(factor: float = 1.0, **variants: Any) -> Made:
    extra = "" if factor == 1 else f"{factor:g} "
    return Made(
        "arora2019.margin",
        f"sigma_min(W(t)) >= {extra}c for all t",
        plan=margin_plan,
        look=lambda sweep: kept(sweep, factor),
        source=f"{SOURCE}, definition 2 and claim 1",
        provenance="second-hand",
        hypotheses=HYPOTHESES,
        **variants,
    )


def velocity(preset: str, clock: float, seed: int) -> np.ndarray:
    """The velocity of the product, by the chain rule through the layers, against the formula."""
    errors = []
    sizes = [Size(3, 2, 2, 3), Size(2, 3, 3, 4)]
    for size in sizes if preset == "quick" else [*sizes, Size(4, 4, 5, 6)]:
        chart = DeepBalanced(isotropic=True)

        def one(key: Any, chart: Any = chart, size: Size = size) -> Any:
            network, data = chart(chart.sample(key, size), size)
            moving = jax.grad(lambda n: SquaredLoss()(jax.vmap(n)(data.X), data.Y))(network)
            velocity = jax.tree.map(
                lambda g, moves: -g if moves else jnp.zeros_like(g), moving, trainable(network)
            )
            _, found = jax.jvp(lambda n: n.product, (network,), (velocity,))
            W = network.product.T
            gradient = (W @ data.X.T - data.Y.T) @ data.X
            return found.T, clock * end_to_end_velocity(W, gradient, size.depth)

        keys = jr.split(jr.key(seed), 64)
        errors.append(relative(*jax.jit(jax.vmap(one))(keys)))
    return np.concatenate(errors)


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


@functools.cache
def unbalanced_plan(preset: str) -> Sweep:
    """Gaussian networks, unbalanced, of several depths."""
    data = problems.gaussian(jr.key(14), 5, 8, 2)
    seeds, depths = {"quick": (8, [4]), "paper": (32, [3, 5, 8]), "large": (256, [3, 5, 8])}[preset]
    over = {"width": [6], "depth": depths}
    return Sweep(data, DeepGaussian(), over=over, seeds=seeds, t1=5.0, measures=(Drift(),))


def drifts(sweep: Sweep, alone: bool, tolerance: float = 1e-8) -> Evidence:
    """How far a conserved quantity has moved, or one that is none."""
    dataset = finished(sweep)
    drift = dataset["drift"].values[..., int(alone)]
    return at_most("drift", drift, tolerance, dataset=dataset)


def _conserved(alone: bool = False, **variants: Any) -> Made:
    quantity = "W_1 W_1^T" if alone else "W_(l+1)^T W_(l+1) - W_l W_l^T"
    return Made(
        "arora2019.conserved",
        f"(d/dt) ({quantity}) = 0",
        plan=unbalanced_plan,
        look=lambda sweep: drifts(sweep, alone),
        source=f"{SOURCE}, section 3",
        provenance="second-hand",
        **variants,
    )


CLAIMS = (
    _conserved(mutant=_conserved(alone=True), control=_conserved()),
    agreement(
        "arora2019.end_to_end",
        "W' = -sum_j [W W^T]^((j-1)/L) (dL/dW) [W^T W]^((L-j)/L)",
        velocity,
        source=SOURCE,
        provenance="second-hand",
        hypotheses="balanced layers",
        tolerance=1e-6,
    ),
    RATE,
    _margin(mutant=_margin(4.0), control=_margin(0.5)),
)
