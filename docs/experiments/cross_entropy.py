"""An MLP with a cross-entropy of one's own on three classes of handwritten digits."""

import equinox as eqx
import jax
import jax.numpy as jnp
from sklearn.datasets import load_digits

import jaxflow as jf

images, digits = load_digits(n_class=3, return_X_y=True)
data = jf.Regression(images[:60] / 16, jax.nn.one_hot(digits[:60], 3))


def law(key, data, *, width, activation):
    return eqx.nn.MLP(64, 3, width, 1, activation=activation, key=key)


def cross_entropy(logits, classes):
    return -jnp.mean(jnp.sum(classes * jax.nn.log_softmax(logits), axis=1))


def accuracy(network, data):
    return jnp.mean(jnp.argmax(jax.vmap(network)(data.X), 1) == jnp.argmax(data.Y, 1))


grid = {"width": [8, 32], "activation": {"tanh": jnp.tanh, "gelu": jax.nn.gelu}}
measures = [jf.measures.at_end("accuracy", accuracy)]
sweep = jf.Sweep(data, law, over=grid, seeds=20, t1=20.0, loss=cross_entropy, measures=measures)
