"""Stalls at kinks are recognized, and nothing else is taken for one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxflow as jf
from jaxflow.dynamics.status import Call, explained
from jaxflow.networks.activations import ReLU

X = np.random.default_rng(0).normal(size=(12, 3))
DATA = jf.Regression(X, np.sin(X @ np.random.default_rng(1).normal(size=(3, 1))))


def test_stalls_end_the_solve():
    options = {"until": jf.until.loss_ratio(1e-4), "max_steps": 4000, "formulation": "parameters"}

    @eqx.filter_jit
    @jax.vmap
    def solved(key):
        network = eqx.nn.MLP(3, 1, 16, 2, key=key)  # with relu, its default
        found = jf.gradient_flow(network, DATA, **options)
        return found.status, found.stats["steps"], found.t1

    status, steps, t1 = solved(jnp.stack([jr.key(0), jr.key(1), jr.key(3)]))
    assert (status == jf.Result.stalled).all()
    assert steps.max() < 2000
    assert steps.min() < 500
    assert t1.max() < 0.2  # where descent gets to only later
    said = explained(jf.Result.stalled, Call("gradient_flow", kinks=True))
    assert "jf.smoothed(network, 1e-3)" in said
    assert "formulation='filippov'" in said


def stiff():
    """A network whose units are all active, on data of condition number 1e4."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(6, 2)) @ np.linalg.qr(rng.normal(size=(2, 2)))[0] * np.array([1, 0.01])
    data = jf.Regression(x, x @ np.array([[1.0], [1.0]]) + 5)
    network = jf.ShallowNetwork(
        rng.normal(size=(4, 2)), np.full(4, 3.0), np.ones((1, 4)), activation=ReLU()
    )
    return network, data


def test_stiffness_is_no_stall():
    network, data = stiff()
    options = {"t1": 150.0, "solver": "explicit", "formulation": "residual", "rtol": 1e-6}
    found = jf.gradient_flow(network, data, **options)
    assert found.stats["steps"] > 2000
    assert found.result == jf.Result.finished


def test_kinks_that_are_passed_are_no_stall():
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
        network, data, t1=0.1, solver="explicit", formulation="residual", rtol=1e-5, max_steps=9000
    )
    assert found.result == jf.Result.finished
    before, after = (
        np.asarray(data.X) @ np.asarray(n.W).T + np.asarray(n.b) > 0
        for n in (network, found.network)
    )
    assert np.sum(before != after) > 20
