"""A small convolutional network tells handwritten 0 from 1, under the squared loss."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from sklearn.datasets import load_digits

import jaxflow as jf

images, digits = load_digits(n_class=2, return_X_y=True)
data = jf.Regression(images[:30] / 16, 2.0 * digits[:30] - 1)


class Convolutional(eqx.Module):
    layers: list

    def __init__(self, key, channels, activation):
        a, b = jr.split(key)
        pool = eqx.nn.AvgPool2d(2, 2)
        last = eqx.nn.Linear(9 * channels, "scalar", key=b)
        self.layers = [eqx.nn.Conv2d(1, channels, 3, key=a), activation, pool, jnp.ravel, last]

    def __call__(self, x):
        return eqx.nn.Sequential([eqx.nn.Lambda(f) for f in self.layers])(x.reshape(1, 8, 8))


def law(key, data, *, width, activation):
    return Convolutional(key, width, activation)


grid = {"width": [2, 4], "activation": {"tanh": jnp.tanh, "gelu": jax.nn.gelu}}
sweep = jf.Sweep(data, law, over=grid, seeds=20, until=jf.until.loss_ratio(1e-3))
