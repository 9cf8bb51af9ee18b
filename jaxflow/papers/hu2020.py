"""Hu, Xiao, Pennington: orthogonal initialization makes the width needed independent of depth."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .. import data as problems
from ..claims.base import Evidence
from ..claims.decide import near
from ..claims.gather import at_least, number
from ..claims.kinds import Made
from ..data import Regression
from ..networks import DeepLinear
from ..networks.init import DeepOrthogonal
from ..networks.init.deep_linear import standard_scale
from .settings.deep_descent import cut, decay, gaussian, losses

SOURCE = "Hu, Xiao, Pennington (ICLR 2020)"
REACHED = math.log(1e-2)  # of the initial loss: trained


def problem(preset: str) -> Regression:
    """Gaussian inputs and a Gaussian linear teacher, as in the paper's experiment, and smaller."""
    n, D, m = {"quick": (4, 6, 2), "paper": (16, 1024, 10), "large": (16, 1024, 10)}[preset]
    return problems.gaussian(jr.key(17), n, D, m, noise=0.0)


@functools.partial(jax.jit, static_argnums=(1, 2))
def orthogonal(data: Regression, width: int, seeds: int) -> DeepLinear:
    """Orthogonal networks of two layers, in reduced form."""
    draw = functools.partial(DeepOrthogonal().compressed, data=data, width=width, depth=2)
    return jax.vmap(draw)(jr.split(jr.key(0), seeds))


def deepen(networks: DeepLinear, width: int, depth: int) -> DeepLinear:
    """With more layers, which in reduced form are all multiples of the identity."""
    seeds, k = networks.first.shape[:2]
    layer = math.sqrt(width) * jnp.eye(k, dtype=networks.first.dtype)
    scale = standard_scale(width, depth, networks.last.shape[-2])
    return dataclasses.replace(
        networks,
        hidden=jnp.broadcast_to(layer, (seeds, depth - 2, k, k)),
        scale=jnp.full_like(networks.scale, scale),
    )


def padded(groups: list[DeepLinear]) -> list[DeepLinear]:
    """All of one width, by dead units."""
    most = max(g.first.shape[-2] for g in groups)

    def pad(network: DeepLinear) -> DeepLinear:
        more = (0, most - network.first.shape[-2])
        return dataclasses.replace(
            network,
            first=jnp.pad(network.first, ((0, 0), more, (0, 0))),
            hidden=jnp.pad(network.hidden, ((0, 0), (0, 0), more, more)),
            last=jnp.pad(network.last, ((0, 0), (0, 0), more)),
        )

    return [pad(g) for g in groups]


def rate(data: Regression, depth: int) -> float:
    """The theorem's largest learning rate, `m / (2 L ||X||^2)`."""
    return data.outputs / (2 * depth * float(data.singular_values[0]) ** 2)


@functools.cache
def decays(preset: str) -> np.ndarray:
    """Decay over what is promised, at several depths and large width."""
    width, depths = {
        "quick": (1_000, (3, 8, 32)),
        "paper": (4_096, (3, 16, 64, 256)),
        "large": (16_384, (3, 16, 64, 256, 700)),
    }[preset]
    data, ratios = problem(preset), []
    networks = orthogonal(data, width, 4)
    low = float(data.singular_values[-1]) ** 2
    for depth in depths:
        eta = rate(data, depth)
        promised = -np.log1p(-0.5 * eta * depth * low / data.outputs)
        ratios.append(decay([deepen(networks, width, depth)], data, eta, 512) / promised)
    return np.concatenate([ratio.ravel() for ratio in ratios])


def _linear(factor: float = 1.0, **variants: Any) -> Made:
    extra = "" if factor == 1 else f"{factor:g} "
    return Made(
        "hu2020.linear",
        f"L(k) - L* <= (1 - eta L lambda_r(X^T X) / (2 m))^({extra}k) (L(0) - L*)",
        plan=lambda preset: preset,
        look=lambda preset: at_least(
            "decay_over_bound", decays(preset), factor, allowance=1e-9, trials="steps"
        ),
        source=f"{SOURCE}, theorem 4.1",
        hypotheses="wide orthogonal layers, h >= D, eta <= m / (2 L ||X||^2)",
        **variants,
    )


GRIDS = {
    "quick": ((2, 4, 8, 16, 32), (4, 8, 16, 32)),
    "paper": ((10, 16, 25, 40, 63, 100, 158, 251), (16, 32, 64, 128)),
    "large": ((10, 25, 63, 158, 398, 1000), (16, 32, 64, 128, 256)),
}
SEEDS = 16


@functools.cache
def trained(preset: str, kind: str) -> np.ndarray:
    """log(L/L(0)) after training at the theorem's rate: (depths, widths), medians over seeds."""
    widths, depths = GRIDS[preset]
    data, steps = problem(preset), {"quick": 256}.get(preset, 1258)
    if kind == "orthogonal":
        drawn = {w: orthogonal(data, w, SEEDS) for w in widths}
    else:
        networks = gaussian(data, list(widths), list(depths), SEEDS)
    rows = []
    for depth in depths:
        groups = [
            deepen(drawn[w], w, depth) if kind == "orthogonal" else cut(networks, w, depth)
            for w in widths
        ]
        _, found = losses(padded(groups), data, rate(data, depth), steps)
        fallen = found[:, :, -1] - found[:, :, 0]
        # What overflowed has not been trained.
        rows.append(np.median(np.where(np.isfinite(fallen), fallen, np.inf), axis=1))
    return np.asarray(rows)


def needed(preset: str, kind: str, predicted: float) -> Evidence:
    """The exponent in the depth of the least width that trains, and its standard error's double."""
    widths, depths = GRIDS[preset]
    values = trained(preset, kind)
    least = [_crossing(np.log(widths), row) for row in values]
    slope, error = _line(np.log(depths), np.asarray(least))
    return number(
        "exponent",
        slope,
        (slope - 2 * error, slope + 2 * error),
        predicted,
        0.4,
        measured={"least_widths": [float(np.exp(v)) for v in least]},
        trials="networks",
    )


def _crossing(x: np.ndarray, fallen: np.ndarray) -> float:
    """Where the curve last comes down through the level; the ends of the grid if it does not."""
    above = np.flatnonzero(~(fallen < REACHED))
    if not len(above):
        return float(x[0])
    i = int(above[-1])
    if i == len(x) - 1:
        return float(x[-1])
    high = min(fallen[i], 0.0)  # what has not fallen at all is all the same
    return float(x[i] + (x[i + 1] - x[i]) * (high - REACHED) / (high - fallen[i + 1]))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - slope * centred
    return slope, float(np.sqrt(rest @ rest / (len(x) - 2) / (centred @ centred)))


def _needed(kind: str, predicted: float, **variants: Any) -> Made:
    return Made(
        f"hu2020.{kind}_width",
        f"the width that {kind} layers need to train grows as L^{predicted:g}",
        plan=lambda preset: preset,
        look=lambda preset: needed(preset, kind, predicted),
        rule=near,
        source=f"{SOURCE}, theorems 4.1 and 5.1, figure 1",
        hypotheses="eta = m / (2 L ||X||^2), a fixed number of steps",
        **variants,
    )


CLAIMS = (
    _linear(mutant=_linear(12.0), control=_linear(0.5)),
    _needed(
        "orthogonal", 0.0, mutant=_needed("orthogonal", 1.5), control=_needed("orthogonal", 0.0)
    ),
    _needed("gaussian", 1.0, mutant=_needed("gaussian", 0.0), control=_needed("orthogonal", 0.0)),
)
