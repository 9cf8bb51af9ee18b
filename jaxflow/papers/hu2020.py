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
from ..claims import Evidence, Moves, Paper, at_least, once, power, presets
from ..data import Regression
from ..networks import DeepLinear
from ..networks.init import DeepOrthogonal
from ..networks.init.deep_linear import standard_scale
from .settings.deep_descent import cut, decay, gaussian, losses

paper = Paper("hu2020", "Hu, Xiao, Pennington (ICLR 2020)", provenance="read")
REACHED = math.log(1e-2)  # a network is trained when its loss is 1% of the initial one
SEEDS = 16
SMALL, PRINTED = (4, 6, 2), (16, 1024, 10)  # samples, features, outputs; PRINTED is the paper's


@once
def problem(sizes: tuple[int, int, int]) -> Regression:
    """Gaussian inputs and a Gaussian linear teacher, as in the paper's experiment."""
    return problems.gaussian(jr.key(17), *sizes, noise=0.0)


@functools.partial(jax.jit, static_argnums=(1, 2))
def orthogonal(data: Regression, width: int, seeds: int) -> DeepLinear:
    """Orthogonal networks of two layers, in reduced form."""
    draw = functools.partial(DeepOrthogonal().compressed, data=data, width=width, depth=2)
    return jax.vmap(draw)(jr.split(jr.key(0), seeds))


def deepen(networks: DeepLinear, width: int, depth: int) -> DeepLinear:
    """With more layers, which in reduced form are all multiples of the identity."""
    seeds, k = networks.first.shape[:2]
    layer = math.sqrt(width) * np.eye(k, dtype=networks.first.dtype)
    scale = standard_scale(width, depth, networks.last.shape[-2])
    return dataclasses.replace(
        networks,
        hidden=jnp.broadcast_to(layer, (seeds, depth - 2, k, k)),
        scale=jnp.full_like(networks.scale, scale),
    )


def padded(groups: list[DeepLinear]) -> list[DeepLinear]:
    """All of one width, by dead units."""
    most = max(g.first.shape[-2] for g in groups)

    def pad(network: Any) -> Any:
        more = (0, most - network.first.shape[-2])
        return dataclasses.replace(
            network,
            first=np.pad(network.first, ((0, 0), more, (0, 0))),
            hidden=np.pad(network.hidden, ((0, 0), (0, 0), more, more)),
            last=np.pad(network.last, ((0, 0), (0, 0), more)),
        )

    return [pad(g) for g in groups]


def rate(data: Regression, depth: int) -> float:
    """The theorem's largest learning rate, `m / (2 L ||X||^2)`."""
    return data.outputs / (2 * depth * float(data.singular_values[0]) ** 2)


def decays(setting: tuple[tuple[int, int, int], int, tuple[int, ...]]) -> np.ndarray:
    """Decay over what is promised, at several depths and large width."""
    sizes, width, depths = setting
    data, ratios = problem(sizes), []
    networks = orthogonal(data, width, 4)
    low = float(data.singular_values[-1]) ** 2
    for depth in depths:
        eta = rate(data, depth)
        promised = -np.log1p(-0.5 * eta * depth * low / data.outputs)
        ratios.append(decay([deepen(networks, width, depth)], data, eta, 512) / promised)
    return np.concatenate([ratio.ravel() for ratio in ratios])


@paper.claim(
    "L(k) - L* <= (1 - eta L lambda_r(X^T X) / (2 m))^({factor:times}k) (L(0) - L*) after k steps",
    source="theorem 4.1",
    latex=r"\mathcal{L}(k) - \mathcal{L}^* \le \left(1 - \frac{\eta L \lambda_r(X^\top X)}{2 "
    r"m}\right)^{k} \left(\mathcal{L}(0) - \mathcal{L}^*\right)",
    hypotheses="L wide orthogonal layers: width h >= D features and h >= C r~ kappa^2 (m (1 "
    "+ ||W*||^2) + log(r / delta)) with C left open; m outputs, eta <= m / (2 L ||X||^2)",
    settings=presets(
        quick=(SMALL, 1_000, (3, 8, 32)),
        paper=(PRINTED, 4_096, (3, 16, 64, 256)),
        large=(PRINTED, 16_384, (3, 16, 64, 256, 700)),
    ),
    run=decays,
    moves=Moves("factor", "number of steps"),
)
def linear(ratios: np.ndarray, factor: float = 1.0) -> Evidence:
    """The decay along descent over the decay that is promised."""
    return at_least("decay_over_bound", ratios, factor, allowance=1e-9, trials="steps")


@dataclasses.dataclass(frozen=True)
class Grid:
    """Widths and depths to train, on a problem of these sizes, for so many steps."""

    sizes: tuple[int, int, int]
    steps: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]


GRIDS = presets(
    Grid,
    quick=(SMALL, 256, (2, 3, 4, 6, 8, 16, 32), (4, 8, 16, 32)),
    paper=(PRINTED, 1258, (10, 16, 25, 40, 63, 100, 158, 251), (16, 32, 64, 128)),
    large=(PRINTED, 1258, (10, 25, 63, 158, 398, 1000), (16, 32, 64, 128, 256)),
)


def trained(grid: Grid, kind: str) -> np.ndarray:
    """log(L/L(0)) after training at the theorem's rate: (depths, widths, seeds)."""
    data, rows = problem(grid.sizes), []
    if kind == "orthogonal":
        drawn = {w: orthogonal(data, w, SEEDS) for w in grid.widths}
    else:
        networks = gaussian(data, grid.widths, grid.depths, SEEDS)
    for depth in grid.depths:
        groups = [
            deepen(drawn[w], w, depth) if kind == "orthogonal" else cut(networks, w, depth)
            for w in grid.widths
        ]
        _, found = losses(padded(groups), data, rate(data, depth), grid.steps)
        fallen = found[:, :, -1] - found[:, :, 0]
        # What overflowed has not been trained.
        rows.append(np.where(np.isfinite(fallen), fallen, np.inf))
    return np.asarray(rows)


@paper.claim(
    "the width that {kind} layers need to train grows with the depth L as L^{predicted:g}",
    name="{kind}_width",
    each=[{"kind": "orthogonal", "predicted": 0.0}, {"kind": "gaussian", "predicted": 1.0}],
    source="abstract; theorem 4.1 bounds the width of orthogonal layers from above, theorem "
    "5.1 that of Gaussian layers from below; exponents of an experiment are ours",
    latex=lambda predicted, **_: rf"h_{{\text{{needed}}}} \,\sim\, L^{{{predicted:g}}}",
    hypotheses="eta = m / (2 L ||X||^2), a fixed number of steps",
    settings=GRIDS,
    run=trained,
    moves=Moves("predicted", "exponent", by="difference"),
)
def needed(values: np.ndarray, setting: Grid, kind: str, predicted: float) -> Evidence:
    """The exponent in the depth of the least width that trains."""
    x = np.log(setting.widths)
    least = np.exp([[_crossing(x, fallen) for fallen in rows.T] for rows in values])
    means = [float(v) for v in least.mean(axis=1)]
    return power(
        "exponent",
        setting.depths,
        least,
        predicted,
        0.4,
        measured={"least_widths": means},
        trials="networks",
    )


def _crossing(x: np.ndarray, fallen: np.ndarray) -> float:
    """Where the curve last falls below REACHED; an end of the grid if it does not."""
    above = np.flatnonzero(~(fallen < REACHED))
    if not len(above):
        return float(x[0])
    i = int(above[-1])
    if i == len(x) - 1:
        return float(x[-1])
    high = min(fallen[i], 0.0)  # losses that have not fallen at all count alike
    return float(x[i] + (x[i + 1] - x[i]) * (high - REACHED) / (high - fallen[i + 1]))
