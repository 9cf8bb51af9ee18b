import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import jaxflow as jf
from jaxflow.falsify.charts import Size
from jaxflow.theory import imbalance, layer_imbalances

seeds = st.integers(0, 2**31)
charts = [
    (jf.charts.Free(), Size(2, 3, 4, 2, 2)),
    (jf.charts.Balanced(), Size(2, 3, 4)),
    (jf.charts.LambdaBalanced(), Size(3, 2, 3)),
    (jf.charts.LambdaBalanced(positive=False), Size(2, 3, 2)),
    (jf.charts.Prescribed(), Size(2, 3, 5)),
    (jf.charts.DeepFree(), Size(2, 3, 2, 4)),
    (jf.charts.DeepBalanced(isotropic=True), Size(3, 2, 4, 4)),
]


def drawn(chart, size, seed):
    c = chart.sample(jr.key(seed), size)
    return c, *chart(c, size)


@pytest.mark.parametrize(("chart", "size"), charts)
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_the_residual_is_a_coordinate(chart, size, seed):
    c, network, data = drawn(chart, size, seed)
    assert (data.rank, data.outputs, data.features) == (
        size.rank,
        size.outputs,
        size.rank + size.off_span,
    )
    E = data.Y - jax.vmap(network)(data.X)
    scale = float(jnp.abs(data.Y).max() + jnp.abs(c["E"]).max())
    np.testing.assert_allclose(E, c["E"], atol=1e-13 * scale)
    if chart.isotropic:
        np.testing.assert_array_equal(data.singular_values, 1)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_balanced(seed):
    _, network, data = drawn(*charts[1], seed)
    size = float(jnp.sum(network.V**2))
    np.testing.assert_allclose(imbalance(network, data).eigenvalues, 0, atol=1e-13 * size)
    assert jnp.linalg.matrix_rank(network.V) == 2


@pytest.mark.parametrize("sign", [1, -1])
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_lambda_balanced(sign, seed):
    c, network, data = drawn(*charts[2 if sign > 0 else 3], seed)
    values = np.asarray(imbalance(network, data).eigenvalues)[: network.width]
    size = float(jnp.sum(network.V**2) + jnp.sum(network.U**2))
    np.testing.assert_allclose(values, sign * float(c["root"]) ** 2, atol=1e-12 * size)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_prescribed(seed):
    c, network, data = drawn(*charts[4], seed)
    expected = np.sort(np.r_[np.asarray(c["plus"]) ** 2, -(np.asarray(c["minus"]) ** 2)])[::-1]
    size = float(jnp.sum(network.V**2) + jnp.sum(network.U**2))
    np.testing.assert_allclose(imbalance(network, data).eigenvalues, expected, atol=1e-12 * size)
    p = np.sort(np.abs(np.asarray(c["p"])))[::-1]
    np.testing.assert_allclose(jnp.linalg.svdvals(network.product), p, atol=1e-12 * size)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_deep_balanced(seed):
    _, network, _ = drawn(*charts[6], seed)
    size = float(jnp.sum(network.last**2))
    np.testing.assert_allclose(layer_imbalances(network), 0, atol=1e-13 * size)


@pytest.mark.parametrize(("chart", "size"), charts)
def test_derivatives_exist(chart, size):
    c = chart.sample(jr.key(1), size)

    def value(c):
        network, data = chart(c, size)
        return jnp.sum(network.product**2) + jnp.sum(data.targets)

    for leaf in jax.tree.leaves(jax.grad(value)(c)):
        assert np.all(np.isfinite(leaf))


def test_sizes_are_those_that_exist():
    assert all(s.width <= s.rank for s in jf.charts.LambdaBalanced().sizes())
    assert all(s.width == s.rank + s.outputs for s in jf.charts.Prescribed().sizes())
    totals = [s.rank + s.outputs + s.width for s in jf.charts.Free().sizes()]
    assert totals == sorted(totals)
    assert len(totals) > 20


def test_data_of_a_spectrum():
    data = jf.Regression.of_spectrum(jnp.asarray([2.0, 0.5]), jnp.ones((2, 3)), features=4)
    same = jf.Regression(data.X, data.Y)
    np.testing.assert_allclose(data.singular_values, same.singular_values)
    np.testing.assert_allclose(data.min_norm, same.min_norm, atol=1e-15)
    with pytest.raises(ValueError, match="at least 2 features"):
        jf.Regression.of_spectrum(jnp.asarray([2.0, 0.5]), jnp.ones((2, 3)), features=1)
