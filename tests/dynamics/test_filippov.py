"""The exact flow of one hidden layer of ReLUs, along its kinks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from hypothesis import given, strategies as st
from scipy.optimize import lsq_linear

import jaxflow as jf
from jaxflow.dynamics.formulations import Filippov
from jaxflow.dynamics.formulations.filippov import OFF, ON, SLIDES
from jaxflow.networks.activations import LeakyReLU, ReLU
from jaxflow.networks.hidden_layer import leak

X = np.random.default_rng(0).normal(size=(6, 2))
DATA = jf.Regression(X, np.sin(X @ np.array([[0.9], [-1.3]])))
LOSS = jf.SquaredLoss()


def mlp(key, activation=jax.nn.relu):
    return eqx.nn.MLP(2, 1, 8, 1, activation, key=key)


def by_descent(network, data, end, rate=1e-3):
    """Descent with short steps, which goes to and fro at a kink."""
    return jf.gradient_descent(
        network, data, optax.sgd, learning_rate=rate, steps=round(end / rate), saves=2
    ).network


def values(network):
    return jax.vmap(network)(jnp.asarray(X))


# By hand: V is fixed, x_1 = (1, 0) wants less and x_2 = (1/2, 1) more. Where z_1 = 0 the flow
# slides as long as E_2 / 2, its multiplier, is in [0, 1], and there E_2' = -E_2.
CORNER = jf.Regression(np.array([[1.0, 0.0], [0.5, 1.0]]), np.array([-1.0, 3.0]))


def corner(w):
    return jf.ShallowNetwork(jnp.array([w]), np.zeros(1), np.ones((1, 1)), activation=ReLU())


def moved(w, solver, t):
    return jf.gradient_flow(
        corner(w), CORNER, t1=t, where=lambda network: network.W, solver=solver, rtol=1e-9
    )


@pytest.mark.parametrize("solver", ["explicit", "implicit"])
def test_a_kink_that_is_met_is_kept(solver):
    found = moved([0.0, 1.5], solver, 2.0)
    np.testing.assert_allclose(found.network.W, [[0, 3 - 1.5 * np.exp(-2.0)]], atol=1e-8)
    assert found.network.W[0, 0] == 0
    # From outside: z_1 falls to zero, after which the loss is 1/2 + E_2^2 / 2.
    found = moved([0.1, 2.0], solver, 3.0)
    assert found.network.W[0, 0] == 0
    np.testing.assert_allclose(moved([0.1, 2.0], solver, 30.0).loss[-1], 0.5, rtol=1e-7)


def test_a_kink_is_left_and_met_again():
    # With E_2 = 2.5 the multiplier would be 1.25: z_1 grows at first.
    early, late = (moved([0.0, 0.5], "explicit", t).network.W for t in (0.1, 5.0))
    A = np.array([[1.25, 0.5], [0.5, 1.0]])  # both active: w' = (-1, 0) + 3 x_2 - A w
    fixed = np.linalg.solve(A, np.array([0.5, 3.0]))
    level, basis = np.linalg.eigh(A)
    start = np.array([0.0, 0.5]) - fixed
    want = fixed + basis @ (np.exp(-0.1 * level) * (basis.T @ start))
    np.testing.assert_allclose(early[0], want, atol=1e-8)
    assert early[0, 0] > 0
    assert late[0, 0] == 0


def test_derivatives_along_a_kink():
    slope = jax.grad(lambda w2: moved([0.0, w2], "explicit", 2.0).network.W[0, 1])(1.5)
    assert slope == pytest.approx(np.exp(-2.0), rel=1e-6)


@eqx.filter_jit
def settled(form, g):
    """Modes, u and z' where every unit is at its kink at every sample."""
    modes = form.settled(jnp.zeros_like(g), g, jnp.zeros(g.shape, jnp.int8), g == g)
    return modes, *form.multipliers(g, modes)


FORMS = {
    slope: Filippov.build(mlp(jr.key(0), LeakyReLU(slope) if slope else ReLU()), DATA, LOSS)
    for slope in (0.0, 0.3)
}


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3]))
def test_the_velocity_is_the_shortest_that_is_admitted(seed, slope):
    rng = np.random.default_rng(seed)
    g = -np.exp(rng.normal(size=(6, 8)))
    modes, u, rates = map(np.asarray, settled(FORMS[slope], jnp.asarray(g)))
    inputs = np.c_[X, np.ones(6)]
    for i in range(8):
        bounds = (g[:, i], slope * g[:, i] + 1e-15)
        best = lsq_linear(inputs.T, np.zeros(3), bounds, method="bvls", tol=1e-14).x
        np.testing.assert_allclose(inputs.T @ u[:, i], inputs.T @ best, atol=1e-9)
    assert np.abs(np.where(modes == SLIDES, rates, 0)).max() < 1e-12
    assert np.where(modes == ON, rates, 0).min() > -1e-12
    assert np.where(modes == OFF, rates, 0).max() < 1e-12


@pytest.mark.parametrize("activation", [jax.nn.relu, lambda z: jax.nn.leaky_relu(z, 0.2)])
def test_it_is_the_limit_of_short_steps_and_of_rounded_kinks(activation):
    found, slid = {}, 0
    for seed in range(3):
        network = mlp(jr.key(seed), activation)
        exact = jf.gradient_flow(network, DATA, t1=4.0, formulation="filippov").check()
        found[seed] = values(exact.network)
        np.testing.assert_allclose(values(by_descent(network, DATA, 4.0)), found[seed], atol=4e-3)
        layer = exact.network.layers[0]
        slid += int(np.sum(np.abs(X @ np.asarray(layer.weight).T + np.asarray(layer.bias)) < 1e-14))
    assert slid > 0
    gaps = [
        np.abs(
            values(
                jf.gradient_flow(jf.smoothed(mlp(jr.key(0), activation), d), DATA, t1=4.0).network
            )
            - found[0]
        ).max()
        for d in (3e-2, 3e-3)
    ]
    assert gaps[1] < 0.4 * gaps[0] < 0.02


def test_a_sweep_takes_it_and_all_arrive():
    options = {"t1": 4.0, "solver": "explicit", "rtol": 1e-6, "max_steps": 3000}
    sweep = jf.Sweep(DATA, lambda key, data: mlp(key), seeds=6, **options)
    found = jf.run(sweep)
    assert (found.status == jf.Result.finished).all()
    key = sweep.cells[0].keys(sweep.key, 6)[2]
    alone = jf.gradient_flow(mlp(key), DATA, **options).check()
    np.testing.assert_allclose(found.log_excess_end.values.ravel()[2], alone.log_excess1, rtol=1e-6)


def test_small_balanced_networks_end_at_the_line():
    data = jf.Regression(np.array([[-0.75], [-0.5], [0.125]]), np.array([1.1, 0.1, 0.8]))
    W = 1e-4 * jr.normal(jr.key(1), (8, 2))
    V = jnp.linalg.norm(W, axis=1)[None] * jr.rademacher(jr.key(2), (1, 8), W.dtype)
    network = jf.ShallowNetwork(W[:, :1], W[:, 1], V, activation=ReLU())
    end = jf.gradient_flow(network, data, until=jf.until.gradient_norm(1e-5)).check()
    line = np.linalg.lstsq(np.c_[data.X, np.ones(3)], np.asarray(data.Y), rcond=None)[1]
    np.testing.assert_allclose(2 * end.loss[-1], line[0], rtol=1e-9)
    np.testing.assert_allclose(2 / 3 * end.loss[-1], 0.175042735, atol=1e-9)


def test_who_has_a_kink_at_zero():
    a = jf.activations
    assert leak(jax.nn.relu) == leak(a.ReLU()) == leak(lambda z: jnp.maximum(z, 0)) == 0
    assert leak(a.LeakyReLU(0.3)) == leak(lambda z: jax.nn.leaky_relu(z, 0.3)) == 0.3
    others = [a.ReLU(2), a.ReLU(smoothing=1e-3), a.Tanh(), jnp.tanh, jnp.abs, jax.nn.relu6]
    assert [leak(f) for f in [*others, jax.nn.softplus, lambda z: z, eqx.nn.PReLU()]].count(
        None
    ) == 8
    assert leak(jnp.abs) == -1


def test_other_networks_are_refused():
    deep = eqx.nn.MLP(2, 1, 8, 2, key=jr.key(0))
    for network in (deep, mlp(jr.key(0), jnp.tanh)):
        with pytest.raises(ValueError, match=r"filippov.*one hidden layer"):
            jf.gradient_flow(network, DATA, t1=1.0, formulation="filippov")
