"""Woodworth et al.: kernel and rich regimes of diagonal linear networks."""

import functools
import math
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .. import data as problems
from ..data import Regression
from ..dynamics import gradient_flow
from ..dynamics.measures import Product
from ..networks import MirrorMap
from ..networks.init import Diagonal
from ..theory import least_l1, least_potential
from .agreement import relative
from .base import Evidence
from .gather import at_least, at_most
from .kinds import Made
from .sparse import parameter_limit, sparse_regression

SOURCE = "Woodworth et al. (COLT 2020)"


@functools.cache
def problem(preset: str) -> Regression:
    """Sparse regression: Gaussian inputs, a teacher with r* entries of 1/sqrt(r*), noise 0.1."""
    samples, features, sparse = {"quick": (8, 24, 2), "paper": (100, 1000, 5)}.get(
        preset, (200, 4000, 5)
    )
    data, _ = sparse_regression(
        jr.key(20), samples, features, sparse, entry=sparse**-0.5, noise=0.1
    )
    return data


GRID = {
    "quick": ((2.0, 3.0, 4.0), (0.1, 1.0, 10.0)),
    "paper": ((2.0, 3.0, 4.0), (0.03, 0.1, 0.3, 1.0, 10.0)),
    "large": ((2.0, 2.5, 3.0, 4.0), (0.01, 0.03, 0.1, 0.3, 1.0, 10.0)),
}


@functools.cache
def ends(preset: str) -> tuple[tuple[float, float, np.ndarray], ...]:
    """Depth, scale and limit of flows in the parameters."""
    data, (depths, alphas) = problem(preset), GRID[preset]
    return tuple(
        (depth, alpha, parameter_limit(Diagonal(alpha, depth)(jr.key(0), data), data))
        for depth in depths
        for alpha in alphas
    )


def limits(preset: str, times: float) -> Evidence:
    """The limits against the program, at `times` the scale."""
    data, errors = problem(preset), []
    for depth, alpha, end in ends(preset):
        expected = np.asarray(least_potential(MirrorMap(times * alpha, depth), data).beta)
        errors.append(relative(end, expected))
    return at_most("relative_error", errors, 1e-8)


def _limit(times: float = 1.0, **variants: Any) -> Made:
    scale = "alpha" if times == 1 else f"({times:g} alpha)"
    return Made(
        "woodworth2020.limit",
        f"beta(inf) minimizes Q^L_{scale}(beta) over X beta = y",
        plan=lambda preset: preset,
        look=lambda preset: limits(preset, times),
        source=f"{SOURCE}, theorems 1 and 3",
        hypotheses="u(0) = v(0) = alpha, and the flow reaches zero loss",
        **variants,
    )


@functools.cache
def path(preset: str, seed: int, depth: float, formulation: str, wrong: bool = False) -> np.ndarray:
    """The predictor at finite times; with `wrong`, from rows of another scale."""
    data = problem(preset)
    ts = np.array([0.1, 0.3, 1.0, 3.0, 10.0]) / float(data.singular_values[0]) ** 2
    network = Diagonal(0.5 + 0.1 * seed, depth)(jr.key(0), data)
    if wrong:
        scale = np.linspace(0.9, 1.1, data.samples)[:, None]
        data = Regression(scale * data.X, scale * data.Y)
    solution = gradient_flow(
        network, data, ts=ts, formulation=formulation, measures=[Product()], rtol=1e-12
    )
    return np.asarray(solution.check().measures["product"])


def paths(preset: str, seed: int, wrong: bool) -> Evidence:
    """Parameters and mirror coordinates at finite times."""
    errors = [
        relative(path(preset, seed, L, "mirror", wrong), path(preset, seed, L, "residual"))
        for L in GRID[preset][0]
    ]
    return at_most("relative_error", np.concatenate(errors), 1e-9, trials="comparisons")


def _path(seed: int = 0, wrong: bool = False, **variants: Any) -> Made:
    rows = ", with rows of another scale" if wrong else ""
    return Made(
        "woodworth2020.path",
        f"grad Phi(beta(t)) = X^T nu(t), nu' = y - X beta{rows}",
        plan=lambda preset: preset,
        look=lambda preset: paths(preset, seed, wrong),
        source=f"{SOURCE}, proof of theorem 1",
        **variants,
    )


def kernel_scale(data: Regression, eps: float) -> float:
    """The alpha from which on the limit has nearly the least l2 norm."""
    size = float(jnp.linalg.norm(data.min_norm))
    return math.sqrt(2 * (1 + eps) * (1 + 2 / eps) * size)


def log_rich_scale(data: Regression, eps: float) -> float:
    """The logarithm of the alpha below which it has nearly the least l1 norm."""
    size = float(np.abs(least_l1(data)).sum())
    power = (2 + eps) / (2 * eps)
    return min(-power * math.log(2 * (1 + eps) * size), -data.features / (eps * size))


def thresholds(preset: str, rich: bool, scale: float) -> Evidence:
    """`(1 + eps)` of the least norm over that of the limit at the threshold, depth 2."""
    ratios = []
    for seed in range({"quick": 8, "paper": 32}.get(preset, 128)):
        data = problems.gaussian(jr.key(seed), 4, 10, 1)
        for eps in (0.1, 0.5, 1.0):
            if rich:
                mirror = MirrorMap(log_alpha=scale * log_rich_scale(data, eps))
                found = np.abs(least_potential(mirror, data).beta).sum()
                least = np.abs(least_l1(data)).sum()
                ratios.append((1 + eps) * least / found)
            else:
                mirror = MirrorMap(scale * kernel_scale(data, eps))
                found = float(jnp.sum(least_potential(mirror, data).beta ** 2))
                ratios.append((1 + eps) * float(jnp.sum(data.min_norm**2)) / found)
    return at_least("bound_over_norm", ratios, allowance=1e-9, trials="problems")


def _threshold(rich: bool, scale: float = 1.0, **variants: Any) -> Made:
    name, norm = ("rich", "||beta||_1") if rich else ("kernel", "||beta||_2^2")
    times = "" if scale == 1 else f"{scale:g} times " + ("the logarithm of " if rich else "")
    return Made(
        f"woodworth2020.{name}",
        f"{norm} <= (1 + eps) times the least {norm} at {times}its scale of alpha",
        plan=lambda preset: preset,
        look=lambda preset: thresholds(preset, rich, scale),
        source=f"{SOURCE}, theorem 2",
        provenance="memory",
        hypotheses="depth 2",
        **variants,
    )


CLAIMS = (
    _limit(mutant=_limit(1.1), control=_limit()),
    _path(mutant=_path(wrong=True), control=_path(seed=1)),
    _threshold(True, mutant=_threshold(True, 1e-2), control=_threshold(True, 2.0)),
    _threshold(False, mutant=_threshold(False, 1e-2), control=_threshold(False, 2.0)),
)
