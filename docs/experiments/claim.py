"""A claim of one's own about MLPs of 10-h-h-1: judge it by `jaxflow verify claim.py`."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import jaxflow as jf
from jaxflow.claims import Paper, at_least, presets

X = np.random.default_rng(0).normal(size=(20, 10))
data = jf.Regression(X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2])
mine = Paper("mine", "a conjecture", provenance="derived")


def law(key, data, *, width):
    return eqx.nn.MLP(10, 1, width, 2, activation=jnp.tanh, key=key)


def plan(seeds):
    return jf.Sweep(data, law, widths=[32], seeds=seeds, t1=2.0)


@mine.claim(
    "log((L(0) - L*) / (L(2) - L*)) >= {fall:g}",
    hypotheses="tanh, two hidden layers of 32 units, Equinox's initialization; 20 samples",
    settings=presets(plan, quick=20, paper=200, large=2000),
    moves="fall",
)
def decay(dataset, fall=4.5):
    log_fall = dataset.log_excess_start - dataset.log_excess_end
    return at_least("fall", log_fall.values.ravel(), fall, dataset=dataset)
