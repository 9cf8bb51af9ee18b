"""Woodworth et al.: kernel and rich regimes of diagonal linear networks."""

import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from jaxtyping import Array

from .. import data as problems
from ..claims.agreement import relative
from ..claims.base import Evidence
from ..claims.decide import near
from ..claims.gather import at_least, at_most, failed, power
from ..claims.kinds import Made
from ..data import Regression
from ..dynamics import gradient_flow, until
from ..dynamics.measure import Measure
from ..dynamics.view import View
from ..measures import Product
from ..networks import MirrorMap
from ..networks.init import Diagonal, Gaussian
from ..sweeps import Sweep, run
from ..theory import least_l1, least_potential
from .settings.sparse_regression import parameter_limit, sparse_regression

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


SCALES = np.geomspace(1e-3, 3, 15)


def largest_scales(preset: str, depth: float, samples: int, seed: int) -> float:
    """The largest alpha from which the limit generalizes: population error at most 0.1."""
    features, sparse = {"quick": (200, 3)}.get(preset, (1000, 5))
    data, beta = sparse_regression(
        jr.key(seed), samples, features, sparse, entry=sparse**-0.5, noise=0.1
    )
    errors = _population_errors(data, jnp.asarray(beta), depth)
    bad = np.flatnonzero(errors > 0.1)
    i = bad[0] if len(bad) else len(SCALES)
    if i in (0, len(SCALES)):
        return float("nan")
    part = (np.log(0.1) - np.log(errors[i - 1])) / np.log(errors[i] / errors[i - 1])
    return float(SCALES[i - 1] * (SCALES[i] / SCALES[i - 1]) ** part)


@jax.jit
def _population_errors(data: Regression, beta: Array, depth: Array) -> Array:
    def error(alpha: Array) -> Array:
        return jnp.sum((least_potential(MirrorMap(alpha, depth), data).beta - beta) ** 2)

    return jax.lax.map(error, jnp.asarray(SCALES))


@functools.cache
def transitions(preset: str) -> tuple[np.ndarray, np.ndarray]:
    """These scales by seed: for depths 2, 3, 4 at fixed samples, and samples at depth 2."""
    counts = {"quick": (50, 60, 80)}.get(preset, (80, 100, 140, 200))
    seeds = range({"quick": 4, "paper": 16}.get(preset, 64))
    deep = [[largest_scales(preset, L, counts[1], s) for L in (2.0, 3.0, 4.0)] for s in seeds]
    more = [[largest_scales(preset, 2.0, n, s) for n in counts] for s in seeds]
    return np.asarray(deep), np.asarray(more)


def ordered(preset: str, which: int, reverse: bool) -> Evidence:
    """The ratio of each scale to the one before it (the one after it: `reverse`)."""
    scales = transitions(preset)[which]
    ratio = scales[:, 1:] / scales[:, :-1]
    return at_least(
        "ratio",
        1 / ratio if reverse else ratio,
        failed=np.isnan(ratio),
        measured={"scales_median": [float(v) for v in np.median(scales, axis=0)]},
        trials="pairs",
    )


def _transition(which: int, reverse: bool = False, **variants: Any) -> Made:
    name = ("depth", "samples")[which]
    symbol = ("L", "the number of samples")[which]
    return Made(
        f"woodworth2020.{name}",
        "the largest alpha with E (x^T beta(inf) - x^T beta*)^2 <= 0.1 "
        f"{'falls' if reverse else 'grows'} with {symbol}",
        plan=lambda preset: preset,
        look=lambda preset: ordered(preset, which, reverse),
        source=f"{SOURCE}, figures 1 and 3; at a level and sizes of our choice",
        provenance="memory",
        hypotheses="sparse regression, more samples than exact recovery by least l1 norm needs",
        **variants,
    )


class KernelChange(Measure):
    """`||T(end) - T(0)||_F / ||T(0)||_F` of the tangent kernel of a two-layer linear network."""

    name: ClassVar[str] = "kernel_change"
    rotation_free: ClassVar[bool] = True

    def start(self, first: View) -> Any:
        return _factor_kernel(first)

    def finish(self, ts: Any, saved: Any, last: View, fixed: Any) -> Array:
        return jnp.linalg.norm(_factor_kernel(last) - fixed) / jnp.linalg.norm(fixed)


def _factor_kernel(view: View) -> Array:
    V, U1 = view.factors
    hidden, output = U1 @ U1.T, V @ V.T
    return jnp.kron(hidden, jnp.eye(len(output))) + jnp.kron(jnp.eye(len(hidden)), output)


@functools.cache
def factorization(preset: str, alpha: float) -> xr.Dataset:
    """Flows of `M = U V^T` to a matrix of rank one and size ten, entries N(0, k^(-2 alpha))."""
    u, v = (np.linalg.qr(np.asarray(jr.normal(jr.key(i), (4, 1))))[0] for i in (0, 1))
    return run(
        Sweep(
            Regression(np.eye(4), 10 * u @ v.T),
            Gaussian(alpha=alpha),
            widths=[10**k for k in range(4, 4 + {"quick": 4, "paper": 6}.get(preset, 6))],
            seeds={"quick": 32, "paper": 256}.get(preset, 1024),
            until=until.loss_ratio(1e-16),
            measures=[KernelChange()],
        )
    )


def kernel_exponent(preset: str, alpha: float) -> Evidence:
    """The exponent in k of the kernel's relative change."""
    found = factorization(preset, alpha)
    return power(
        "exponent",
        found.width.values,
        found.kernel_change.transpose("width", "seed").values,
        0.0,
        0.02,
        measured={"change_median": float(found.kernel_change.median())},
        dataset=found,
        failed=failed(found),
        trials="trajectories",
    )


def _width(alpha: float = 0.5, **variants: Any) -> Made:
    held = f"alpha^2 k^{2 * alpha:g}"
    return Made(
        "woodworth2020.width",
        f"M = U V^T of width k from N(0, alpha^2): at fixed {held}, ||T(inf) - T(0)|| / ||T(0)|| "
        "does not depend on k",
        plan=lambda preset: preset,
        look=lambda preset: kernel_exponent(preset, alpha),
        rule=near,
        source=f"{SOURCE}, section 6; derived",
        provenance="derived",
        hypotheses="k large; all entries of the matrix are observed",
        **variants,
    )


CLAIMS = (
    _limit(mutant=_limit(1.1), control=_limit()),
    _path(mutant=_path(wrong=True), control=_path(seed=1)),
    _threshold(True, mutant=_threshold(True, 1e-2), control=_threshold(True, 2.0)),
    _threshold(False, mutant=_threshold(False, 1e-2), control=_threshold(False, 2.0)),
    _transition(0, mutant=_transition(0, reverse=True), control=_transition(1)),
    _transition(1, mutant=_transition(1, reverse=True), control=_transition(0)),
    _width(mutant=_width(0.3), control=_width()),
)
