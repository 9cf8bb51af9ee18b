"""What claims about wide shallow networks share: data sets, and where training ends, by width."""

import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...data import Regression
from ...networks import ShallowNetwork, cross_kernel
from ...networks.init import Shallow

BLOCK = 320  # units drawn at once, whatever the width: one compiled program for all widths


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


@eqx.filter_jit
def drawn(law: Shallow, key: Any, data: Regression, width: int) -> ShallowNetwork:
    """A network of the law, by one compiled program for all keys."""
    return law(key, data, width=width)


@jax.jit
def _ends(law: Shallow, data: Regression, at: Any, keys: Any, width: Any) -> Any:
    both = jnp.concatenate([data.X, at])

    def one(key: Any) -> Any:
        def add(i: Any, kernel: Any) -> Any:
            units = law(key, data, width=width, room=BLOCK, first=i * BLOCK)
            return kernel + cross_kernel(units, both, data.X)

        # The tangent kernel is a sum over units.
        zero = jnp.zeros((len(both), len(data.X)), data.X.dtype)
        kernel = jax.lax.fori_loop(0, -(-width // BLOCK), add, zero)
        n = len(data.X)
        return kernel[n:] @ jnp.linalg.solve(kernel[:n], data.Y)

    return jax.lax.map(one, keys)


def ends(law: Shallow, data: Regression, widths: Sequence[int], seeds: int) -> np.ndarray:
    """The predictions of trained networks at `points(data)`: (widths, seeds, points, 1).

    Only their output layer is trained, to zero loss, from f = 0 (`antisymmetric`): they are
    `T(x, X) T(X, X)^-1 y`, T the tangent kernel, which does not move.
    """
    found = []
    for width in widths:
        keys = jr.split(jr.fold_in(jr.key(7), width), seeds)
        found.append(_ends(law, data, jnp.asarray(points(data)), keys, jnp.asarray(width)))
    return np.asarray(found)


def rms(gap: np.ndarray) -> np.ndarray:
    """The root of the mean square over points and outputs, the last two axes."""
    return np.sqrt(np.mean(gap**2, axis=(-2, -1)))
