import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy.linalg import null_space
from theory_oracles import draw, flow, problem

from jaxflow import theory
from jaxflow.data import Regression, gaussian, whitened
from jaxflow.networks import TwoLayerLinear, init


def distance(network, data):
    return np.linalg.norm(network.product - data.min_norm)


def test_overlap_is_that_of_a_basis_of_the_null_space():
    data = problem(3, 2, 7)
    network = draw(data, 5)
    U, V = np.asarray(network.U), np.asarray(network.V)
    null = null_space(np.asarray(data.X))
    U2, U1 = null.T @ U, np.asarray(data.right).T @ U
    overlap = theory.off_span_overlap(network, data)
    assert overlap.shape == (5, 7)
    np.testing.assert_allclose(overlap @ null, np.vstack([V @ U2.T, U1 @ U2.T]), atol=1e-12)
    np.testing.assert_allclose(overlap @ data.right, 0, atol=1e-12)
    found = theory.min_norm_condition(network, data)
    np.testing.assert_allclose(found.outputs, np.linalg.norm(V @ U2.T))
    np.testing.assert_allclose(found.inputs, np.linalg.norm(U1 @ U2.T))
    np.testing.assert_allclose(found.overlap, np.linalg.norm(overlap))
    size = np.linalg.norm(np.vstack([V, U1])) * np.linalg.norm(U2)
    np.testing.assert_allclose(found.relative, found.overlap / size)
    assert 0.01 < found.relative < 1


def test_orthogonal_networks_meet_the_condition_and_end_at_the_min_norm_solution(key):
    data = problem(2, 1, 4)
    network = init.Orthogonal()(key, data, width=6)
    assert theory.min_norm_condition(network, data).relative < 1e-14
    assert np.linalg.norm(network.U - data.right @ (data.right.T @ network.U)) > 0.1
    end = flow(network, data, 40.0)[-1]
    assert distance(end, data) < 1e-8
    np.testing.assert_allclose(theory.limit_product(end, data), data.min_norm, atol=1e-9)


def test_half_of_the_condition_is_not_enough():
    data = problem(2, 1, 4)
    other = null_space(np.asarray(data.X))[:, :1]
    # U2 only on the first unit, V only on the second, U1 on both.
    U = np.asarray(data.right) @ np.ones((2, 2)) + other @ [[1.0, 0.0]]
    network = TwoLayerLinear(jnp.asarray(U), jnp.array([[0.0, 1.0]]))
    found = theory.min_norm_condition(network, data)
    assert found.outputs < 1e-14
    assert found.inputs > 1
    assert distance(flow(network, data, 60.0)[-1], data) > 1e-2


def test_limit_product_is_where_the_flow_ends():
    data = problem(3, 2, 6)
    network = draw(data, 7, 0.5, 0.6)
    end = flow(network, data, 80.0)[-1]
    limit = theory.limit_product(end, data)
    assert distance(end, data) > 0.1
    np.testing.assert_allclose(limit, end.product, atol=1e-7)
    np.testing.assert_allclose(
        np.linalg.norm(limit - data.min_norm), theory.min_norm_condition(end, data).outputs, 1e-9
    )


def printed(data, h, alpha, delta, corrected):
    """Theorem 2 and lemma 1 at 40 digits."""
    mpmath.mp.dps = 40
    mp = mpmath.mpf
    h, alpha, delta = mp(h), mp(alpha), mp(delta)
    m, r, D = data.outputs, data.rank, data.features
    lam_1, lam_r = (mp(float(data.singular_values[i])) ** 2 for i in (0, -1))
    log = mpmath.log(2 / delta)
    q = mpmath.sqrt(m + D) + (mpmath.sqrt(2 * log) if corrected else log / 2)
    second = (lam_1 / lam_r) ** 2 if corrected else lam_1 / lam_r**3
    lemma = 16 * q**2
    h0 = max(lemma, 4 * second * m * q**2)
    C = mpmath.exp(1 + mpmath.sqrt(lam_1) / lam_r * mp(float(jnp.linalg.norm(data.Y))))
    size = 2 * q / h ** (2 * alpha - mp(1) / 2)
    return {
        "bound": C ** (1 / h ** (1 - 2 * alpha)) * mpmath.sqrt(m + r) * size,
        "least_width": h0 ** (1 / (4 * alpha - 1)),
        "lemma_width": lemma,
        "level": h ** (1 - 2 * alpha),
        "overlap": mpmath.sqrt(m + r) * size,
        "product": mpmath.sqrt(m) * size,
    }


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("alpha", [0.5, 0.4, 0.26])
def test_theorem_2_as_printed_and_as_corrected(alpha, corrected):
    for data in (problem(3, 2, 6), problem(3, 2, 6, spectrum=[3.0, 2.0, 0.2])):
        for h, delta in ((500, 0.01), (10**9, 0.3)):
            found = theory.bias_bound(data, h, alpha=alpha, delta=delta, corrected=corrected)
            for name, value in printed(data, h, alpha, delta, corrected).items():
                np.testing.assert_allclose(getattr(found, name), float(value), rtol=1e-10)


def test_logarithms_survive_where_the_numbers_do_not():
    data = problem(3, 1, 6, spectrum=[10.0, 1.0, 1e-3])
    found = theory.bias_bound(data, 500, alpha=0.2505, corrected=True)
    assert found.least_width == np.inf
    exact = printed(data, 500, 0.2505, 0.01, True)
    np.testing.assert_allclose(found.log_least_width, float(mpmath.log(exact["least_width"])))
    np.testing.assert_allclose(found.log_bound, float(mpmath.log(exact["bound"])), rtol=1e-10)
    assert not found.applies


def test_it_applies_from_its_least_width_on():
    data = whitened(problem(2, 1, 3))
    least = float(theory.bias_bound(data, 10).least_width)
    assert not theory.bias_bound(data, 0.999 * least).applies
    assert theory.bias_bound(data, 1.001 * least).applies
    assert theory.bias_bound(data, 10**30).applies


def test_the_experiment_of_appendix_A2_does_not_meet_the_hypothesis(key):
    data = gaussian(key, 100, 400, 1, scale=1 / 20)
    found = theory.bias_bound(data, 500)
    assert 1.2e5 < found.least_width < 4e5
    assert 700 < found.bound < 1400
    assert not found.applies
    assert not theory.bias_bound(data, 10**4).applies
    # What is measured there is some thousand times less.
    np.testing.assert_allclose(theory.bias_law(data, 10**4), 0.184, atol=0.004)
    np.testing.assert_allclose(found.bound / theory.bias_law(data, 500), 1200, rtol=0.3)


def test_inequalities_of_lemma_1_hold_for_gaussian_draws():
    data = problem(2, 1, 3)
    found = theory.bias_bound(data, h := 400, alpha=0.4)
    assert h > found.lemma_width

    def one(key):
        network = init.Gaussian(0.4)(key, data, width=h)
        norms = theory.min_norm_condition(network, data)
        product = jnp.linalg.norm(data.right.T @ network.product)
        return theory.imbalance(network, data).c, norms.overlap, product

    level, overlap, product = jax.vmap(one)(jax.random.split(jax.random.key(1), 200))
    assert np.all(level > found.level)
    assert np.all(overlap < found.overlap)
    assert np.all(product < found.product)
    assert np.mean(level) < 4 * found.level
    assert np.max(overlap) > 0.1 * found.overlap


def test_what_cannot_be_a_setting_is_refused():
    data = problem(2, 1, 3)
    for bad in ({"alpha": 0.25}, {"alpha": 0.6}, {"delta": 0.0}, {"delta": 1.0}, {"width": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))}.*must"):
            theory.bias_bound(data, **{"width": 10, **bad})
    with pytest.raises(ValueError, match="alpha must lie"):
        theory.bias_law(data, 10, alpha=0.2)
    with pytest.raises(ValueError, match="not both"):
        theory.bias_law(data, 10, alpha=0.5, scale=(1.0, 1.0))
    with pytest.raises(ValueError, match="positive"):
        theory.bias_law(data, 10, scale=(1.0, 0.0))
    with pytest.raises(ValueError, match="width"):
        theory.bias_law(data, 0.5)


def law(data, h, su, sv):
    mpmath.mp.dps = 40
    su, sv = mpmath.mpf(su), mpmath.mpf(sv)
    a, b = h * su**2, h * sv**2
    sigma = [*np.linalg.svd(data.min_norm, compute_uv=False)]
    total = sum(b - a + mpmath.sqrt((a + b) ** 2 + 4 * mpmath.mpf(float(s)) ** 2) for s in sigma)
    return float(mpmath.sqrt(su**2 * (data.features - data.rank) * total / 2))


@pytest.mark.parametrize(("r", "m"), [(4, 1), (3, 3), (2, 4)])
def test_bias_law_is_its_formula_for_any_two_scales(r, m):
    data = problem(r, m, 6)
    h = 1000
    for su, sv in ((0.05, 0.02), (0.02, 0.05), (1.0, 1e-3), (1e4, 1e-4), (1e-4, 1e3), (1e-6, 1e-6)):
        found = theory.bias_law(data, h, scale=(su, sv))
        np.testing.assert_allclose(found, law(data, h, su, sv), rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.3, 0.4, 0.5])
def test_one_exponent_is_a_special_case_of_two_scales(alpha):
    data = problem(3, 2, 8)
    for h in (10**3, 10**9):
        size = h**-alpha
        found = theory.bias_law(data, h, alpha=alpha)
        np.testing.assert_allclose(found, theory.bias_law(data, h, scale=(size, size)), 1e-13)
        sigma = np.linalg.svd(data.min_norm, compute_uv=False)
        square = h ** (-2 * alpha) * 5 * np.sum(np.sqrt(h ** (2 - 4 * alpha) + sigma**2))
        np.testing.assert_allclose(found, np.sqrt(square), rtol=1e-12)
    assert theory.bias_law(data, 50) == theory.bias_law(data, 50, alpha=0.5)


@pytest.mark.parametrize(("a", "b"), [(2.25, 0.25), (0.3, 1.1), (0.7, 0.7)])
def test_bias_law_is_exact_from_the_limit_of_infinite_width(a, b, key):
    # Orthogonal rows are what wide Gaussian networks tend to: V V^T = b I, U1 U1^T = a I.
    data = problem(3, 2, 5)
    h, su, sv = 5, np.sqrt(a / 5), np.sqrt(b / 5)
    end = flow(init.Orthogonal(scale=(su, sv))(key, data, width=h), data, 60.0)[-1]
    expected = theory.conditional_bias(data, su, end.V)
    np.testing.assert_allclose(theory.bias_law(data, h, scale=(su, sv)), expected, rtol=1e-7)


def test_conditional_bias_is_the_mean_over_what_the_data_do_not_reach():
    data = problem(2, 2, 6)
    rng = np.random.default_rng(0)
    V, su = rng.normal(size=(2, 3)), 0.3
    U2 = su * rng.normal(size=(20_000, 4, 3))
    squares = np.sum((U2 @ V.T) ** 2, axis=(1, 2))
    error = np.std(squares) / np.sqrt(len(squares))
    expected = theory.conditional_bias(data, su, jnp.asarray(V)) ** 2
    assert abs(np.mean(squares) - expected) < 4 * error
    assert error < 0.01 * expected


def test_nothing_is_left_off_a_span_that_is_everything():
    data = Regression(np.eye(3), np.ones((3, 1)))
    assert theory.bias_law(data, 100) == 0
    found = theory.min_norm_condition(draw(data, 4), data)
    assert found.overlap < 1e-14


def test_traces_over_every_parameter_and_keeps_the_dtype():
    data = problem(3, 2, 6)
    widths = jnp.array([1e3, 1e5])
    mapped = jax.jit(jax.vmap(lambda h: theory.bias_law(data, h, alpha=0.4)))(widths)
    np.testing.assert_allclose(mapped, [theory.bias_law(data, h, alpha=0.4) for h in (1e3, 1e5)])
    bounds = jax.vmap(lambda d: theory.bias_bound(data, 1e3, delta=d).bound)(jnp.array([0.1, 0.01]))
    np.testing.assert_allclose(
        bounds, [theory.bias_bound(data, 1e3, delta=d).bound for d in (0.1, 0.01)]
    )
    alpha = jnp.asarray(0.4)
    inside = jax.jit(lambda h: theory.bias_bound(data, h, alpha=alpha).bound)(1e3)
    np.testing.assert_allclose(inside, theory.bias_bound(data, 1e3, alpha=0.4).bound)
    single, network = jax.tree.map(lambda x: x.astype(jnp.float32), (data, draw(data, 4)))
    for found in (
        theory.bias_law(single, 10**9),
        theory.bias_law(single, 500, scale=(0.1, 0.2)),
        theory.bias_bound(single, 10**9, corrected=True).bound,
        theory.conditional_bias(single, 0.1, network.V),
        theory.limit_product(network, single),
        theory.min_norm_condition(network, single).relative,
    ):
        assert found.dtype == jnp.float32
