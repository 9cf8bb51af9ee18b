"""What claims about wide shallow networks share: data sets, and closed forms of many widths."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...data import Regression
from ...networks.init import Shallow
from ...theory import LinearizedFlow

SEEDS = {"quick": 128, "paper": 100, "large": 400}
WIDTHS = {
    "quick": tuple(320 * 2**k for k in range(6)),
    "paper": tuple(40 * 2**k for k in range(10)),
    "large": tuple(40 * 2**k for k in range(12)),
}


@functools.cache
def line() -> Regression:
    """Five points of a line, from the paper's code."""
    return Regression(np.arange(-2.0, 3.0)[:, None], np.array([1.5, 0.5, 1.5, 0.5, 1.5]))


@functools.cache
def square() -> Regression:
    """Five points of the plane, from the paper's code."""
    X = np.array([[-1.0, -1], [1, 1], [0, 0], [-1, 1], [1, -1]])
    return Regression(X, np.array([1.5, 1.5, 0.5, -0.5, -0.5]))


@functools.cache
def cloud(features: int) -> Regression:
    """Six points of the unit ball, with normal targets."""
    key = jr.key(features)
    X = jr.ball(key, features, shape=(6,))
    return Regression(np.asarray(X), np.asarray(jr.normal(jr.fold_in(key, 1), (6,))))


def points(data: Regression, count: int = 41) -> np.ndarray:
    """Points of the convex hull of the samples: a grid in one dimension, else mixtures of them."""
    X = np.asarray(data.X)
    if data.features == 1:
        return np.linspace(X.min(), X.max(), count)[:, None]
    return np.asarray(jr.dirichlet(jr.key(0), jnp.ones(len(X)), (count,))) @ X


@functools.partial(jax.jit, static_argnames="room")
def _limits(law: Shallow, data: Regression, at: Any, keys: Any, width: Any, room: int) -> Any:
    def one(key: Any) -> Any:
        return LinearizedFlow(law(key, data, width=width, room=room), data)(at)

    return jax.lax.map(one, keys)


def distances(
    law: Shallow, data: Regression, reference: Any, widths: Sequence[int], seeds: int
) -> np.ndarray:
    """RMS distance of trained networks to a `reference(points)`, (widths, seeds).

    Their output layer is trained, to the end: by the closed form, which is exact there.
    """
    at, rows = points(data), []
    expected = reference(at)
    for width in widths:
        room, size = law.bucket(width, data)["room"], jnp.asarray(float(width))
        keys = jr.split(jr.fold_in(jr.key(7), width), seeds)
        found = np.asarray(_limits(law, data, jnp.asarray(at), keys, size, room))
        rows.append(np.sqrt(np.mean((found - expected) ** 2, axis=(1, 2))))
    return np.asarray(rows)
