import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow as jf
from jaxflow import networks

U = np.arange(12.0).reshape(3, 4)
V = np.arange(8.0).reshape(2, 4) - 3


def network():
    return jf.TwoLayerLinear(jnp.asarray(U), jnp.asarray(V))


def test_is_the_linear_predictor_of_its_product():
    net, x = network(), jnp.array([1.0, -2.0, 0.5])
    assert net.width == 4
    assert_allclose(net.product, U @ V.T)
    assert_allclose(net(x), V @ U.T @ np.asarray(x))
    assert_allclose(net(x), net.product.T @ x)
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))
    assert_allclose(jax.vmap(net)(xs), xs @ net.product, rtol=1e-12, atol=1e-12)


def test_keeps_its_dtype():
    net = jf.TwoLayerLinear(jnp.asarray(U, jnp.float32), jnp.asarray(V, jnp.float32))
    assert net.product.dtype == net(jnp.ones(3, jnp.float32)).dtype == jnp.float32


def test_both_layers_are_trainable():
    net = network()
    for mask in (net.trainable(), networks.trainable(net)):
        assert jax.tree.leaves(mask) == [True, True]
        assert jax.tree.structure(mask) == jax.tree.structure(net)
    moving, still = eqx.partition(net, net.trainable())
    assert jax.tree.leaves(still) == []
    assert len(jax.tree.leaves(moving)) == 2


def test_any_module_is_trainable(key):
    mlp = eqx.nn.MLP(3, 2, 4, 1, key=key)
    mask = networks.trainable(mlp)
    assert len(jax.tree.leaves(eqx.filter(mlp, mask))) == 4


def test_span_factors_are_what_the_data_reaches(key):
    data = jf.Regression(np.array([[1.0, 0.0, 1.0], [2.0, 0.0, 2.0]]), np.ones((2, 2)))
    V1, U1 = networks.span_factors(network(), data)
    assert U1.shape == (1, 4)
    assert_allclose(V1, V)
    assert_allclose(np.abs(U1), np.abs(U[0] + U[2])[None] / 2**0.5)
    Z = networks.stack(V1, U1)
    assert Z.shape == (3, 4)
    assert_allclose(Z[:2], V1)
    assert_allclose(Z[2:], U1)


def test_best_fit_of_a_linear_network_and_of_any_other(key):
    data = jf.data.gaussian(key, samples=6, features=3, targets=2, noise=1.0)
    assert_allclose(networks.best_fit(network(), data), data.best_fit)
    assert_allclose(networks.best_fit(eqx.nn.MLP(3, 2, 4, 1, key=key), data), data.Y)


@pytest.mark.parametrize(
    ("u_shape", "v_shape"), [((3, 4), (2, 5)), ((3, 0), (2, 0)), ((3,), (2, 3)), ((3, 4), (4,))]
)
@pytest.mark.usefixtures("unchecked")
def test_refuses_shapes(u_shape, v_shape):
    with pytest.raises(ValueError, match="one and the same width h >= 1"):
        jf.TwoLayerLinear(jnp.ones(u_shape), jnp.ones(v_shape))


@pytest.mark.parametrize(("features", "targets"), [(4, 2), (3, 1)])
def test_refuses_data_of_another_shape(key, features, targets):
    data = jf.data.gaussian(key, samples=5, features=features, targets=targets)
    for use in (networks.span_factors, jf.compress):
        with pytest.raises(ValueError, match=r"maps R\^3 to R\^2.*init\(key, data, width="):
            use(network(), data)


def test_batches_of_networks():
    draw = jax.random.normal(jax.random.key(0), (5, 3, 4))
    batch = jax.vmap(lambda U: jf.TwoLayerLinear(U, jnp.asarray(V)))(draw)
    assert batch.U.shape == (5, 3, 4)
    assert batch.width == 4
    assert_allclose(jax.vmap(lambda net: net.product)(batch), draw @ V.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "args", "match"),
    [
        (jf.TwoLayerLinear, ("x", np.ones((1, 3))), "U must hold real numbers, got 'x'"),
        (jf.TwoLayerLinear, (np.ones(3), np.ones((1, 3))), r"needs U of shape \(D, h\)"),
        (jf.DeepLinear, (["x"], np.ones((1, 3, 3)), np.ones((1, 3))), "first must hold real"),
        (jf.DeepLinear.of, (sum,), "layers must be a list of matrices, got sum"),
        (jf.DeepLinear.of, ([1.0, 2.0],), "Layers must chain"),
        (jf.DiagonalLinear, ("x", [1.0]), "u must hold real numbers, got 'x'"),
        (jf.ShallowNetwork, (np.ones((3, 1)), "x", np.ones((1, 3))), "b must hold real numbers"),
        (jf.ShallowNetwork, ((), np.ones(3), np.ones((1, 3))), r"needs W of shape \(h, D\)"),
    ],
)
def test_networks_are_made_of_arrays(make, args, match, unchecked):
    with pytest.raises(ValueError, match=match):
        make(*args)


def test_lists_are_arrays_and_scales_have_a_shape(unchecked):
    network = jf.DeepLinear([[1.0, 2.0]], np.zeros((0, 1, 1)), [[3.0]])
    assert network(jnp.ones(2)).tolist() == [9.0]
    with pytest.raises(ValueError, match="scale must be one number, or one per unit"):
        jf.ShallowNetwork(np.ones((3, 1)), np.ones(3), np.ones((1, 3)), scale=np.ones(2))
