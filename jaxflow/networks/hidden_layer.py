"""Networks of one hidden layer whose activation has a single kink, seen from outside."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from .activations import LeakyReLU, ReLU
from .adopt import bare
from .shallow import ShallowNetwork
from .smoothing import tabulated


class HiddenLayer(NamedTuple):
    """Where the hidden layer is, and how its activation is replaced.

    **Attributes:** the `activation`; `parameters(network)`, the matrix (h, D) and the biases (h,)
    or None; and `replaced(network, gate)`, the network with `gate` as its activation, which is
    given the h preactivations of a sample.
    """

    activation: Any
    parameters: Callable[[Any], tuple[Any, Any]]
    replaced: Callable[[Any, Any], Any]


class Gate(eqx.Module):
    """`gain z + shift`, unit by unit: what an activation is on one side of its kink."""

    gain: Float[Array, "*units"]
    shift: Float[Array, "*units"]

    def __call__(self, z: Any) -> Any:
        return self.gain * z + self.shift


@functools.singledispatch
def hidden_layer(network: Any) -> HiddenLayer | None:
    """The one hidden layer of a network of a known kind; None for any other."""
    return None


@hidden_layer.register
def _(network: ShallowNetwork) -> HiddenLayer:
    def replaced(network: Any, gate: Any) -> Any:
        activation = network.activation
        return eqx.tree_at(
            lambda n: n.activation, network, gate, is_leaf=lambda node: node is activation
        )

    return HiddenLayer(network.activation, lambda network: (network.W, network.b), replaced)


@hidden_layer.register
def _(network: eqx.nn.MLP) -> HiddenLayer | None:
    def replaced(network: Any, gate: Any) -> Any:
        by_layer = jax.tree.map(lambda leaf: leaf[None], gate)
        return eqx.tree_at(lambda n: n.activation, network, by_layer, is_leaf=lambda n: n is phi)

    phi = network.activation
    layers = lambda network: network.layers[0]  # noqa: E731
    if network.depth != 1:
        return None
    return HiddenLayer(
        phi, lambda network: (layers(network).weight, layers(network).bias), replaced
    )


def kink(network: Any) -> tuple[HiddenLayer, float] | None:
    """The hidden layer, and the slope a of an activation `max(z, 0) + a min(z, 0)` with a < 1.

    None for another activation, or a network that is not known to have one hidden layer.
    """
    layer = hidden_layer(bare(network))
    slope = None if layer is None else leak(layer.activation)
    return None if layer is None or slope is None else (layer, slope)


def leak(activation: Any) -> float | None:
    """a, if an activation is `max(z, 0) + a min(z, 0)` with a < 1, else None."""
    if isinstance(activation, ReLU):
        return 0.0 if activation.power == 1 and activation.smoothing == 0 else None
    if isinstance(activation, LeakyReLU):
        return activation.slope if activation.smoothing == 0 and activation.slope < 1 else None
    if any(map(eqx.is_array, jax.tree.leaves(activation))):
        return None  # it may be trained
    # A function is known by its values.
    sizes = np.geomspace(1e-30, 1e30, 61)
    z = np.concatenate([[0.0], sizes, -sizes])
    try:
        f = tabulated(activation, z)
    except Exception:
        return None
    zero, slopes = f[0], f[1:] / z[1:]
    constant = np.ptp(slopes[61:]) <= 1e-6 and np.ptp(slopes[:61]) == 0
    if not (constant and slopes[0] == 1 and zero == 0 and slopes[-1] < 1):
        return None
    return float(slopes[-1])
