"""The functions that other rooms call on any network; each family registers its own versions."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._types import Network
from ..data import Regression


def trainable(network: PyTree) -> PyTree[bool]:
    """The filter mask of the parameters that the flow moves: a pytree of booleans.

    It is `network.trainable()` if the network has that method, else True for every array of
    floating-point numbers in the module, NumPy's among them.
    """
    own = getattr(network, "trainable", None)
    return own() if callable(own) else jax.tree.map(is_parameter, network)


def is_parameter(leaf: Any) -> bool:
    """Whether a leaf is an array of floating-point numbers, NumPy's among them."""
    return eqx.is_inexact_array(jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf)


def predictions(network: Network, X: Float[Array, "n D"]) -> Float[Array, "n m"]:
    """`f(x)` for every row x of X; a network of one output may return a scalar."""
    out = jax.vmap(network)(X)
    return out[:, None] if out.ndim == 1 else out


def entries(tree: Any) -> int:
    """How many numbers a tree of arrays holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


class WrongNetwork(ValueError):
    """A quantity was asked of a network that does not have it; whoever asked is named later."""

    def __init__(self, needed: str, network: Network):
        self.said = f"needs {needed}, got {type(network).__name__}."
        super().__init__(f"This {self.said}")


@functools.singledispatch
def best_fit(network: Network, data: Regression) -> Float[Array, "n m"]:
    """The best predictions that this kind of network can make: its excess loss is zero there.

    For a general network see `networks.attainable`. A network that is linear in x can do no better
    than the projection `W W^T Y` of the targets, W the left singular vectors of X: its loss is
    then `data.optimal_loss`.
    """
    raise NotImplementedError  # replaced by the general answer in `attainable.py`


def compress(network: Network, data: Regression) -> Network:
    """A narrower network of the same class with exactly the same trajectory.

    Gradient flow, and gradient descent with momentum, weight decay or minibatches (not Adam), never
    leave the row space of `Z = [V; Phi^T U]` of a two-layer linear network, where Phi holds the
    right singular vectors of X. With `Z = L Q`, the rows of Q orthonormal, the network
    `(U Q^T, V Q^T)` therefore has the same product, loss, imbalance spectrum and distance to the
    min-norm solution at all times.

    **Arguments:** a `network`, and the `data` that it will learn from.

    **Returns:** for a `TwoLayerLinear` of width h > m + r (m outputs, r the rank of X) a network of
    width m + r; any other network unchanged.

    **Example:**

    >>> import jax
    >>> import jaxflow as jf
    >>> data = jf.data.gaussian(jax.random.key(0), samples=5, features=20, targets=2)
    >>> network = jf.init.Gaussian()(jax.random.key(1), data, width=500)
    >>> network.width, jf.compress(network, data).width
    (500, 7)
    """
    return compressed(network, data)


@functools.singledispatch
def compressed(network: Network, data: Regression) -> Network:
    """`compress` of this kind of network."""
    return network


@functools.singledispatch
def rotate(network: Network, data: Regression) -> Network:
    """The compressed network in rotated inputs, for `data.rotated()`: the same trajectory up to
    that rotation, with at most m + r inputs off the span of the data in place of D - r.
    """
    raise ValueError(
        f"A {type(network).__name__} has no rotated form: register one with networks.base.rotate."
    )
