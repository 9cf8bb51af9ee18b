"""Rounded kinks, wherever they stand in a program."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxflow as jf
from jaxflow.machine.identity import identity
from jaxflow.networks.activations import LeakyReLU, ReLU, Tanh
from jaxflow.networks.base import trainable
from jaxflow.networks.smoothing import has_kinks, kink_arguments

D = 0.01
Z = np.unique(np.concatenate([np.linspace(-8, 8, 161), np.linspace(-1.03, 1.03, 207), [5.995, 6]]))


@jax.custom_jvp
def own_relu(z):
    return jnp.maximum(z, 0)


own_relu.defjvp(lambda z, dz: (own_relu(*z), jnp.where(z[0] > 0, dz[0], 0)))


def prelu(z):
    return eqx.nn.PReLU(0.3)(z)


# Each with its kinks, and by how much the derivative grows at each.
KINKS = {
    "relu": (jax.nn.relu, {0: 1}),
    "own relu": (own_relu, {0: 1}),
    "abs": (jnp.abs, {0: 2}),
    "relu6": (jax.nn.relu6, {0: 1, 6: -1}),
    "hard_tanh": (jax.nn.hard_tanh, {-1: 1, 1: -1}),
    "leaky": (lambda z: jax.nn.leaky_relu(z, 0.2), {0: 0.8}),
    "clip": (lambda z: jnp.clip(z, -0.5, 0.7), {-0.5: 1, 0.7: -1}),
    "min": (lambda z: jnp.minimum(z, 0.3 - z), {0.15: -2}),
    "max": (lambda z: jnp.maximum(2 * z, 0.3 - z), {0.1: 3}),
    "where": (lambda z: jnp.where(jnp.less(0.25, z), 1.0, 4 * z), {0.25: -4}),
    "selu": (jax.nn.selu, {0: 1.0507009873554805 * (1 - 1.6732632423543772)}),
    "prelu": (prelu, {0: 0.7}),
    "scaled": (lambda z: 3 * jax.nn.relu(2 * z - 1), {0.5: 6}),
    "jitted": (jax.jit(lambda z: jax.jit(jax.nn.relu)(z) + z), {0: 1}),
}


@pytest.mark.parametrize("name", KINKS)
def test_the_kink_becomes_its_mean_over_shifts(name):
    f, kinks = KINKS[name]
    rounds = jf.smoothed(f, D)
    slope = 2 if name == "scaled" else 3 if name == "max" else 2 if name == "min" else 1
    change = np.zeros_like(Z)
    for at, jump in kinks.items():
        z = slope * (Z - at)  # the argument of the kink, in units of its own
        change += jump / slope * np.maximum(D - np.abs(z), 0) ** 2 / (4 * D)
    np.testing.assert_allclose(rounds(jnp.asarray(Z)), f(jnp.asarray(Z)) + change, atol=1e-14)
    assert has_kinks(f, jnp.asarray(Z))


def test_derivatives_are_continuous_and_right_at_the_kink():
    z = jnp.asarray([-D, -D / 2, 0.0, D / 2, D])
    for f in (jax.nn.relu, lambda z: jax.nn.leaky_relu(z, 0.0), ReLU(smoothing=D)):
        rounds = jf.smoothed(f, D)
        np.testing.assert_allclose(
            jax.vmap(jax.grad(rounds))(z), [0, 0.25, 0.5, 0.75, 1], atol=1e-12
        )
    grid = jnp.linspace(-2, 2, 20_001)
    for f, _ in KINKS.values():
        slopes = jax.vmap(jax.grad(jf.smoothed(f, D)))(grid)
        assert jnp.abs(jnp.diff(slopes)).max() < 0.25


SMOOTH = {
    "softmax": lambda z: jax.nn.softmax(z),
    "logsumexp": lambda z: jax.nn.logsumexp(z),
    "softplus": lambda z: jax.nn.softplus(z),
    "elu": lambda z: jax.nn.elu(z),
    "gelu": lambda z: jax.nn.gelu(z),
    "tanh": Tanh(),
    "pooling": lambda z: jnp.max(z.reshape(2, -1), axis=0),
    "jump": lambda z: jnp.sign(z) + jnp.where(z > 0.1, 1.0, 0.0),
    "guard": lambda z: jnp.where(z > 0, jnp.sqrt(jnp.where(z > 0, z, 1.0)), 0.0),
    "rounded": ReLU(smoothing=0.1),
    "integers": lambda z: z[jnp.maximum(jnp.arange(3) - 1, 0)],
}


@pytest.mark.parametrize("name", SMOOTH)
def test_nothing_else_is_touched(name):
    f, z = SMOOTH[name], jnp.linspace(-0.004, 0.11, 12)
    np.testing.assert_array_equal(jf.smoothed(f, D)(z), f(z))
    pull = lambda f: jax.grad(lambda z: jnp.sum(jnp.sin(f(z))))(z)  # noqa: E731
    np.testing.assert_allclose(pull(jf.smoothed(f, D)), pull(f), rtol=1e-12)
    assert not has_kinks(f, z)


def test_inside_of_loops_and_conditions():
    def looped(z):
        z, _ = jax.lax.scan(lambda z, _: (jax.nn.relu(z) - 0.1, None), z, length=2)
        return jax.lax.cond(z[0] < 9, jnp.abs, jnp.sin, z)

    def by_hand(z):
        rounds = ReLU(smoothing=D)
        for _ in range(2):
            z = rounds(z) - 0.1
        return rounds(z) + rounds(-z)

    z = jnp.linspace(-0.02, 0.25, 100)
    np.testing.assert_allclose(jax.jit(jf.smoothed(looped, D))(z), by_hand(z), atol=1e-14)
    assert has_kinks(looped, z)


def mlp(scan=False, activation=jax.nn.relu):
    return eqx.nn.MLP(3, 2, 5, 2, activation, scan=scan, key=jr.key(0))


@pytest.mark.parametrize("scan", [False, True])
def test_a_network(scan):
    rounds = eqx.filter_jit(jf.smoothed(mlp(scan), D))
    oracle = mlp(activation=ReLU(smoothing=D))
    X = jr.normal(jr.key(1), (6, 3))
    np.testing.assert_allclose(jax.vmap(rounds)(X), jax.vmap(oracle)(X), atol=1e-14)

    @eqx.filter_grad
    def gradient(network):
        return jnp.sum(jax.vmap(network)(X) ** 2)

    got = gradient(jf.smoothed(mlp(), D)).network
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(gradient(oracle)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    networks = eqx.filter_vmap(lambda key: jf.smoothed(eqx.nn.MLP(3, 2, 5, 2, key=key), D))(
        jr.split(jr.key(0), 3)
    )
    assert eqx.filter_vmap(lambda network: network(X[0]))(networks).shape == (3, 2)


def test_it_keeps_the_parameters_and_their_names():
    network = jf.smoothed(mlp(), D)
    assert network.layers[1].weight.shape == (5, 5)
    mask = trainable(network)
    assert jax.tree.structure(mask) == jax.tree.structure(network)
    data = jf.Regression(jr.normal(jr.key(1), (6, 3)), jr.normal(jr.key(2), (6, 2)))
    found = jf.gradient_flow(network, data, t1=0.1, where=lambda n: n.layers[-1]).check().network
    np.testing.assert_array_equal(found.layers[0].weight, network.layers[0].weight)
    assert (found.layers[2].weight != network.layers[2].weight).any()
    assert identity(network) == identity(jf.smoothed(mlp(), D))
    assert identity(network) != identity(jf.smoothed(mlp(), D / 2))
    with pytest.raises(AttributeError):
        _ = network.nothing


def test_a_shallow_network_stays_one():
    data = jf.Regression(np.linspace(-1, 1, 5)[:, None], np.ones((5, 1)))
    network = jf.init.Shallow(activation=LeakyReLU(0.1))(jr.key(0), data, width=4)
    assert jf.smoothed(network, D).activation == LeakyReLU(0.1, D)
    own = jf.init.Shallow(activation=jax.nn.relu)(jr.key(0), data, width=4)
    np.testing.assert_allclose(
        jax.vmap(jf.smoothed(own, D))(data.X),
        jax.vmap(jf.smoothed(jf.init.Shallow(activation=ReLU())(jr.key(0), data, width=4), D))(
            data.X
        ),
        atol=1e-14,
    )
    squared = jf.init.Shallow(activation=ReLU(2))(jr.key(0), data, width=4)
    assert jf.smoothed(squared).activation == ReLU(2)


def test_the_arguments_of_kinks():
    z = jnp.asarray([-1.0, 0.2])
    found = kink_arguments(lambda z: jax.nn.relu(z - 0.1) + jnp.clip(z, -2, 3), z)
    np.testing.assert_allclose(np.abs(found), np.abs([z - 0.1, z + 2, z - 3]))
    np.testing.assert_array_equal(kink_arguments(jax.nn.elu, z), [[1, 1]])
    assert kink_arguments(jnp.tanh, z) == []


@pytest.mark.parametrize("given", [(3, D), (jnp.abs, 0.0), (jnp.abs, -1.0), (jnp.abs, "a")])
def test_bad_input(given):
    with pytest.raises(ValueError, match="must be"):
        jf.smoothed(*given)
