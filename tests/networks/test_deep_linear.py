import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from hypothesis import given, settings, strategies as st

import jaxflow as jf
from jaxflow.theory import imbalance, layer_imbalances

seeds = st.integers(0, 2**31)
DATA = jf.data.gaussian(jr.key(0), 4, 7, 2)
WIDTH, TS = 20, [0.01, 0.1, 1.0]  # of all flows here: one program for each depth
LAWS = [
    jf.init.DeepGaussian(),
    jf.init.DeepOrthogonal(),
    jf.init.DeepBalanced(),
    jf.init.DeepBalanced(0.2, aligned=True),
]


@settings(max_examples=20, deadline=None)
@given(seed=seeds, depth=st.integers(2, 5))
def test_is_the_product_of_its_layers(seed, depth):
    rng = np.random.default_rng(seed)
    widths = [3, *[2 + i % 3 for i in range(depth - 1)], 2]
    layers = [rng.normal(size=(widths[i + 1], widths[i])) for i in range(depth)]
    network = jf.DeepLinear.of(layers, scale=0.7)
    product = 0.7**depth * np.linalg.multi_dot(layers[::-1])
    np.testing.assert_allclose(network.product, product.T, atol=1e-13 * np.abs(product).max())
    x = rng.normal(size=3)
    np.testing.assert_allclose(network(jnp.asarray(x)), product @ x, rtol=1e-10, atol=1e-12)
    assert (network.depth, network.width) == (depth, max(widths[1:-1]))
    assert len(network.layers) == depth


def test_two_layers_are_the_two_layer_network():
    two = jf.init.Gaussian(0.5)(jr.key(1), DATA, width=WIDTH)
    deep = jf.DeepLinear.of([two.U.T, two.V])
    a = jf.gradient_flow(two, DATA, ts=TS, rtol=1e-10)
    b = jf.gradient_flow(deep, DATA, ts=TS, rtol=1e-10)
    np.testing.assert_allclose(a.log_excess, b.log_excess, atol=1e-7)
    np.testing.assert_allclose(a.network.product, b.network.product, atol=1e-8)


@eqx.filter_jit
def gradient_of_the_square(network):
    return jax.grad(lambda n: jnp.sum(jax.vmap(n)(DATA.X) ** 2))(network)


@pytest.mark.parametrize("law", LAWS)
def test_stays_in_range_at_depth_700(law):
    network = law(jr.key(2), DATA, width=12, depth=700)
    assert network.depth == 700
    assert np.all(np.isfinite(network.product))
    assert float(jnp.linalg.norm(network.product)) > 1e-300
    gradient = gradient_of_the_square(network)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_gaussian_layers_in_the_mean():
    draw = jax.vmap(lambda k: jf.init.DeepGaussian()(k, DATA, width=6, depth=3).product)
    square = np.asarray(draw(jr.split(jr.key(3), 4000))) ** 2
    # E f(x)^2 = |x|^2 / m for every output.
    error = square.std(axis=0) / np.sqrt(len(square))
    assert np.all(np.abs(square.mean(axis=0) - 1 / DATA.outputs) < 4.5 * error)


@pytest.mark.parametrize("width", [5, 7, 12])
def test_orthogonal_layers(width):
    network = jf.init.DeepOrthogonal()(jr.key(4), DATA, width=width, depth=4)
    eye = np.eye(width)
    for W in np.asarray(network.hidden):
        np.testing.assert_allclose(W.T @ W, width * eye, atol=1e-12 * width)
    first, last = np.asarray(network.first), np.asarray(network.last)
    np.testing.assert_allclose(last @ last.T, width * np.eye(2), atol=1e-11)
    if width >= 7:
        np.testing.assert_allclose(first.T @ first, width * np.eye(7), atol=1e-11)
    else:
        np.testing.assert_allclose(first @ first.T, 7 * eye, atol=1e-11)
    with pytest.raises(ValueError, match="at least 2"):
        jf.init.DeepOrthogonal()(jr.key(4), DATA, width=1, depth=4)


def reduced(network, data):
    """The reduction of orthogonal networks, by hand."""
    h, first, last = network.width, np.asarray(network.first), np.asarray(network.last)
    back = last.T
    for W in np.asarray(network.hidden)[::-1]:
        back = W.T @ back
    frames = [np.linalg.qr(np.concatenate([first @ np.asarray(data.right), back], axis=1))[0]]
    for W in np.asarray(network.hidden):
        frames.append(W @ frames[-1] / np.sqrt(h))
    k = frames[0].shape[1]
    hidden = np.sqrt(h) * np.broadcast_to(np.eye(k), (network.depth - 2, k, k))
    return frames[0].T @ first, hidden, last @ frames[-1]


def padded(first, hidden, last, scale):
    """With zeros up to the width that all flows here share, and one program with it."""
    more = (0, WIDTH - len(first))
    return jf.DeepLinear(
        jnp.asarray(np.pad(first, (more, (0, 0)))),
        jnp.asarray(np.pad(hidden, ((0, 0), more, more))),
        jnp.asarray(np.pad(last, ((0, 0), more))),
        scale,
    )


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_width_is_free_for_orthogonal_layers(depth):
    network = jf.init.DeepOrthogonal()(jr.key(5), DATA, width=WIDTH, depth=depth)
    layers = reduced(network, DATA)
    assert len(layers[0]) == DATA.rank + DATA.outputs
    small = padded(*layers, network.scale)
    a = jf.gradient_flow(network, DATA, ts=TS, rtol=1e-10)
    b = jf.gradient_flow(small, DATA, ts=TS, rtol=1e-10)
    np.testing.assert_allclose(a.log_excess, b.log_excess, atol=1e-7)
    np.testing.assert_allclose(a.network.product, b.network.product, atol=1e-8)
    a, b = (
        jf.gradient_descent(n, DATA, optax.sgd, learning_rate=1e-3, steps=300)
        for n in (network, small)
    )
    np.testing.assert_allclose(a.log_excess, b.log_excess, atol=1e-10)


def test_the_reduced_law_is_the_law():
    law, count = jf.init.DeepOrthogonal(), 3000

    def statistics(network):
        product = DATA.right.T @ network.product
        return jnp.stack([jnp.sum(product**2), jnp.sum(product**4), product[0, 0] ** 2])

    def mean(draw, seed):
        keys = jr.split(jr.key(seed), count)
        found = jax.vmap(lambda k: statistics(draw(k, DATA, width=9, depth=4)))(keys)
        return np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(count)

    (a, ea), (b, eb) = mean(law, 6), mean(law.compressed, 7)
    assert np.all(np.abs(a - b) < 4.5 * np.hypot(ea, eb))


@pytest.mark.parametrize("aligned", [False, True])
def test_balanced_layers(aligned):
    law = jf.init.DeepBalanced(0.3, aligned=aligned)
    network = law(jr.key(8), DATA, width=5, depth=4)
    np.testing.assert_allclose(layer_imbalances(network), 0, atol=1e-14)
    if aligned:
        np.testing.assert_allclose(jnp.linalg.svdvals(network.product), 0.3, rtol=1e-12)


def test_rotated_inputs_keep_the_trajectory():
    network = jf.init.DeepGaussian()(jr.key(9), DATA, width=WIDTH, depth=3)
    turned = jf.networks.base.rotate(network, DATA)
    assert turned.first.shape[1] == DATA.rotated().features
    a = jf.gradient_flow(network, DATA, ts=TS, rtol=1e-10)
    b = jf.gradient_flow(turned, DATA.rotated(), ts=TS, rtol=1e-10)
    np.testing.assert_allclose(a.log_excess, b.log_excess, atol=1e-8)
    np.testing.assert_allclose(
        jnp.linalg.norm(a.network.product), jnp.linalg.norm(b.network.product), rtol=1e-8
    )


def test_sweeps_over_depth():
    sweep = jf.Sweep(
        DATA,
        jf.init.DeepOrthogonal(),
        over={"width": [8, 50], "depth": [2, 4]},
        seeds=3,
        t1=0.5,
        measures=[jf.measures.LogExcess()],
    )
    dataset = jf.run(sweep)
    assert dataset["log_excess"].dims[:3] == ("width", "depth", "seed")
    assert np.all(dataset["status"] == 0)


def test_bad_shapes_are_refused():
    one = jnp.ones((2, 3))
    with pytest.raises(ValueError, match="at least two"):
        jf.DeepLinear.of([one])
    with pytest.raises(ValueError, match="chain"):
        jf.DeepLinear.of([one, one])
    with pytest.raises(ValueError, match="hidden layers of shape"):
        jf.DeepLinear(one, jnp.ones((1, 3, 3)), jnp.ones((1, 2)))
    network = jf.DeepLinear.of([one, jnp.ones((2, 2))])
    with pytest.raises(ValueError, match="7 features"):
        jf.gradient_flow(network, DATA, t1=1.0)
    with pytest.raises(ValueError, match="depth must be"):
        jf.init.DeepGaussian()(jr.key(0), DATA, width=3, depth=1)


# Prescribed imbalance and product, of two layers


@jax.jit
def prescribed(plus, minus, product, key):
    return jf.init.Prescribed(plus, minus, product)(key, DATA, width=9)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, sizes=st.sampled_from([(0, 0), (1, 2), (3, 0), (4, 2)]))
def test_prescribed(seed, sizes):
    rng, (k, l) = np.random.default_rng(seed), sizes
    plus, minus = rng.uniform(size=k), rng.uniform(size=l)
    product = np.asarray(DATA.right) @ rng.normal(size=(DATA.rank, 2))
    network = prescribed(*map(jnp.asarray, (plus, minus, product)), jr.key(seed))
    np.testing.assert_allclose(network.product, product, atol=1e-12)
    expected = np.sort(np.r_[np.zeros(6 - k - l), plus, -minus])[::-1]
    np.testing.assert_allclose(imbalance(network, DATA).eigenvalues, expected, atol=1e-12)


def test_prescribed_off_the_span_and_by_default():
    product = jr.normal(jr.key(1), (7, 2))
    law = jf.init.Prescribed([1.0, 0.5], [0.3, 0.2], product)
    np.testing.assert_allclose(law(jr.key(2), DATA, width=8).product, product, atol=1e-12)
    default = jf.init.Prescribed([1.0])(jr.key(2), DATA, width=8)
    np.testing.assert_allclose(default.product, DATA.min_norm, atol=1e-12)
    with pytest.raises(ValueError, match="At most r = 4"):
        jf.init.Prescribed(jnp.ones(5))(jr.key(2), DATA, width=9)
    with pytest.raises(ValueError, match="numbers >= 0"):
        jf.init.Prescribed([-1.0])
    with pytest.raises(ValueError, match="product must have shape"):
        jf.init.Prescribed([1.0], [], jnp.ones((2, 2)))(jr.key(2), DATA, width=9)
    with pytest.raises(ValueError, match="hidden unit"):
        jf.init.Prescribed([1.0, 1.0])(jr.key(2), DATA, width=1)
