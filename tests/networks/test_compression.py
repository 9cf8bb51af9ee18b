import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose

import jaxflow as jf
from jaxflow import init


def problem(samples=5, features=7, targets=2, width=40, law=None, seed=0):
    data = jf.data.gaussian(jr.key(seed), samples=samples, features=features, targets=targets)
    law = law or init.Gaussian(scale=(0.3, 0.5))
    return data, law(jr.key(seed + 1), data, width=width)


def spectrum(net, data):
    """Eigenvalues of the imbalance, formed densely, and |U2 V^T|."""
    U, V, Phi = map(np.asarray, (net.U, net.V, data.right))
    U1 = Phi.T @ U
    off_span = (U - Phi @ U1) @ V.T
    return np.linalg.eigvalsh(U1.T @ U1 - V.T @ V), np.linalg.norm(off_span)


def descend(net, data, steps=200, rate=5e-3, momentum=0.0, decay=0.0, batch=None):
    """Gradient descent in plain numpy; the products along the way."""
    X, Y = np.asarray(data.X), np.asarray(data.Y)
    U, V = np.asarray(net.U), np.asarray(net.V)
    dU, dV = np.zeros_like(U), np.zeros_like(V)
    rng, products = np.random.default_rng(0), []
    for _ in range(steps):
        rows = slice(None) if batch is None else rng.choice(len(X), batch, replace=False)
        slope = X[rows].T @ (X[rows] @ U @ V.T - Y[rows])
        dU = momentum * dU + slope @ V + decay * U
        dV = momentum * dV + slope.T @ U + decay * V
        U, V = U - rate * dU, V - rate * dV
        products.append(U @ V.T)
    return np.array(products)


# Samples, features, targets, width: one of each, more features, more samples, a narrow network.
shapes = st.sampled_from([(1, 1, 1, 3), (4, 6, 3, 25), (6, 3, 4, 20), (5, 6, 2, 4)])


@settings(max_examples=12)
@given(shapes, st.integers(0, 1000))
def test_keeps_product_imbalance_and_features_off_the_span(shape, seed):
    samples, features, targets, width = shape
    rng = np.random.default_rng(seed)
    data = jf.Regression(rng.normal(size=(samples, features)), rng.normal(size=(samples, targets)))
    U, V = rng.normal(size=(features, width)), rng.normal(size=(targets, width))
    net = jf.TwoLayerLinear(jnp.asarray(U), jnp.asarray(V))
    small = jf.compress(net, data)
    assert isinstance(small, jf.TwoLayerLinear)
    assert small.width == min(width, data.outputs + data.rank)
    assert_allclose(small.product, net.product, atol=1e-12 * width)
    before, off_before = spectrum(net, data)
    after, off_after = spectrum(small, data)
    # The narrow imbalance has the same eigenvalues, less width - (m + r) zeros.
    padded = np.sort(np.concatenate([after, np.zeros(width - small.width)]))
    assert_allclose(padded, before, atol=1e-12 * width)
    assert_allclose(off_after, off_before, atol=1e-12 * width)


@pytest.mark.parametrize(
    "law",
    [init.Gaussian(0.4), init.Balanced(), init.Spectral((0.5, 0.5)), init.Orthogonal(0.4)],
    ids=lambda law: type(law).__name__,
)
def test_same_trajectory(law):
    data, net = problem(law=law)
    wide, narrow = descend(net, data), descend(jf.compress(net, data), data)
    assert np.linalg.norm(wide[-1] - wide[0]) > 0.1
    assert_allclose(narrow, wide, atol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [{"momentum": 0.9, "rate": 1e-3}, {"decay": 0.1}, {"batch": 2}],
    ids=["momentum", "weight decay", "minibatches"],
)
@pytest.mark.parametrize(("samples", "features"), [(5, 7), (9, 4)])
def test_same_trajectory_under_other_descents(settings, samples, features):
    data, net = problem(samples, features)
    wide, narrow = descend(net, data, **settings), descend(jf.compress(net, data), data, **settings)
    assert np.linalg.norm(wide[-1] - wide[0]) > 0.1
    assert_allclose(narrow, wide, atol=1e-12)


def test_same_trajectory_on_rank_deficient_data():
    data = jf.data.spectrum(jr.key(0), 6, 8, 3, singular_values=[2.0, 1.0])
    net = init.Gaussian()(jr.key(1), data, width=30)
    small = jf.compress(net, data)
    assert small.width == 5
    assert_allclose(descend(small, data), descend(net, data), atol=1e-12)


def test_rank_deficient_weights():
    """Fewer independent rows than m + r: still m + r wide, still exact."""
    data, net = problem()
    for flat in (
        eqx.tree_at(lambda net: net.V, net, net.V * 0),
        eqx.tree_at(lambda net: net.U, net, net.U[:1] * np.ones((7, 1))),
    ):
        small = jf.compress(flat, data)
        assert small.width == 7
        assert_allclose(descend(small, data), descend(flat, data), atol=1e-12)


@pytest.mark.parametrize("width", [1, 6, 7])
def test_narrow_networks_come_back_unchanged(width):
    data, net = problem(width=width)
    assert jf.compress(net, data) is net


def test_other_modules_come_back_unchanged(key):
    data, _ = problem()
    mlp = eqx.nn.MLP(7, 2, 4, 1, key=key)
    assert jf.compress(mlp, data) is mlp


def test_is_idempotent_and_keeps_dtype():
    data, net = problem()
    small = jf.compress(net, data)
    assert jf.compress(small, data) is small
    narrow = jf.Regression(np.asarray(data.X, np.float32), np.asarray(data.Y, np.float32))
    drawn = init.Gaussian()(jr.key(0), narrow, width=40)
    assert jf.compress(drawn, narrow).U.dtype == np.float32


def test_under_jit_and_vmap():
    data, _ = problem()
    law = init.Gaussian(0.4)
    keys = jr.split(jr.key(3), 4)

    @jax.jit
    @jax.vmap
    def both(key):
        net = law(key, data, width=40)
        return net.product, jf.compress(net, data)

    products, small = both(keys)
    assert small.U.shape == (4, 7, 7)
    for i in range(4):
        assert_allclose(small.U[i] @ small.V[i].T, products[i], atol=1e-13)
