import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import jaxflow as jf

SHAPE = {"samples": 80, "features": 40, "targets": 20}


def test_gaussian_shapes_and_default_dtype(key):
    data = jf.data.gaussian(key, **SHAPE)
    assert (data.X.shape, data.Y.shape, data.rank) == ((80, 40), (80, 20), 40)
    assert data.X.dtype == np.float64


def test_gaussian_entries(key):
    """Means and variances within five standard errors of N(0, scale^2)."""
    x = np.asarray(jf.data.gaussian(key, **SHAPE, scale=0.3).X) / 0.3
    assert abs(x.mean()) < 5 * x.size**-0.5
    assert abs((x**2).mean() - 1) < 5 * (2 / x.size) ** 0.5
    assert abs((x**4).mean() - 3) < 5 * (96 / x.size) ** 0.5


def test_gaussian_teacher(key):
    """Without noise Y is exactly linear in X, and its entries are about N(0, |x|^2 / D)."""
    data = jf.data.gaussian(key, **SHAPE, noise=0.0)
    assert data.optimal_loss < 1e-24
    teacher = np.asarray(data.min_norm) * 40**0.5
    assert abs((teacher**2).mean() - 1) < 5 * (2 / teacher.size) ** 0.5


def test_gaussian_noise(key):
    """2 L* / noise^2 is chi-squared with (n - D) m degrees of freedom."""
    noise, freedom = 0.2, (80 - 40) * 20
    data = jf.data.gaussian(key, **SHAPE, noise=noise)
    statistic = 2 * float(data.optimal_loss) / noise**2
    assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize(("n", "D"), [(6, 9), (9, 6)])
def test_whitening(key, n, D):
    for data in (
        jf.data.gaussian(key, samples=n, features=D, whiten=True),
        jf.data.whitened(jf.data.gaussian(key, samples=n, features=D)),
    ):
        assert data.rank == min(n, D)
        assert_allclose(data.singular_values, 1.0, atol=1e-13)


def test_whitened_keeps_targets_and_span(key):
    raw = jf.data.spectrum(key, 6, 9, singular_values=[3.0, 1.0, 0.5])
    data = jf.data.whitened(raw)
    assert data.rank == 3
    assert_allclose(data.Y, raw.Y)
    assert_allclose(data.right @ data.right.T, raw.right @ raw.right.T, atol=1e-13)
    assert_allclose(data.optimal_loss, raw.optimal_loss, atol=1e-14)


@pytest.mark.parametrize(("n", "D"), [(6, 9), (9, 6)])
@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8])
def test_spectrum_condition(key, n, D, condition):
    data = jf.data.spectrum(key, n, D, condition=condition)
    assert_allclose(data.condition, condition, rtol=1e-8)
    s = np.asarray(data.singular_values)
    assert_allclose(s[0], 1.0)
    assert_allclose(s[1:] / s[:-1], (s[-1] / s[0]) ** (1 / 5), rtol=1e-8)


def test_spectrum_singular_values(key):
    data = jf.data.spectrum(key, 6, 9, singular_values=[0.5, 2.0, 1.0])
    assert data.rank == 3
    assert_allclose(data.singular_values, [2.0, 1.0, 0.5], rtol=1e-12)
    assert jf.data.spectrum(key, 6, 9, singular_values=np.ones(1)).rank == 1


def test_orthonormal_is_haar(key):
    """Orthonormal columns, and first moments of the Haar measure: no preferred sign."""
    draws = jax.vmap(lambda k: jf.data.orthonormal(k, 4, 3))(jax.random.split(key, 2000))
    gram = jnp.einsum("kij,kil->kjl", draws, draws)
    assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=1e-13)
    assert np.abs(draws.mean(0)).max() < 5 * (0.25 / 2000) ** 0.5
    # E q^2 = 1/4 and Var q^2 = 2 (d - 1) / (d^2 (d + 2)) with d = 4.
    assert np.abs((draws**2).mean(0) - 0.25).max() < 5 * (6 / 96 / 2000) ** 0.5


def test_orthonormal_dtype(key):
    assert jf.data.orthonormal(key, 4, 3, jnp.float32).dtype == np.float32


def test_same_key_same_data(key):
    first, again = (jf.data.gaussian(key, **SHAPE) for _ in range(2))
    other = jf.data.gaussian(jax.random.key(1), **SHAPE)
    assert np.array_equal(first.X, again.X)
    assert np.array_equal(first.Y, again.Y)
    assert not np.array_equal(first.X, other.X)


def test_refuses(key):
    for name in ("samples", "features", "targets"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            jf.data.gaussian(key, **{name: 0})
    with pytest.raises(ValueError, match="exactly one of condition and singular_values"):
        jf.data.spectrum(key)
    with pytest.raises(ValueError, match="exactly one of condition and singular_values"):
        jf.data.spectrum(key, condition=2.0, singular_values=[1.0])
    with pytest.raises(ValueError, match=r"at least 1 and finite, got 0\.5"):
        jf.data.spectrum(key, condition=0.5)
    for bad in ([1.0, 0.0], [1.0, -1.0], [1.0] * 4, [[1.0]], [np.nan], [np.inf]):
        with pytest.raises(ValueError, match="= 3 positive numbers"):
            jf.data.spectrum(key, 3, 5, singular_values=bad)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="condition must be at least 1"):
            jf.data.spectrum(key, condition=bad)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"samples": 1.5}, "samples must be a plain integer, got 1.5"),
        ({"targets": "x"}, "targets must be a plain integer, got 'x'"),
        ({"noise": "x"}, "noise must be zero or positive, and finite, got 'x'"),
        ({"noise": -1.0}, "noise must be zero or positive"),
        ({"scale": 0.0}, r"scale must be positive and finite, got 0\.0"),
        ({"whiten": np.ones(2)}, "whiten must be True or False"),
    ],
)
def test_arguments_of_the_wrong_kind_get_a_sentence(key, changes, match, unchecked):
    with pytest.raises(ValueError, match=match):
        jf.data.gaussian(key, **changes)
    with pytest.raises(ValueError, match=r"data must be a jf\.Regression"):
        jf.data.whitened(3)
