"""Du and Hu: width provably matters in optimization for deep linear networks."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from .. import data as problems
from ..data import Regression
from ..dynamics import gradient_descent, until
from ..networks import DeepLinear
from ..networks.init import DeepGaussian, Gaussian
from ..networks.init.deep_linear import standard_scale
from ..sweeps import Sweep, measures, run
from ..sweeps.summary import exponent
from .base import Evidence
from .decide import around, near
from .kinds import Made

SOURCE = "Du and Hu (ICML 2019)"


def gaussian(data: Regression, widths: list[int], depths: list[int], seeds: int) -> DeepLinear:
    """Standard Gaussian networks of the widest width and the greatest depth, along a first axis.

    A corner of Gaussian layers is a Gaussian layer: `cut` gives all the others.
    """
    draw = functools.partial(DeepGaussian(), data=data, width=max(widths), depth=max(depths))
    return jax.jit(jax.vmap(draw))(jr.split(jr.key(0), seeds))


def cut(networks: DeepLinear, width: int, depth: int) -> DeepLinear:
    """The narrower and shallower networks in the corner, dead units for those that are cut off."""
    h, m = networks.first.shape[-2], networks.last.shape[-2]
    live = (jnp.arange(h) < width).astype(networks.first.dtype)
    return dataclasses.replace(
        networks,
        first=networks.first * live[:, None],
        hidden=networks.hidden[:, : depth - 2] * live[:, None] * live,
        last=networks.last * live,
        scale=jnp.full_like(networks.scale, standard_scale(width, depth, m)),
    )


def losses(
    groups: Sequence[DeepLinear], data: Regression, rate: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """The step, and `log(L - L*)` there: shape (groups, seeds, saves). One program for all."""

    def one(network: Any) -> Any:
        solution = gradient_descent(
            network, data, optax.sgd, learning_rate=rate, steps=steps, saves=65
        )
        return solution.ts, solution.log_excess

    every = jax.tree.map(lambda *x: jnp.concatenate(x), *groups)
    ts, found = map(np.asarray, jax.jit(jax.vmap(one))(every))
    return np.round(ts[0] / rate), found.reshape(len(groups), -1, found.shape[-1])


def linear(preset: str, factor: float) -> Evidence:
    """Descent at the theorem's learning rate, at large widths, against its rate."""
    n, D, m, width, seeds = {
        "quick": (4, 6, 2, 256, 8),
        "paper": (10, 20, 5, 1024, 8),
        "large": (20, 40, 10, 2048, 32),
    }[preset]
    data = problems.spectrum(jr.key(15), n, D, m, condition=4.0)
    top, low = (float(data.singular_values[i]) ** 2 for i in (0, -1))
    slack, steps, depths = [], 256, [2, 3, 4]
    networks = gaussian(data, [width], depths, seeds)
    for depth in depths:
        rate = m / (3 * depth * top)
        step, found = losses([cut(networks, width, depth)], data, rate, steps)
        promised = -factor * np.log1p(-rate * depth * low / (4 * m)) * step[1:]
        slack.append(((found[0, :, :1] - found[0, :, 1:]) / promised - 1).ravel())
    every = np.concatenate(slack)
    return Evidence(
        slack=every,
        allowance=1e-9,
        measured={"decay_over_bound_median": float(np.median(every) + 1)},
        predicted={"decay_over_bound": ">= 1"},
        trials="steps",
    )


def _linear(factor: float = 1.0, **variants: Any) -> Made:
    extra = "" if factor == 1 else f"{factor:g} "
    return Made(
        "du_hu2019.linear",
        f"L(k) - L* <= (1 - eta L lambda_r(X^T X) / (4 m))^({extra}k) (L(0) - L*)",
        plan=lambda preset: preset,
        look=lambda preset: linear(preset, factor),
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


def movement(preset: str, predicted: float) -> Evidence:
    """How far the kernel moves until everything is learned, by width.

    With `s = h^(1/2)` the end has `V V^T = (s^2 I + W^T W)^(1/2)`, W the product: 1 + O(1/h) of s.
    """
    samples, features, seeds = {
        "quick": (4, 8, 128),
        "paper": (10, 20, 64),
        "large": (20, 40, 256),
    }[preset]
    data = problems.gaussian(jr.key(16), samples, features, 2, scale=features**-0.5)
    sweep = Sweep(
        data,
        Lazy(),
        widths=[round(10 ** (k / 2)) for k in range(6, 13)],
        seeds=seeds,
        until=until.loss_ratio(1e-16),
        rtol=1e-11,  # what moves by a millionth has to be seen
        measures=(measures.KernelMovement(),),
    )
    dataset = run(sweep)
    fit = exponent(dataset["width"].values, dataset["kernel_movement"].values)
    return Evidence(
        slack=np.zeros(0),
        interval=None if fit is None else (fit.low, fit.high),
        measured={"exponent": float("nan") if fit is None else fit.slope},
        margin=around(predicted, 0.1),
        predicted={"exponent": predicted},
        dataset=dataset,
    )


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
