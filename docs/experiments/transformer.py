"""A block of two transformer layers finds the largest of 16 tokens."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxflow as jf

X = np.random.default_rng(0).normal(size=(12, 16))
data = jf.Regression(X, X.max(axis=1))


class Transformer(eqx.Module):
    embed: jax.Array
    layers: list
    activation: object

    def __call__(self, x):
        h = x[:, None] * self.embed[0] + self.embed[1:]  # a token's value and its place
        for attention, mlp in self.layers:
            h = h + attention(h, h, h)
            h = h + jax.vmap(mlp)(h)
        return jnp.mean(h)


def law(key, data, *, width, activation):
    keys = jr.split(key, 5)
    attend = [eqx.nn.MultiheadAttention(2, width, key=k) for k in keys[:2]]
    think = [eqx.nn.MLP(width, width, width, 1, activation=activation, key=k) for k in keys[2:4]]
    embed = jr.normal(keys[4], (17, width)) / width**0.5
    return Transformer(embed, list(zip(attend, think, strict=True)), activation)


grid = {"width": [4, 8], "activation": {"tanh": jnp.tanh, "gelu": jax.nn.gelu}}
sweep = jf.Sweep(data, law, over=grid, seeds=20, until=jf.until.loss_ratio(0.1))
