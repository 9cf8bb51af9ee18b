"""Sahs et al.: shallow univariate ReLU networks as splines."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy import stats

from ..claims import Evidence, Moves, Paper, at_most, near, once, power, presets
from ..data import Regression
from ..dynamics import Result, gradient_flow, until
from ..networks import ShallowNetwork
from ..networks.activations import ReLU
from ..networks.init import Normal, Shallow
from ..theory import flat_directions, hessian_product, roughness, sharpness
from ..theory.wide import breakpoints
from .settings.wide_networks import drawn, line

paper = Paper("sahs2022", "Sahs et al. (Frontiers in AI, 2022)", provenance="memory")
STD_W, STD_B, STD_V = 0.8, 1.3, 1.0


def units(width: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Breakpoints xi and jumps mu of the slope, of unit scale, of eight networks."""
    weights, biases, outputs = Normal(STD_W), Normal(STD_B), Normal(STD_V)
    law = Shallow(weights=weights, biases=biases, outputs=outputs, antisymmetric=False)
    found = [breakpoints(drawn(law, jr.key(seed), line(), width)) for seed in range(8)]
    return [(np.asarray(unit.xi), np.asarray(unit.mu) * np.sqrt(width)) for unit in found]


@paper.claim(
    lambda scale: (
        f"xi ~ Cauchy(0, {'' if scale == 1 else f'{scale:g} '}s_b / s_w), and mu given xi ~ "
        "Laplace(0, s_b s_v s_w / R), R^2 = s_b^2 + s_w^2 xi^2"
    ),
    latex=r"\xi \,\sim\, \operatorname{Cauchy}\left(0, \frac{s_b}{s_w}\right), \qquad \mu "
    r"\mid \xi \,\sim\, \operatorname{Laplace}\left(0, \frac{s_b s_v s_w}{\sqrt{s_b^2 + "
    r"s_w^2 \xi^2}}\right)",
    hypotheses="a unit bends at xi by mu; weights, biases and outputs are normal, of standard "
    "deviations s_w, s_b and s_v",
    settings=presets(quick=100_000, paper=1_000_000, large=4_000_000),
    run=units,
    moves=Moves("scale", "scale"),
)
def density(networks: list[tuple[np.ndarray, np.ndarray]], scale: float = 1.0) -> Evidence:
    """Chi-squared of the probability integral transforms of breakpoints and slope jumps."""
    bins, worst = 20, []
    for xi, mu in networks:
        spread = np.sqrt(STD_B**2 + STD_W**2 * xi**2)
        first = stats.cauchy.cdf(xi, scale=scale * STD_B / STD_W)
        second = stats.laplace.cdf(mu, scale=STD_B * STD_V * STD_W / spread)
        counts, *_ = np.histogram2d(first, second, bins=bins, range=[[0, 1], [0, 1]])
        expected, freedom = len(xi) / bins**2, bins**2 - 1
        chi = np.sum((counts - expected) ** 2) / expected
        worst.append(abs(chi - freedom) / np.sqrt(2 * freedom))
    return at_most("standard_errors", worst, 5.0, trials="networks")


SEEDS = presets(quick=8, paper=32, large=128)
Flown = list[tuple[ShallowNetwork, ShallowNetwork, bool]]


@once
def flown(seeds: int) -> Flown:
    """Networks before and after at most 500 steps of their flows, and whether they reached the end.

    A kink that meets a sample may stay there: the flow is the exact one, which slides along it.
    """
    law = Shallow(weights=Normal(1.0), biases=Normal(1.0), outputs=Normal(1.0), activation=ReLU())
    triples = []
    for seed in range(seeds):
        network, rule = drawn(law, jr.key(seed), line(), 1024), until.loss_ratio(1e-16)
        end = gradient_flow(
            network, line(), until=rule, rtol=1e-9, solver="implicit", max_steps=500
        )
        triples.append((network, end.network, bool(end.result == Result.stopped)))
    return triples


@paper.claim(
    lambda biases: f"v^2 - w^2{' - b^2' if biases else ''} of every unit is constant",
    latex=r"\frac{d}{dt} \left(v^2 - w^2 - b^2\right) = 0",
    hypotheses="a unit of weight w, bias b and output weight v, under the gradient flow",
    settings=SEEDS,
    run=flown,
    mutant={"biases": False},
)
def invariant(networks: Flown, biases: bool = True) -> Evidence:
    """The largest change along the flow over the largest invariant."""
    sizes = []
    for start, end, _ in networks:
        a, b = (
            np.asarray(breakpoints(network).invariant)
            + (0 if biases else np.asarray(network.b) ** 2)
            for network in (start, end)
        )
        sizes.append(np.abs(a - b).max() / np.abs(a).max())
    return at_most("relative_change", sizes, 1e-7, trials="trajectories")


@eqx.filter_jit
def curvature_ratio(network: ShallowNetwork, data: Regression) -> Any:
    """The largest `||H d||` over the sharpness, of the rescaling directions d of 32 units."""
    moved = jax.vmap(lambda d: hessian_product(network, data, d))(
        flat_directions(network, np.arange(32))
    )
    return jnp.max(jnp.linalg.norm(moved, axis=1)) / sharpness(network, data)


@paper.claim(
    lambda at_the_end: (
        f"at every {'minimum' if at_the_end else 'start'} the Hessian is zero along (w, b, -v), "
        "one direction per unit"
    ),
    source="derived from the homogeneity of its units",
    provenance="derived",
    latex=r"\nabla^2 \mathcal{L} \cdot (w, b, -v) = 0 \quad \text{at every minimum}",
    hypotheses="no kink at a sample",
    settings=SEEDS,
    run=flown,
    mutant={"at_the_end": False},
)
def flat(networks: Flown, at_the_end: bool = True) -> Evidence:
    """The curvature along these directions, where the flow has reached a minimum."""
    sizes = [
        float(curvature_ratio(end if at_the_end else start, line()))
        for start, end, whole in networks
        if whole
    ]
    return at_most("curvature_over_sharpness", sizes, 1e-7, trials="networks")


WIDTHS = (64, 256, 1024, 4096, 16384)


@eqx.filter_jit
def roughnesses(keys: Any, width: int) -> dict[str, Any]:
    """`sum mu_i^2` by seed, of one draw scaled as He's and as Glorot's initialization."""

    def one(key: Any) -> dict[str, Any]:
        w_key, v_key = jr.split(key)
        w, v = jr.normal(w_key, (width, 1)), jr.normal(v_key, (1, width))
        variances = {"He": (2.0, 2.0 / width), "Glorot": (2 / (1 + width), 2 / (1 + width))}
        return {
            law: roughness(ShallowNetwork(a**0.5 * w, jnp.zeros(width), b**0.5 * v))
            for law, (a, b) in variances.items()
        }

    return jax.lax.map(one, keys)


@once
def rough(seeds: int) -> dict[str, np.ndarray]:
    """`sum mu_i^2` at the start, by law: (widths, seeds)."""
    every = [roughnesses(jr.split(jr.fold_in(jr.key(3), h), seeds), h) for h in WIDTHS]
    return {law: np.stack([np.asarray(found[law]) for found in every]) for law in every[0]}


DRAWS = presets(quick=1000, paper=4000, large=16000)  # networks per width


@paper.claim(
    "E sum mu_i^2 = {predicted:g}",
    source="moments of products of normal weights, derived",
    provenance="derived",
    latex=r"\mathbb{E} \sum_i \mu_i^2 = 4",
    hypotheses="unit i bends by mu_i; He's initialization of one input and one output",
    settings=DRAWS,
    run=rough,
    moves="predicted",
)
def roughness_he(found: dict[str, np.ndarray], predicted: float = 4.0) -> Evidence:
    """The mean over all widths; its standard error is that of a mean of the widths' means."""
    values = found["He"]
    mean = float(values.mean())
    error = 4 * float(np.sqrt(np.sum(values.var(axis=1, ddof=1)) / values.shape[1])) / len(WIDTHS)
    return near(
        "mean",
        mean,
        (mean - error, mean + error),
        predicted,
        0.1,
        trials="networks",
        count=values.size,
    )


@paper.claim(
    "E sum mu_i^2 ~ h^({predicted:g})",
    source="moments of products of normal weights, derived",
    provenance="derived",
    latex=r"\mathbb{E} \sum_i \mu_i^2 \,\sim\, h^{-1}",
    hypotheses="unit i of h bends by mu_i; Glorot's initialization of one input and one output",
    settings=DRAWS,
    run=rough,
    moves=Moves("predicted", "exponent", by="difference"),
)
def roughness_glorot(found: dict[str, np.ndarray], predicted: float = -1.0) -> Evidence:
    """The exponent of the mean in the width h."""
    return power("exponent", WIDTHS, found["Glorot"], predicted, 0.02, trials="networks")
