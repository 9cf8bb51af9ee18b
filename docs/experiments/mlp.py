"""MLPs of 10-h-h-1 learn a nonlinear function: how far the tangent kernel moves, by width."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jaxflow as jf

X = np.random.default_rng(0).normal(size=(20, 10))
data = jf.Regression(X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2])


def law(key, data, *, width, activation):
    return eqx.nn.MLP(10, 1, width, 2, activation=activation, key=key)


sweep = jf.Sweep(
    data,
    law,
    over={"width": [16, 32], "activation": {"tanh": jnp.tanh, "gelu": jax.nn.gelu}},
    seeds=20,
    until=jf.until.loss_ratio(1e-3),
    measures=[jf.measures.KernelMovement()],
)
