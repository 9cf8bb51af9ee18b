"""The exact reduction of a two-layer linear network to width m + r."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..data import Regression
from .base import best_fit, compressed, rotate
from .two_layer_linear import TwoLayerLinear, fits, span_factors, stack


@compressed.register
def _(network: TwoLayerLinear, data: Regression) -> TwoLayerLinear:
    Z = stack(*span_factors(network, data))
    if network.width <= Z.shape[-2]:
        return network
    Q = jnp.linalg.qr(Z.T)[0]
    return TwoLayerLinear(network.U @ Q, network.V @ Q)


@rotate.register
def _(network: TwoLayerLinear, data: Regression) -> TwoLayerLinear:
    # The first r inputs carry U1 = Phi^T U. The others carry R with R^T R = U2^T U2, U2 the part
    # of U off the span of the data: ||U2 V^T|| is then the same at all times.
    V, U1 = span_factors(network, data)
    _, s, Vt = jnp.linalg.svd(network.U - data.right @ U1, full_matrices=False)
    return on_rotated(V, U1, s[:, None] * Vt, data)


def on_rotated(
    V: Float[Array, "m h"], U1: Float[Array, "r h"], R: Float[Array, "k h"], data: Regression
) -> TwoLayerLinear:
    """The network for `data.rotated()` whose input weights are `U1` on the span and R off it."""
    rest = data.rotated().features - data.rank
    R = R[:rest]  # the rows beyond are zero
    return TwoLayerLinear(jnp.concatenate([U1, jnp.pad(R, ((0, rest - len(R)), (0, 0)))]), V)


@best_fit.register
def _(network: TwoLayerLinear, data: Regression):
    fits(network, data)
    return data.best_fit
