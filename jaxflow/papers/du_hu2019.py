"""Du and Hu: width provably matters in optimization for deep linear networks."""

import functools
from typing import Any

import jax
import jax.random as jr
import numpy as np

from .. import data as problems, measures
from ..claims.base import Evidence
from ..claims.decide import near
from ..claims.gather import at_least, finished, power
from ..claims.kinds import Made
from ..dynamics import until
from ..networks.init import Gaussian
from ..sweeps import Sweep
from .settings.deep_descent import cut, decay, gaussian

SOURCE = "Du and Hu (ICML 2019)"


@functools.cache
def fallen(preset: str) -> np.ndarray:
    """Decay over what is promised, for descent at the theorem's learning rate and large widths."""
    n, D, m, width, seeds = {
        "quick": (4, 6, 2, 256, 8),
        "paper": (10, 20, 5, 1024, 8),
        "large": (20, 40, 10, 2048, 32),
    }[preset]
    data = problems.spectrum(jr.key(15), n, D, m, condition=4.0)
    top, low = (float(data.singular_values[i]) ** 2 for i in (0, -1))
    depths, ratios = [2, 3, 4], []
    networks = gaussian(data, [width], depths, seeds)
    for depth in depths:
        eta = m / (3 * depth * top)
        promised = -np.log1p(-eta * depth * low / (4 * m))
        ratios.append(decay([cut(networks, width, depth)], data, eta, 256) / promised)
    return np.concatenate([ratio.ravel() for ratio in ratios])


def _linear(factor: float = 1.0, **variants: Any) -> Made:
    extra = "" if factor == 1 else f"{factor:g} "
    return Made(
        "du_hu2019.linear",
        f"L(k) - L* <= (1 - eta L lambda_r(X^T X) / (4 m))^({extra}k) (L(0) - L*)",
        plan=lambda preset: preset,
        look=lambda preset: at_least(
            "decay_over_bound", fallen(preset), factor, allowance=1e-9, trials="steps"
        ),
        source=f"{SOURCE}, theorem 4.1",
        provenance="memory",
        hypotheses="wide Gaussian layers (how wide is left open), eta = m / (3 L ||X^T X||)",
        **variants,
    )


class Lazy(Gaussian):
    """Entries `N(0, h^(-1/2))`: products of order one, the kernel regime."""

    def scales(self, width: Any) -> tuple[Any, Any]:
        size = (width if isinstance(width, jax.Array) else float(width)) ** -0.25
        return size, size


@functools.cache
def moving(preset: str) -> Sweep:
    """Lazy networks of widths from 10^3 to 10^6."""
    samples, features, seeds = {
        "quick": (4, 8, 128),
        "paper": (10, 20, 64),
        "large": (20, 40, 256),
    }[preset]
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


def movement(preset: str, predicted: float) -> Evidence:
    """How far the kernel moves until everything is learned, by width.

    With `s = h^(1/2)` the end has `V V^T = (s^2 I + W^T W)^(1/2)`, W the product: 1 + O(1/h) of s.
    """
    dataset = finished(moving(preset))
    values = dataset["kernel_movement"].values
    return power("exponent", dataset["width"].values, values, predicted, 0.1, dataset=dataset)


def _movement(predicted: float, **variants: Any) -> Made:
    return Made(
        "du_hu2019.kernel",
        f"||T(inf) - T(0)|| / ||T(0)|| ~ h^({predicted:g}) in the kernel regime",
        plan=lambda preset: preset,
        look=lambda preset: movement(preset, predicted),
        rule=near,
        source=f"{SOURCE}, section 4 (the kernel stays near its start); the exponent is derived",
        provenance="derived",
        hypotheses="two layers, entries N(0, h^(-1/2))",
        **variants,
    )


CLAIMS = (
    _linear(mutant=_linear(12.0), control=_linear(0.5)),
    _movement(-1.0, mutant=_movement(-0.5), control=_movement(-1.0)),
)
