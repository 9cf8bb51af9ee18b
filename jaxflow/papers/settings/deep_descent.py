"""Gradient descent on many deep linear networks at once, of several widths and depths."""

import dataclasses
import functools
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from ...data import Regression
from ...dynamics import Solution, gradient_descent
from ...networks import DeepLinear
from ...networks.init import DeepGaussian
from ...networks.init.deep_linear import standard_scale


def gaussian(
    data: Regression, widths: Sequence[int], depths: Sequence[int], seeds: int
) -> DeepLinear:
    """Standard Gaussian networks of the widest width and the greatest depth, along a first axis.

    A corner of Gaussian layers is a Gaussian layer: `cut` gives all the others.
    """
    draw = functools.partial(DeepGaussian(), data=data, width=max(widths), depth=max(depths))
    return jax.jit(jax.vmap(draw))(jr.split(jr.key(0), seeds))


def cut(networks: DeepLinear, width: int, depth: int) -> DeepLinear:
    """The narrower and shallower networks in the corner, dead units for those that are cut off."""
    h, m = networks.first.shape[-2], networks.last.shape[-2]
    live = (np.arange(h) < width).astype(networks.first.dtype)
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

    def one(network: DeepLinear) -> Solution:
        return gradient_descent(network, data, optax.sgd, learning_rate=rate, steps=steps, saves=65)

    every = jax.tree.map(lambda *x: jnp.asarray(np.concatenate(x)), *groups)
    # Not under a jit of its own: one program serves every rate and number of steps.
    solution = eqx.filter_vmap(one)(every)
    found = np.asarray(solution.log_excess)
    step = np.round(np.asarray(solution.ts)[0] / rate)
    return step, found.reshape(len(groups), -1, found.shape[-1])


def decay(groups: Sequence[DeepLinear], data: Regression, rate: float, steps: int) -> np.ndarray:
    """The mean decay of `log(L - L*)` per step: shape (groups, seeds, saves - 1)."""
    step, found = losses(groups, data, rate, steps)
    return (found[..., :1] - found[..., 1:]) / step[1:]
