"""Width is free: the exact reduction of a two-layer linear network to width m + r."""

import jax.numpy as jnp

from ..data import Regression
from .base import best_fit, compress
from .two_layer_linear import TwoLayerLinear, fits, span_factors, stack


@compress.register
def _(network: TwoLayerLinear, data: Regression) -> TwoLayerLinear:
    Z = stack(*span_factors(network, data))
    if network.width <= Z.shape[-2]:
        return network
    Q = jnp.linalg.qr(Z.T)[0]
    return TwoLayerLinear(network.U @ Q, network.V @ Q)


@best_fit.register
def _(network: TwoLayerLinear, data: Regression):
    fits(network, data)
    return data.best_fit
