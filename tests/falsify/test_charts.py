from typing import Any, NamedTuple

import equinox as eqx
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


class Drawn(NamedTuple):
    c: dict[str, Any]  # the coordinates
    network: Any
    data: jf.Regression
    product: Any
    residual: Any
    imbalance: Any  # its eigenvalues, or the imbalances of the layers of a deep network
    gradient: dict[str, Any]  # of a function of network and data, by the coordinates


@eqx.filter_jit
def _drawn(chart, size, seed):
    c = chart.sample(jr.key(seed), Size(*size))

    def value(c):
        network, data = chart(c, Size(*size))
        return jnp.sum(network.product**2) + jnp.sum(data.targets)

    network, data = chart(c, Size(*size))
    deep = isinstance(network, jf.DeepLinear)
    found = layer_imbalances(network) if deep else imbalance(network, data).eigenvalues
    residual = data.Y - jax.vmap(network)(data.X)
    return Drawn(c, network, data, network.product, residual, found, jax.grad(value)(c))


def drawn(chart, size, seed):
    """A network and its data at random coordinates: one compiled program for each chart."""
    return jax.tree.map(np.asarray, _drawn(chart, tuple(size), np.int64(seed)))


def squares(*arrays):
    return sum(float(np.sum(array**2)) for array in arrays)


@pytest.mark.parametrize(("chart", "size"), charts)
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_the_residual_is_a_coordinate(chart, size, seed):
    found = drawn(chart, size, seed)
    data, E = found.data, found.c["E"]
    assert (data.rank, data.outputs, data.features) == (
        size.rank,
        size.outputs,
        size.rank + size.off_span,
    )
    scale = np.abs(data.Y).max() + np.abs(E).max()
    np.testing.assert_allclose(found.residual, E, atol=1e-13 * scale)
    if chart.isotropic:
        np.testing.assert_array_equal(data.singular_values, 1)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_balanced(seed):
    found = drawn(*charts[1], seed)
    np.testing.assert_allclose(found.imbalance, 0, atol=1e-13 * squares(found.network.V))
    assert np.linalg.matrix_rank(found.network.V) == 2


@pytest.mark.parametrize("sign", [1, -1])
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_lambda_balanced(sign, seed):
    found = drawn(*charts[2 if sign > 0 else 3], seed)
    values = found.imbalance[: found.network.width]
    size = squares(found.network.V, found.network.U)
    np.testing.assert_allclose(values, sign * found.c["root"] ** 2, atol=1e-12 * size)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_prescribed(seed):
    found = drawn(*charts[4], seed)
    expected = np.sort(np.r_[found.c["plus"] ** 2, -(found.c["minus"] ** 2)])[::-1]
    size = squares(found.network.V, found.network.U)
    np.testing.assert_allclose(found.imbalance, expected, atol=1e-12 * size)
    p = np.sort(np.abs(found.c["p"]))[::-1]
    values = np.linalg.svd(found.product, compute_uv=False)
    np.testing.assert_allclose(values, p, atol=1e-12 * size)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_deep_balanced(seed):
    found = drawn(*charts[6], seed)
    np.testing.assert_allclose(found.imbalance, 0, atol=1e-13 * squares(found.network.last))


@pytest.mark.parametrize(("chart", "size"), charts)
def test_derivatives_exist(chart, size):
    found = drawn(chart, size, 1)
    assert set(found.gradient) == set(found.c)
    for leaf in found.gradient.values():
        assert np.all(np.isfinite(leaf))


def test_sizes_are_those_that_exist():
    assert all(s.width <= s.rank for s in jf.charts.LambdaBalanced().sizes())
    assert all(s.width == s.rank + s.outputs for s in jf.charts.Prescribed().sizes())
    totals = [s.rank + s.outputs + s.width for s in jf.charts.Free().sizes()]
    assert totals == sorted(totals)
    assert len(totals) > 20


def test_data_of_a_spectrum():
    spectrum, targets = np.array([2.0, 0.5]), np.ones((2, 3))
    data = jax.jit(lambda s, Y: jf.Regression.of_spectrum(s, Y, features=4))(spectrum, targets)
    same = jf.Regression(data.X, data.Y)
    np.testing.assert_allclose(data.singular_values, same.singular_values)
    np.testing.assert_allclose(data.min_norm, same.min_norm, atol=1e-15)
    with pytest.raises(ValueError, match="at least 2 features"):
        jf.Regression.of_spectrum(jnp.asarray(spectrum), jnp.asarray(targets), features=1)
