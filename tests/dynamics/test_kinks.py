"""Stalls at kinks are recognized, and nothing else is taken for one."""

import equinox as eqx
import jax.random as jr
import numpy as np
import pytest

import jaxflow as jf
from jaxflow.networks.activations import ReLU

X = np.random.default_rng(0).normal(size=(12, 3))
DATA = jf.Regression(X, np.sin(X @ np.random.default_rng(1).normal(size=(3, 1))))
OPTIONS = {"until": jf.until.loss_ratio(1e-4), "max_steps": 4000, "solver": "explicit"}


def deep(key):
    return eqx.nn.MLP(3, 1, 16, 2, key=key)  # with relu, its default


def test_a_stall_ends_the_solve():
    found = jf.gradient_flow(deep(jr.key(3)), DATA, formulation="parameters", **OPTIONS)
    assert found.result == jf.Result.stalled
    assert found.stats["steps"] < 600
    assert 0.02 < found.t1 < 0.03
    with pytest.raises(RuntimeError, match=r"jf.smoothed.*formulation='filippov'"):
        found.check()


def test_stalls_in_a_sweep():
    sweep = jf.Sweep(DATA, lambda key, data: deep(key), seeds=4, **OPTIONS)
    found = jf.run(sweep)
    assert (found.status == jf.Result.stalled).all()
    assert found.steps.max() < 3000


def stiff(steps):
    """A network whose units are active, on data of condition number 1e4, with its stop."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(6, 2)) @ np.linalg.qr(rng.normal(size=(2, 2)))[0] * np.array([1, 0.01])
    data = jf.Regression(x, x @ np.array([[1.0], [1.0]]) + 5)
    network = jf.ShallowNetwork(
        rng.normal(size=(4, 2)), np.full(4, 3.0), np.ones((1, 4)), activation=ReLU()
    )
    return network, data


def test_stiffness_is_no_stall():
    network, data = stiff(2000)
    options = {"t1": 150.0, "solver": "explicit", "formulation": "residual", "rtol": 1e-6}
    found = jf.gradient_flow(network, data, **options)
    assert found.stats["steps"] > 2000
    assert found.result == jf.Result.finished


def test_kinks_that_are_passed_are_no_stall():
    # From far away: units are switched on and off, and none of them slides for long.
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 2))
    data = jf.Regression(x, 3 * np.abs(x[:, :1]) + x[:, 1:])
    network = jf.ShallowNetwork(
        rng.normal(size=(30, 2)),
        rng.normal(size=30),
        rng.normal(size=(1, 30)) / 6,
        activation=ReLU(),
    )
    found = jf.gradient_flow(
        network, data, t1=0.3, solver="explicit", formulation="residual", rtol=1e-5, max_steps=9000
    )
    assert found.result == jf.Result.finished
