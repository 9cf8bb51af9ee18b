"""Width is free: the exact reduction of a two-layer linear network to width m + r."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..data import Regression
from .base import best_fit, compress, rotate
from .two_layer_linear import TwoLayerLinear, fits, span_factors, stack


@compress.register
def _(network: TwoLayerLinear, data: Regression) -> TwoLayerLinear:
    Z = stack(*span_factors(network, data))
    if network.width <= Z.shape[-2]:
        return network
    Q = jnp.linalg.qr(Z.T)[0]
    return TwoLayerLinear(network.U @ Q, network.V @ Q)


@rotate.register
def _(network: TwoLayerLinear, data: Regression) -> TwoLayerLinear:
    # The first r features are Phi^T U; the others hold a factor of the Gram matrix of what is off
    # the span, so that the norm of U2 V^T is kept at all times, and with it every distance.
    V, U1 = span_factors(network, data)
    _, s, Vt = jnp.linalg.svd(network.U - data.right @ U1, full_matrices=False)
    return on_rotated(V, U1, s[:, None] * Vt, data)


def on_rotated(
    V: Float[Array, "m h"], U1: Float[Array, "r h"], R: Float[Array, "k h"], data: Regression
) -> TwoLayerLinear:
    """The network on `data.rotated()` with `U1` on the span, and R, of whatever rows, beside it."""
    rest = data.rotated().features - data.rank
    R = R[:rest]  # of no higher rank
    return TwoLayerLinear(jnp.concatenate([U1, jnp.pad(R, ((0, rest - len(R)), (0, 0)))]), V)


@best_fit.register
def _(network: TwoLayerLinear, data: Regression):
    fits(network, data)
    return data.best_fit
