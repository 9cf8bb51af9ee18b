import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from theory_oracles import dense_imbalance, draw, flow, problem

from jaxflow import theory
from jaxflow.networks import TwoLayerLinear, compress, init

# (r, m, D, h): h < r, h < m, h < both, m <= h < m + r, h = m + r, h > m + r.
SHAPES = [
    (4, 2, 6, 3),
    (2, 4, 5, 3),
    (3, 4, 5, 2),
    (1, 1, 3, 1),
    (3, 2, 3, 4),
    (3, 2, 5, 5),
    (3, 2, 5, 12),
    (2, 3, 4, 40),
    (5, 1, 7, 9),
]
imbalance = eqx.filter_jit(theory.imbalance)


@given(
    st.sampled_from(SHAPES),
    st.integers(0, 10**6),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
@settings(max_examples=80)
def test_spectrum_and_constants_are_those_of_the_dense_matrix(shape, seed, log_u, log_v):
    r, m, D, h = shape
    data = problem(r, m, D, seed=7)
    network = draw(data, h, np.exp(log_u), np.exp(log_v), seed)
    found, dense = imbalance(network, data), dense_imbalance(network, data)
    tolerance = 1e-13 * np.sum(np.abs(dense)) + 1e-15
    k = min(h, m + r)
    assert found.eigenvalues.shape == (k,)
    both = np.sort(np.concatenate([found.eigenvalues, np.zeros(h - k)]))[::-1]
    np.testing.assert_allclose(both, dense, atol=10 * tolerance, rtol=0)
    lambda_r = max(dense[r - 1], 0) if h >= r else 0
    lambda_m = max(-dense[::-1][m - 1], 0) if h >= m else 0
    assert abs(found.lambda_r - lambda_r) <= 10 * tolerance
    assert abs(found.lambda_m - lambda_m) <= 10 * tolerance
    assert abs(found.c - lambda_r - lambda_m) <= 20 * tolerance
    assert abs(found.spread_plus - (max(dense[0], 0) - lambda_r)) <= 20 * tolerance
    assert abs(found.spread_minus - (max(-dense[-1], 0) - lambda_m)) <= 20 * tolerance


def test_narrow_networks_have_no_such_eigenvalue():
    for r, m, D, h in SHAPES[:3]:
        data = problem(r, m, D)
        found = theory.imbalance(draw(data, h), data)
        assert h >= r or found.lambda_r == 0
        assert h >= m or found.lambda_m == 0
        assert found.largest_plus > 0 or found.largest_minus > 0


def test_needs_no_clipping_from_width_m_plus_r():
    data = problem(3, 2, 5)
    for h in (5, 6, 30):
        dense = dense_imbalance(network := draw(data, h, seed=h), data)
        assert dense[2] > 0 > dense[-2]
        np.testing.assert_allclose(theory.imbalance(network, data).c, dense[2] - dense[-2], 1e-12)


def test_compression_keeps_it():
    data = problem(3, 2, 5)
    network = draw(data, 200, 0.1, 0.2)
    wide, narrow = (theory.imbalance(net, data) for net in (network, compress(network, data)))
    np.testing.assert_allclose(wide.eigenvalues, narrow.eigenvalues, 1e-12)


@pytest.mark.parametrize("width", [2, 30])
def test_rounding_of_a_balanced_network_is_not_a_constant(key, width):
    data = problem(4, 2, 6)
    found = theory.imbalance(init.Balanced()(key, data, width=width), data)
    assert found.c == 0
    assert np.all(np.abs(found.eigenvalues) < 1e-14)


def test_small_constants_above_rounding_survive():
    data = problem(2, 1, 2, spectrum=[1, 1])
    U1 = np.array([[1.0, 0, 0], [0, 1e-6, 0]])
    network = TwoLayerLinear(data.right @ U1, jnp.array([[0.0, 0.0, 1e-5]]))
    np.testing.assert_allclose(theory.imbalance(network, data).c, 1e-12 + 1e-10, 1e-3)


def test_the_flow_conserves_it():
    data = problem(3, 2, 5)
    network = draw(data, 6, 0.5, 0.5)
    start = theory.imbalance(network, data).eigenvalues
    end = theory.imbalance(flow(network, data, 3.0)[-1], data).eigenvalues
    assert np.linalg.norm(start) > 1
    np.testing.assert_allclose(end, start, atol=1e-10)


def test_maps_over_networks_and_keeps_the_dtype():
    data = problem(3, 2, 5)
    networks = [draw(data, 9, seed=i) for i in range(4)]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *networks)
    mapped = jax.jit(jax.vmap(lambda net: theory.imbalance(net, data).c))(batch)
    np.testing.assert_allclose(mapped, [theory.imbalance(n, data).c for n in networks], 1e-12)
    single = jax.tree.map(lambda x: x.astype(jnp.float32), (networks[0], data))
    found = theory.imbalance(*single)
    assert found.c.dtype == found.eigenvalues.dtype == jnp.float32
    np.testing.assert_allclose(found.c, mapped[0], 1e-4)


def test_refuses_a_network_of_other_data():
    with pytest.raises(ValueError, match="5 features"):
        theory.imbalance(draw(problem(2, 2, 4), 3), problem(2, 2, 5))
