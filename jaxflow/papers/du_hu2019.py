"""Du and Hu: width provably matters in optimization for deep linear networks."""

from typing import Any

import jax
import jax.random as jr
import numpy as np
import xarray as xr

from .. import data as problems, measures
from ..claims import Evidence, Moves, Paper, at_least, power, presets
from ..dynamics import until
from ..networks.init import Gaussian
from ..sweeps import Sweep
from .settings.deep_descent import cut, decay, gaussian

paper = Paper("du_hu2019", "Du and Hu (ICML 2019)", provenance="memory")


def decays(setting: tuple[int, ...]) -> np.ndarray:
    """Decay over what is promised, for descent at the theorem's learning rate and large widths."""
    n, D, m, width, seeds = setting
    data = problems.spectrum(jr.key(15), n, D, m, condition=4.0)
    top, low = (float(data.singular_values[i]) ** 2 for i in (0, -1))
    depths, ratios = [2, 3, 4], []
    networks = gaussian(data, [width], depths, seeds)
    for depth in depths:
        eta = m / (3 * depth * top)
        promised = -np.log1p(-eta * depth * low / (4 * m))
        ratios.append(decay([cut(networks, width, depth)], data, eta, 256) / promised)
    return np.concatenate([ratio.ravel() for ratio in ratios])


@paper.claim(
    "L(k) - L* <= (1 - eta L lambda_r(X^T X) / (4 m))^({factor:times}k) (L(0) - L*) after k steps",
    latex=r"\mathcal{L}(k) - \mathcal{L}^* \le \left(1 - \frac{\eta L \lambda_r(X^\top X)}{4 "
    r"m}\right)^{k} \left(\mathcal{L}(0) - \mathcal{L}^*\right)",
    hypotheses="L wide Gaussian layers (how wide is left open), m outputs, "
    "eta = m / (3 L ||X^T X||)",
    settings=presets(
        quick=(4, 6, 2, 256, 8), paper=(10, 20, 5, 1024, 8), large=(20, 40, 10, 2048, 32)
    ),
    run=decays,
    moves=Moves("factor", "number of steps"),
)
def linear(ratios: np.ndarray, factor: float = 1.0) -> Evidence:
    """The decay along descent over the decay that is promised."""
    return at_least("decay_over_bound", ratios, factor, allowance=1e-9, trials="steps")


class Lazy(Gaussian):
    """Entries `N(0, h^(-1/2))`: products of order one, the kernel regime."""

    def scales(self, width: Any) -> tuple[Any, Any]:
        size = (width if isinstance(width, jax.Array) else float(width)) ** -0.25
        return size, size


def moving(samples: int, features: int, seeds: int) -> Sweep:
    """Lazy networks of widths from 10^3 to 10^6."""
    data = problems.gaussian(jr.key(16), samples, features, 2, scale=features**-0.5)
    return Sweep(
        data,
        Lazy(),
        widths=[round(10 ** (k / 2)) for k in range(6, 13)],
        seeds=seeds,
        until=until.loss_ratio(1e-16),
        rtol=1e-11,  # what moves by a millionth has to be seen
        measures=(measures.KernelMovement(),),
    )


@paper.claim(
    "||T(inf) - T(0)|| / ||T(0)|| ~ h^({predicted:g}) in the kernel regime, T the tangent kernel",
    source="whose proof keeps the kernel near its start; the exponent is derived",
    provenance="derived",
    latex=r"\frac{\lVert T(\infty) - T(0)\rVert}{\lVert T(0)\rVert} \,\sim\, h^{-1}",
    hypotheses="two layers of width h, entries N(0, h^(-1/2))",
    settings=presets(moving, quick=(4, 8, 128), paper=(10, 20, 64), large=(20, 40, 256)),
    moves=Moves("predicted", "exponent", by="difference"),
)
def kernel(dataset: xr.Dataset, predicted: float = -1.0) -> Evidence:
    """How far the kernel moves until everything is learned, by width.

    With `s = h^(1/2)`, the weights end at `V V^T = (s^2 I + W^T W)^(1/2)`, W the product: this is
    `(1 + O(1/h)) s I`.
    """
    widths, movement = dataset["width"].values, dataset["kernel_movement"].values
    return power("exponent", widths, movement, predicted, 0.1, dataset=dataset)
