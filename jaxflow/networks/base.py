"""What the rest of the laboratory asks of any network. A new family registers its own answers."""

import functools
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PyTree

from ..data import Regression


def trainable(network: PyTree) -> PyTree[bool]:
    """The filter mask of the parameters that the flow moves.

    `network.trainable()` where the network has it, else every inexact array in the module.
    """
    own = getattr(network, "trainable", None)
    return own() if callable(own) else jax.tree.map(eqx.is_inexact_array, network)


@functools.singledispatch
def best_fit(network: Any, data: Regression) -> Float[Array, "n m"]:
    """The predictions from which the excess loss of this kind of network is counted.

    A general network is measured against the targets themselves (least loss 0). A network linear
    in x can do no better than `W W^T Y`, and leaves `data.optimal_loss` behind.
    """
    return data.Y


@functools.singledispatch
def compress(network: Any, data: Regression) -> Any:
    """A narrower network of the same class with exactly the same trajectory; or the same network.

    **Arguments:** a `network` and the `data` it will learn from.

    **Returns:** for `TwoLayerLinear` of width h > m + r, one of width m + r: gradient flow, and
    gradient descent with momentum, weight decay or minibatches (not Adam), never leave the row
    space of `Z = [V; Phi^T U]`, so with `Z = L Q` (Q orthonormal rows) the network
    `(U Q^T, V Q^T)` has the same product, loss, imbalance spectrum and distance to the min-norm
    solution at all times. Networks with no such reduction come back unchanged.
    """
    return network


@functools.singledispatch
def rotate(network: Any, data: Regression) -> Any:
    """The compressed network on `data.rotated()`: the same trajectory, without D - r inputs."""
    raise ValueError(
        f"A {type(network).__name__} has no rotated form: register one with networks.base.rotate."
    )
