"""Flows that meet kinks: stalls are recognized, and nothing else is taken for one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxflow as jf
from jaxflow.networks.activations import ReLU

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))
DATA = jf.Regression(X, np.sin(X @ np.random.default_rng(1).normal(size=(3, 1))))


def mlp(key, depth=2):
    return eqx.nn.MLP(3, 1, 16, depth, key=key)  # with relu, its default


# Stalls


@pytest.mark.parametrize("options", [{"solver": "implicit"}, {"formulation": "parameters"}])
def test_a_stall_ends_the_solve(options):
    found = jf.gradient_flow(
        mlp(jr.key(3)), DATA, until=jf.until.loss_ratio(1e-4), max_steps=20_000, **options
    )
    assert found.result == jf.Result.stalled
    assert found.stats["steps"] < 600
    assert 0.02 < found.t1 < 0.03
    with pytest.raises(RuntimeError, match=r"jf.smoothed.*formulation='filippov'"):
        found.check()


def test_stalls_in_a_sweep():
    sweep = jf.Sweep(
        DATA,
        lambda key, data: mlp(key),
        seeds=6,
        until=jf.until.loss_ratio(1e-4),
        solver="explicit",
        max_steps=3000,
        retries=0,
    )
    status = jf.run(sweep).status.values
    assert (status == jf.Result.stalled).sum() >= 4


def test_rounded_kinks_do_not_stall():
    found = jf.gradient_flow(
        jf.smoothed(mlp(jr.key(3)), 1e-2), DATA, until=jf.until.loss_ratio(1e-2), rtol=1e-5
    )
    assert found.result == jf.Result.stopped


def stiff(activation):
    """A network in which every unit is active: linear, on data of condition number 1e4."""
    scales = np.array([1.0, 1e-4]) ** 0.5
    x = RNG.normal(size=(6, 2)) @ np.linalg.qr(RNG.normal(size=(2, 2)))[0] * scales
    data = jf.Regression(x, x @ np.array([[1.0], [1.0]]) + 5)
    network = jf.ShallowNetwork(
        RNG.normal(size=(4, 2)), np.full(4, 3.0), np.ones((1, 4)), activation=activation
    )
    return network, data


def test_stiffness_is_no_stall():
    network, data = stiff(ReLU())
    options = {"t1": 150.0, "solver": "explicit", "formulation": "residual", "rtol": 1e-6}
    found = jf.gradient_flow(network, data, **options)
    assert found.stats["steps"] > 2000
    assert found.result == jf.Result.finished
