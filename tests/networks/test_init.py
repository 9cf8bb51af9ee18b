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
from jaxflow.networks import span_factors

wide = jf.data.gaussian(jr.key(1), samples=5, features=9, targets=3)  # m < r < D
tall = jf.data.gaussian(jr.key(2), samples=8, features=2, targets=3)  # r = D < m
LAWS = [
    init.Gaussian(0.4),
    init.Gaussian(scale=(0.3, 2.0)),
    init.Balanced(init.Gaussian(0.4)),
    init.Spectral((0.3, 2.0)),
    init.Orthogonal(0.4),
    init.Orthogonal(scale=(0.3, 2.0)),
    init.LambdaBalanced(0.0, 0.5),
]


def name(law):
    return type(law).__name__


def parts(net, data):
    """`V`, `U1` on the span, and `U2 = U - Phi U1` off it."""
    V, U1 = map(np.asarray, span_factors(net, data))
    return V, U1, np.asarray(net.U) - np.asarray(data.right) @ U1


def imbalance(net, data):
    V, U1, _ = parts(net, data)
    return U1.T @ U1 - V.T @ V


def assert_normal(entries, scale):
    """Mean, variance and fourth moment of N(0, scale^2), each within five standard errors."""
    z = np.asarray(entries).ravel() / scale
    assert abs(z.mean()) < 5 * z.size**-0.5
    assert abs((z**2).mean() - 1) < 5 * (2 / z.size) ** 0.5
    assert abs((z**4).mean() - 3) < 5 * (96 / z.size) ** 0.5


# What every law owes.


@pytest.mark.parametrize("law", LAWS, ids=name)
@pytest.mark.parametrize("data", [wide, tall], ids=["wide", "tall"])
def test_every_law_draws_a_network_that_fits(law, data):
    net = law(jr.key(0), data, width=12)
    assert isinstance(net, jf.TwoLayerLinear)
    assert (net.U.shape, net.V.shape) == ((data.features, 12), (data.outputs, 12))
    assert net.U.dtype == net.V.dtype == np.float64
    assert np.isfinite(net.U).all()
    assert np.isfinite(net.V).all()
    again, other = law(jr.key(0), data, width=12), law(jr.key(1), data, width=12)
    assert np.array_equal(net.U, again.U)
    assert not np.array_equal(net.U, other.U)
    assert not np.array_equal(net.V, other.V)


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_every_law_follows_the_data_s_dtype(law):
    data = jf.Regression(np.asarray(wide.X, np.float32), np.asarray(wide.Y, np.float32))
    net = law(jr.key(0), data, width=12)
    assert net.U.dtype == net.V.dtype == np.float32


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_every_law_vmaps_over_keys(law):
    keys = jr.split(jr.key(3), 4)
    batch = jax.jit(jax.vmap(lambda key: law(key, wide, width=12)))(keys)
    for i in (0, 3):
        one = law(keys[i], wide, width=12)
        assert_allclose(batch.U[i] @ batch.V[i].T, one.product, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_every_law_takes_an_integer_seed(law):
    for draw in (law, law.compressed, law.rotated):
        a, b = (draw(key, wide, width=12) for key in (3, jr.key(3)))
        assert np.array_equal(a.U, b.U)
        assert np.array_equal(a.V, b.V)


@pytest.mark.parametrize(
    ("law", "settings"),
    [
        (init.Shallow(), {"width": 4}),
        (init.DeepGaussian(), {"width": 4, "depth": 3}),
        (init.DeepOrthogonal(), {"width": 4, "depth": 3}),
        (init.DeepBalanced(), {"width": 4, "depth": 3}),
        (init.Prescribed([1.0], [0.5]), {"width": 9}),
    ],
    ids=lambda value: name(value) if isinstance(value, init.Initialization) else "",
)
@pytest.mark.usefixtures("unchecked")
def test_keys_of_all_families(law, settings):
    a, b = (jax.tree.leaves(law(key, wide, **settings)) for key in (np.int64(3), jr.PRNGKey(3)))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    for bad in (-1, 0.5, "seed", None, jr.split(jr.key(0), 2)):
        with pytest.raises(ValueError, match=r"A key is jax\.random\.key\(0\), or a non-negative"):
            law(bad, wide, **settings)


@pytest.mark.parametrize("law", LAWS, ids=name)
@pytest.mark.parametrize("width", [0, -3, 1.5])
@pytest.mark.usefixtures("unchecked")
def test_every_law_refuses_a_width_that_is_none(law, width):
    with pytest.raises(ValueError, match="width must be"):
        law(jr.key(0), wide, width=width)


@pytest.mark.usefixtures("unchecked")
def test_refuses_a_traced_width():
    with pytest.raises(ValueError, match="width must be a plain integer"):
        jax.jit(lambda h: init.Gaussian()(jr.key(0), wide, width=h).U)(4)


# Gaussian.


@pytest.mark.parametrize(
    ("law", "su", "sv"),
    [
        (init.Gaussian(), 400**-0.5, 400**-0.5),
        (init.Gaussian(0.3), 400**-0.3, 400**-0.3),
        (init.Gaussian(alpha=0.5), 400**-0.5, 400**-0.5),
        (init.Gaussian(scale=(0.3, 2.0)), 0.3, 2.0),
        (init.Gaussian(scale=[0.3, 2.0]), 0.3, 2.0),
    ],
)
def test_gaussian_entries(law, su, sv):
    net = law(jr.key(0), wide, width=400)
    assert_normal(net.U, su)
    assert_normal(net.V, sv)
    assert_allclose(law.scales(400), (su, sv))
    # U and V are independent, and so are their columns.
    cross = np.asarray(net.V @ net.U.T) / (su * sv * 400**0.5)
    assert np.abs(cross).max() < 5
    columns = np.asarray(net.U[:, :200] * net.U[:, 200:]).mean() / su**2
    assert abs(columns) < 5 * (200 * wide.features) ** -0.5


def test_gaussian_alpha_may_be_traced_and_batched():
    def draw(alpha):
        return init.Gaussian(alpha=alpha)(jr.key(0), wide, width=12).U

    alphas = jnp.array([0.3, 0.4, 0.5])
    batch = jax.jit(jax.vmap(draw))(alphas)
    for alpha, U in zip(alphas, batch, strict=True):
        assert_allclose(U, draw(float(alpha)), rtol=1e-12)
    law = eqx.tree_at(lambda law: law.alpha, init.Gaussian(0.5), alphas)
    swept = eqx.filter_vmap(lambda law: law(jr.key(0), wide, width=12).U)(law)
    assert_allclose(swept, batch, rtol=1e-12)
    slope = jax.grad(lambda alpha: draw(alpha).sum())(0.4)
    assert_allclose(slope, -np.log(12) * draw(0.4).sum(), rtol=1e-12)


@pytest.mark.parametrize("law", [init.Gaussian, init.Orthogonal])
def test_scale_may_be_traced_and_batched(law):
    def draw(su):
        return law(scale=(su, 1.0))(jr.key(0), wide, width=12).U

    scales = jnp.array([1e-3, 0.2, 5.0])
    batch = jax.jit(jax.vmap(draw))(scales)
    for su, U in zip(scales, batch, strict=True):
        assert_allclose(U, draw(float(su)), rtol=1e-9, atol=1e-12 * su)


@pytest.mark.parametrize("law", [init.Gaussian, init.Orthogonal])
@pytest.mark.usefixtures("unchecked")
def test_refuses_sizes(law):
    for alpha in (0.25, 0.6, 0.0, -0.5, float("nan")):
        with pytest.raises(ValueError, match=r"alpha must lie in \(1/4, 1/2\].*scale=\(su, sv\)"):
            law(alpha)
    for scale in ((0.0, 1.0), (-1.0, 1.0), (float("inf"), 1.0), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="scale su must be positive and finite"):
            law(scale=scale)
        with pytest.raises(ValueError, match="scale sv must be positive and finite"):
            law(scale=scale[::-1])
    for scale in ((1.0,), (1.0, 1.0, 1.0), 1.0):
        with pytest.raises(ValueError, match=r"scale must be a pair \(su, sv\)"):
            law(scale=scale)
    with pytest.raises(ValueError, match="not both"):
        law(0.5, scale=(1.0, 1.0))
    with pytest.raises(ValueError, match=r"alpha must lie in \(1/4, 1/2\], got 'x'"):
        law("x")


@pytest.mark.usefixtures("unchecked")
def test_every_law_refuses_what_is_no_data(key):
    laws = [init.Gaussian(), init.Orthogonal(), init.Balanced(), init.Spectral(), init.Shallow()]
    for law in [*laws, init.LambdaBalanced(), init.Prescribed()]:
        with pytest.raises(ValueError, match=r"data must be a jf\.Regression"):
            law(key, np.eye(3), width=8)
    for law in (init.DeepGaussian(), init.DeepOrthogonal(), init.DeepBalanced()):
        with pytest.raises(ValueError, match=r"data must be a jf\.Regression"):
            law(key, np.eye(3), width=8, depth=3)
    with pytest.raises(ValueError, match=r"data must be a jf\.Regression"):
        init.Diagonal()(key, np.eye(3))
    with pytest.raises(ValueError, match=r"law must be a jf\.init.Gaussian, got 3"):
        init.Balanced(3)
    with pytest.raises(ValueError, match="weights must be a law, such as"):
        init.Shallow(weights=3)


# Balanced.


@pytest.mark.parametrize("width", [3, 12])
@pytest.mark.parametrize("law", [init.Gaussian(0.3), init.Gaussian(scale=(0.2, 3.0))])
def test_balanced_has_the_product_of_its_gaussian_draw(law, width):
    key = jr.key(5)
    net = init.Balanced(law)(key, wide, width=width)
    theta = law(jr.split(key)[0], wide, width=width).product
    size = float(jnp.linalg.norm(theta))
    assert_allclose(net.product, theta, atol=1e-12 * size)
    assert_allclose(imbalance(net, wide), 0.0, atol=1e-12 * size)


@pytest.mark.parametrize("width", [2, 12])
def test_balanced_keeps_the_product_on_the_span_where_m_exceeds_r(width):
    low_rank = jf.data.spectrum(jr.key(4), 5, 9, 3, singular_values=[2.0, 1.0])
    key = jr.key(5)
    for data in (tall, low_rank):
        net = init.Balanced()(key, data, width=width)
        theta = init.Gaussian()(jr.split(key)[0], data, width=width).product
        on_span = np.asarray(data.right.T @ theta)
        assert_allclose(data.right.T @ net.product, on_span, atol=1e-12)
        assert_allclose(imbalance(net, data), 0.0, atol=1e-12)
        # What is kept is the product on its own right singular directions.
        kept = np.linalg.pinv(on_span) @ on_span
        assert_allclose(net.product, theta @ kept, atol=1e-12)


def test_balanced_needs_as_many_units_as_modes():
    with pytest.raises(ValueError, match="width must be at least 3 here, got 2: a balanced"):
        init.Balanced()(jr.key(0), wide, width=2)
    with pytest.raises(ValueError, match="width must be at least 2 here, got 1"):
        init.Balanced()(jr.key(0), tall, width=1)


# Spectral.


@pytest.mark.parametrize("data", [wide, tall], ids=["wide", "tall"])
def test_spectral_is_aligned_with_the_targets(data):
    net = init.Spectral((0.3, 2.0))(jr.key(0), data, width=12)
    k = min(data.rank, data.outputs)
    A, _, Bt = np.linalg.svd(np.asarray(data.targets), full_matrices=False)
    V, U1, U2 = parts(net, data)
    assert_allclose(U2, 0.0, atol=1e-14)
    assert_allclose(U1 @ U1.T, 0.09 * A @ A.T, atol=1e-13)
    assert_allclose(V @ V.T, 4.0 * Bt.T @ Bt, atol=1e-13)
    # Every mode starts at u v = su sv, and no mode sees another.
    assert_allclose(A.T @ U1 @ V.T @ Bt.T, 0.6 * np.eye(k), atol=1e-13)


def test_spectral_refuses():
    with pytest.raises(ValueError, match="width must be at least 3 here, got 2: each of the"):
        init.Spectral()(jr.key(0), wide, width=2)
    with pytest.raises(ValueError, match="scale sv must be positive and finite"):
        init.Spectral((1.0, 0.0))


@pytest.mark.usefixtures("unchecked")
def test_spectral_refuses_what_is_not_a_pair():
    with pytest.raises(ValueError, match=r"scale must be a pair \(su, sv\)"):
        init.Spectral((1.0,))


# Orthogonal.


@pytest.mark.parametrize("width", [8, 12])
@pytest.mark.parametrize("scale", [(0.3, 2.0), (1e-6, 1.0)])
def test_orthogonal_is_in_the_invariant_set(width, scale):
    su, sv = scale
    net = init.Orthogonal(scale=scale)(jr.key(0), wide, width=width)
    V, U1, U2 = parts(net, wide)
    assert_allclose(V @ V.T, width * sv**2 * np.eye(3), atol=1e-12 * width * sv**2)
    assert_allclose(U1 @ U1.T, width * su**2 * np.eye(5), atol=1e-12 * width * su**2)
    assert_allclose(U1 @ V.T, 0.0, atol=1e-12 * width * su * sv)
    assert_allclose(V @ U2.T, 0.0, atol=1e-13 * width * su * sv)
    assert_allclose(U1 @ U2.T, 0.0, atol=1e-13 * width * su**2)


def test_orthogonal_features_off_the_span():
    """|U2|^2 / su^2 is chi-squared with (D - r)(h - m - r) degrees of freedom."""
    net = init.Orthogonal(0.3)(jr.key(1), wide, width=400)
    freedom = (9 - 5) * (400 - 3 - 5)
    statistic = np.sum(parts(net, wide)[2] ** 2) * 400**0.6
    assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5


def test_orthogonal_needs_m_plus_r_units():
    with pytest.raises(ValueError, match=r"at least 8 here, got 7: m \+ r = 8 orthogonal rows"):
        init.Orthogonal()(jr.key(0), wide, width=7)


# LambdaBalanced.


@settings(max_examples=15)
@given(
    lam=st.sampled_from([-3.0, -0.1, 0.0, 1e-3, 2.0]),
    scale=st.sampled_from([1e-2, 1.0, 5.0]),
    width=st.sampled_from([1, 2, 5, 12]),
    data=st.sampled_from([wide, tall]),
)
def test_lambda_balanced(lam, scale, width, data):
    m, r = data.outputs, data.rank
    law = init.LambdaBalanced(lam, scale)
    if (lam > 0 and width > r) or (lam < 0 and width > m):
        with pytest.raises(ValueError, match=f"needs h <= {r if lam > 0 else m} .*only lam = 0"):
            law(jr.key(0), data, width=width)
        return
    net = law(jr.key(0), data, width=width)
    size = abs(lam) + scale**2 * (m + r + width)
    assert_allclose(imbalance(net, data), lam * np.eye(width), atol=1e-13 * size)
    assert_allclose(parts(net, data)[2], 0.0, atol=1e-13 * size**0.5)


@pytest.mark.parametrize(("lam", "data"), [(0.0, wide), (0.0, tall), (1.0, wide), (-1.0, tall)])
def test_lambda_balanced_free_layer(lam, data):
    """The layer with fewer rows is normal; with lam > 0 it is V and with lam < 0 it is U1."""
    keys = jr.split(jr.key(0), 500)
    draw = init.LambdaBalanced(lam, 0.3)
    V, U1 = jax.jit(jax.vmap(lambda key: span_factors(draw(key, data, width=2), data)))(keys)
    v_is_free = lam > 0 or (lam == 0 and data is wide)
    assert_normal(V if v_is_free else U1, 0.3)


@pytest.mark.usefixtures("unchecked")
def test_lambda_balanced_refuses():
    for lam in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="lam must be a finite number"):
            init.LambdaBalanced(lam)
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="scale must be positive and finite"):
            init.LambdaBalanced(0.0, scale)
