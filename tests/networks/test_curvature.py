"""Leading eigenpairs of Hessians against dense ones, on every family of networks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxflow as jf
from jaxflow import theory
from jaxflow.networks.activations import Tanh
from jaxflow.networks.edge import network_edge

FAMILIES = {
    "two layers": lambda key, data: jf.init.Gaussian()(key, data, width=7),
    "deep": lambda key, data: jf.init.DeepGaussian()(key, data, width=5, depth=4),
    "diagonal": lambda key, data: jf.init.Diagonal(0.3, 3.0)(key, data),
    "shallow": lambda key, data: jf.init.Shallow(
        activation=Tanh(), antisymmetric=False, parametrization="ntk"
    )(key, data, width=30),
    "equinox": lambda key, data: eqx.nn.MLP(data.features, 1, 6, 2, jnp.tanh, key=key),
}


@pytest.fixture(scope="module")
def data():
    return jf.data.gaussian(jr.key(3), 8, 5, 1)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("k", [1, 3])
def test_leading_eigenpairs_are_those_of_the_matrix(name, k, data, key):
    network = FAMILIES[name](key, data)
    H = np.asarray(theory.hessian(network, data))
    levels = np.linalg.eigvalsh(H)[::-1]
    found = theory.hessian_eigenpairs(network, data, k)
    np.testing.assert_allclose(found.values, levels[:k], rtol=1e-8, atol=1e-8 * levels[0])
    U = np.asarray(found.vectors)
    np.testing.assert_allclose(U.T @ U, np.eye(k), atol=1e-8)
    np.testing.assert_allclose(H @ U, U * np.asarray(found.values), atol=2e-5 * levels[0])
    np.testing.assert_allclose(theory.sharpness(network, data), levels[0], rtol=1e-8)


def test_a_warm_start_is_cheap_and_no_trap(data, key):
    network = FAMILIES["shallow"](key, data)
    cold = theory.hessian_eigenpairs(network, data, 2)
    moved = cold.vectors + 1e-4 * jr.normal(key, cold.vectors.shape)
    warm = theory.hessian_eigenpairs(network, data, 2, start=moved, steps=5)
    np.testing.assert_allclose(warm.values, cold.values, rtol=1e-8)
    assert warm.products == 25  # four directions, five steps and the start; one look
    # After a crossing the start is orthogonal to what is looked for.
    third = theory.hessian_eigenpairs(network, data, 4).vectors[:, 2:]
    crossed = theory.hessian_eigenpairs(network, data, 2, start=third)
    np.testing.assert_allclose(crossed.values, cold.values, rtol=1e-8)


def test_the_gradient_of_an_eigenvalue(data, key):
    network = FAMILIES["two layers"](key, data)
    parameters, rest = eqx.partition(network, eqx.is_inexact_array)
    flat, unravel = jax.flatten_util.ravel_pytree(parameters)

    def S(p):
        return jnp.linalg.eigvalsh(theory.hessian(eqx.combine(unravel(p), rest), data))[-1]

    edge = network_edge(network, data)[1]
    value, slope = edge.values[0], edge.third[0, 0]
    np.testing.assert_allclose(value, S(flat), rtol=1e-10)
    np.testing.assert_allclose(slope, jax.grad(S)(flat), atol=1e-7 * jnp.linalg.norm(slope))


def test_what_self_stabilization_is_made_of(data, key):
    network = FAMILIES["two layers"](key, data)
    parameters, rest = eqx.partition(network, eqx.is_inexact_array)
    flat, unravel = jax.flatten_util.ravel_pytree(parameters)

    def loss(p):
        found = jax.vmap(eqx.combine(unravel(p), rest))(data.X)
        return 0.5 * jnp.sum((found - data.Y) ** 2)

    H = jax.hessian(loss)
    vectors = jnp.linalg.eigh(H(flat))[1]
    u = vectors[:, -1]
    slope = jax.grad(lambda p: u @ H(p) @ u)(flat)
    found = theory.self_stabilization(network, data, 0.01)
    alpha, beta = -jax.grad(loss)(flat) @ slope, slope @ slope - (u @ slope) ** 2
    np.testing.assert_allclose(abs(found.vector @ u), 1, rtol=1e-9)
    np.testing.assert_allclose([found.alpha, found.beta], [alpha, beta], rtol=1e-6)
    np.testing.assert_allclose(found.epsilon, 0.01 * max(alpha, 0) ** 0.5, rtol=1e-6)
    np.testing.assert_allclose(found.delta, (2 * max(alpha, 0) / beta) ** 0.5, rtol=1e-6)


def test_bad_numbers_of_eigenpairs(data, key):
    network = FAMILIES["two layers"](key, data)
    for k in (0, 1000):
        with pytest.raises(ValueError, match=r"number of parameters|at least 1"):
            theory.hessian_eigenpairs(network, data, k)


def test_weights_that_have_diverged_cost_one_look(data, key):
    network = FAMILIES["two layers"](key, data)
    for scale in (jnp.nan, 1e200):
        lost = jax.tree.map(lambda x, s=scale: s * x, network)
        found = theory.hessian_eigenpairs(lost, data, 2)
        assert jnp.isnan(found.values).all()
        assert found.products < 20
