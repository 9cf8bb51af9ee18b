"""A network of my own, and its gradient flow at two widths.

Run it: jaxflow run my_network.py --figure network.png
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import jaxflow as jf

data = jf.data.gaussian(jax.random.key(1), samples=8, features=3)


class Network(eqx.Module):
    """f(x) = a . tanh(W x): its parameters are its arrays, and it is called with one x."""

    W: jax.Array  # (width, D)
    a: jax.Array  # (m, width)

    def __call__(self, x):
        return self.a @ jnp.tanh(self.W @ x)


def law(key, data, *, width):
    """Draw a network: entries of W are N(0, 1/D), those of a N(0, 1/width)."""
    inner, outer = jax.random.split(key)
    W = jax.random.normal(inner, (width, data.features)) / data.features**0.5
    return Network(W, jax.random.normal(outer, (data.outputs, width)) / width**0.5)


def norm(network, data):
    """A quantity to follow along the way."""
    return jnp.linalg.norm(network.a)


# One flow is jf.gradient_flow(law(jax.random.key(0), data, width=64), data, t1=100.0).
widths = jf.Sweep(
    data,
    law,
    widths=[16, 64],
    seeds=16,
    t1=100.0,
    measures=[jf.measures.along("norm", norm), *jf.measures.curves()],
)
