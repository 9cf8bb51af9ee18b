"""Sahs et al.: shallow univariate ReLU networks as splines."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy import stats

from ..claims.base import Evidence
from ..claims.decide import near
from ..claims.gather import at_most, number, power
from ..claims.kinds import Made
from ..dynamics import Result, gradient_flow, until
from ..networks import ShallowNetwork
from ..networks.activations import ReLU
from ..networks.init import Normal, Shallow
from ..theory import flat_directions, hessian_product, roughness, sharpness
from ..theory.wide import breakpoints
from .settings.wide_networks import line

SOURCE = "Sahs et al. (Frontiers in AI, 2022)"
STD_W, STD_B, STD_V = 0.8, 1.3, 1.0
NORMAL = Shallow(
    weights=Normal(STD_W), biases=Normal(STD_B), outputs=Normal(STD_V), antisymmetric=False
)


def densities(preset: str, scale: float) -> Evidence:
    """Chi-squared of the probability integral transforms of breakpoints and delta-slopes."""
    width = {"quick": 100_000, "paper": 1_000_000}.get(preset, 4_000_000)
    bins, worst = 20, []
    for seed in range(4):
        found = breakpoints(NORMAL(jr.key(seed), line(), width=width))
        xi, mu = np.asarray(found.xi), np.asarray(found.mu) * np.sqrt(width)
        spread = np.sqrt(STD_B**2 + STD_W**2 * xi**2)
        first = stats.cauchy.cdf(xi, scale=scale * STD_B / STD_W)
        second = stats.laplace.cdf(mu, scale=STD_B * STD_V * STD_W / spread)
        counts, *_ = np.histogram2d(first, second, bins=bins, range=[[0, 1], [0, 1]])
        expected = width / bins**2
        freedom = bins**2 - 1
        chi = np.sum((counts - expected) ** 2) / expected
        worst.append(abs(chi - freedom) / np.sqrt(2 * freedom))
    return at_most("standard_errors", worst, 5.0, trials="networks")


def _density(scale: float = 1.0, **variants: Any) -> Made:
    extra = "" if scale == 1 else f"{scale:g} "
    return Made(
        "sahs2022.density",
        f"xi ~ Cauchy(0, {extra}s_b / s_w), and mu given xi ~ Laplace(0, s_b s_v s_w / R), "
        "R^2 = s_b^2 + s_w^2 xi^2",
        plan=lambda preset: preset,
        look=lambda preset: densities(preset, scale),
        source=f"{SOURCE}, theorem 3",
        provenance="second-hand",
        hypotheses="normal weights, biases and outputs",
        **variants,
    )


@functools.cache
def flown(preset: str) -> list[tuple[ShallowNetwork, ShallowNetwork, bool]]:
    """Networks before and after so many steps of their flows, and whether they are at its end.

    Where a kink meets a sample and stays there no solver gets on: what has been flown is a flow.
    """
    seeds = {"quick": 8, "paper": 32}.get(preset, 128)
    law = Shallow(weights=Normal(1.0), biases=Normal(1.0), outputs=Normal(1.0), activation=ReLU())
    triples = []
    for seed in range(seeds):
        network = law(jr.key(seed), line(), width=1024)
        rule = until.loss_ratio(1e-16)
        end = gradient_flow(
            network, line(), until=rule, rtol=1e-9, solver="implicit", max_steps=500
        )
        triples.append((network, end.network, bool(end.result == Result.stopped)))
    return triples


def drifts(preset: str, biases: bool) -> Evidence:
    """Change of `v^2 - w^2 - b^2` over the flow; without `biases`, of `v^2 - w^2`."""
    sizes = []
    for start, end, _ in flown(preset):
        a, b = breakpoints(start).invariant, breakpoints(end).invariant
        if not biases:
            a, b = a + start.b**2, b + end.b**2
        sizes.append(float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(a))))
    return at_most("relative_change", sizes, 1e-7, trials="trajectories")


def _invariant(biases: bool = True, **variants: Any) -> Made:
    term = " - b^2" if biases else ""
    return Made(
        "sahs2022.invariant",
        f"v^2 - w^2{term} of every unit is constant",
        plan=lambda preset: preset,
        look=lambda preset: drifts(preset, biases),
        source=f"{SOURCE}, theorem 2",
        provenance="second-hand",
        **variants,
    )


def flatness(preset: str, at_the_end: bool) -> Evidence:
    """`||H d||` over the sharpness, of some rescaling directions d."""
    sizes = []
    for start, end, whole in flown(preset):
        if not whole:
            continue
        network = end if at_the_end else start
        moved = jax.vmap(functools.partial(hessian_product, network, line()))(
            flat_directions(network, np.arange(32))
        )
        size = jnp.max(jnp.linalg.norm(moved, axis=1)) / sharpness(network, line())
        sizes.append(float(size))
    return at_most("curvature_over_sharpness", sizes, 1e-7, trials="networks")


def _flat(at_the_end: bool = True, **variants: Any) -> Made:
    where = "every minimum" if at_the_end else "every start"
    return Made(
        "sahs2022.flat",
        f"at {where} the Hessian is zero along (w, b, -v), one direction a unit",
        plan=lambda preset: preset,
        look=lambda preset: flatness(preset, at_the_end),
        source=f"{SOURCE}, section 3.4; derived",
        provenance="derived",
        hypotheses="no kink at a sample",
        **variants,
    )


@functools.cache
def rough(preset: str, law: str) -> tuple[tuple[int, ...], np.ndarray]:
    """`sum mu_i^2` at the start, by width and seed."""
    widths = (64, 256, 1024, 4096, 16384)
    seeds = {"quick": 1000, "paper": 4000}.get(preset, 16000)

    def one(key: Any, width: int) -> Any:
        w_key, v_key = jr.split(key)
        size = {"He": 2.0, "Glorot": 2 / (1 + width)}[law]
        w = jnp.sqrt(size) * jr.normal(w_key, (width, 1))
        v = jnp.sqrt(size if law == "Glorot" else size / width) * jr.normal(v_key, (1, width))
        return roughness(ShallowNetwork(w, jnp.zeros(width), v))

    rows = []
    for width in widths:
        keys = jr.split(jr.fold_in(jr.key(3), width), seeds)
        rows.append(jax.jit(lambda keys, h=width: jax.lax.map(lambda k: one(k, h), keys))(keys))
    return widths, np.asarray(rows)


def roughnesses(preset: str, law: str, predicted: float) -> Evidence:
    """He: the mean, over all widths; Glorot: the exponent of the mean in the width."""
    widths, values = rough(preset, law)
    if law == "Glorot":
        return power("exponent", widths, values, predicted, 0.02, trials="networks")
    # A mean of means: its standard error from the widths' own.
    mean = float(values.mean())
    error = 4 * float(np.sqrt(np.sum(values.var(axis=1, ddof=1)) / values.shape[1])) / len(widths)
    return number("mean", mean, (mean - error, mean + error), predicted, 0.1, trials="networks")


def _rough(law: str, predicted: float, **variants: Any) -> Made:
    said = f"E sum mu_i^2 = {predicted:g}" if law == "He" else f"E sum mu_i^2 ~ h^({predicted:g})"
    return Made(
        f"sahs2022.roughness_{law.lower()}",
        said,
        plan=lambda preset: preset,
        look=lambda preset: roughnesses(preset, law, predicted),
        rule=near,
        source=f"{SOURCE}, section 3",
        provenance="second-hand",
        hypotheses=f"{law}'s initialization of one input and one output",
        **variants,
    )


CLAIMS = (
    _density(mutant=_density(1.1), control=_density()),
    _invariant(mutant=_invariant(biases=False), control=_invariant()),
    _flat(mutant=_flat(at_the_end=False), control=_flat()),
    _rough("He", 4.0, mutant=_rough("He", 2.0), control=_rough("He", 4.0)),
    _rough("Glorot", -1.0, mutant=_rough("Glorot", 0.0), control=_rough("Glorot", -1.0)),
)
