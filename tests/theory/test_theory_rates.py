import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from theory_oracles import draw, excess, flow, problem, with_values

from jaxflow import theory
from jaxflow.data import Regression
from jaxflow.networks import TwoLayerLinear

SHAPES = [(2, 1, 1), (3, 3, 2), (3, 2, 4), (2, 3, 8)]
DRAWS = 1000


@pytest.fixture(scope="module")
def draws():
    """For every shape, what the bounds and the exact rates say of many random flows."""

    def one(data, U, V, s, targets):
        regression = with_values(data, s, targets)
        network = TwoLayerLinear(U, V)
        plain = theory.rate_bound(network, regression)
        margin = theory.rate_bound(network, regression, margin=True)
        return {
            "plain": plain.level,
            "margin": margin.level,
            "v1": plain.rate,
            "v2": margin.rate,
            "bound": theory.instantaneous_bound(network, regression),
            "rate": theory.instantaneous_rate(network, regression),
            "least": theory.limit_rate(network, regression),
            "size": s[0] ** 2 * (jnp.sum(V**2) + jnp.sum(U**2)),
        }

    rng, results = np.random.default_rng(0), []
    for r, m, h in SHAPES:
        data = problem(r, m, r + 2)

        def normal(*shape):
            size = np.exp(rng.uniform(-3, 2, (DRAWS, 1, 1)))
            return size * rng.normal(size=(DRAWS, *shape))

        U, V, targets = normal(r + 2, h), normal(m, h), normal(r, m)
        s = -np.sort(-np.exp(rng.uniform(-2, 1, (DRAWS, r))))
        # Half of the draws are near their target, where the margin says something.
        near = s[:, :, None] * (np.asarray(data.right).T @ U @ V.transpose(0, 2, 1))
        targets[::2] = near[::2] + 0.01 * targets[::2]
        many = jax.jit(jax.vmap(functools.partial(one, data)))
        results.append(many(U, V, s, targets))
    return {k: np.stack([np.asarray(x[k]) for x in results]) for k in results[0]}


def test_bound_of_proposition_1_holds_for_every_draw(draws):
    slack = (draws["rate"] - draws["bound"]) / draws["size"]
    assert slack.min() >= -1e-12
    # And for the worst residual that these weights can meet.
    assert ((draws["least"] - draws["bound"]) / draws["size"]).min() >= -1e-12
    # It says something, and twice as much would be wrong.
    assert np.mean(draws["bound"] > 1e-3 * draws["rate"]) > 0.5
    assert np.mean(2 * draws["bound"] > draws["least"]) > 0.1


def test_the_least_rate_is_a_lower_bound_on_the_rate(draws):
    assert ((draws["rate"] - draws["least"]) / draws["size"]).min() >= -1e-12
    assert draws["least"].min() >= 0


def test_margin_never_loses_to_the_plain_theorem(draws):
    assert np.all(draws["margin"] >= draws["plain"] * (1 - 1e-14))
    assert np.mean(draws["margin"] > 1.01 * draws["plain"]) > 0.1
    assert np.all(draws["v2"] <= draws["bound"] * (1 + 1e-9) + 1e-12 * draws["size"])


@pytest.mark.parametrize(("r", "m", "h"), [(3, 2, 6), (2, 3, 8), (3, 1, 2), (2, 2, 3)])
def test_envelopes_lie_above_the_flow(r, m, h):
    data = problem(r, m, r + 2, seed=1)
    network = draw(data, h, 0.6, 0.5, seed=h)
    ts = np.linspace(0, 6.0, 25)[1:]
    path = flow(network, data, ts)
    found = np.log([excess(net, data) for net in path])
    bounds = [theory.rate_bound(network, data, margin=margin) for margin in (False, True)]
    np.testing.assert_allclose(bounds[0].log_excess, np.log(excess(network, data)), rtol=1e-12)
    for bound in bounds:
        assert np.all(found <= bound.log_envelope(ts) + 1e-9)
        np.testing.assert_allclose(bound.envelope(ts), np.exp(bound.log_envelope(ts)), 1e-12)
        assert bound.log_envelope(0.0) == bound.log_excess
        np.testing.assert_allclose(
            bound.rate, 2 * data.singular_values[-1] ** 2 * bound.level, rtol=1e-12
        )
    # Restarted on the way, the margin theorem says more, and still holds.
    i = 8
    later = theory.rate_bound(path[i], data, margin=True)
    assert np.all(found[i:] <= later.log_envelope(ts[i:] - ts[i]) + 1e-8)
    assert later.rate >= bounds[1].rate * (1 - 1e-9)
    assert later.rate > 0


def sharp_instance():
    data = Regression(np.eye(2), np.array([0.0, 1e-3]))
    U1 = np.array([[2.0, 0, 0], [0, 1.0, 0]])
    return TwoLayerLinear(jnp.asarray(U1), jnp.array([[0.0, 0.0, 1.5]])), data


def test_the_bound_is_attained():
    network, data = sharp_instance()
    ts = np.array([0.5, 1.0, 2.0])
    bound = theory.rate_bound(network, data)
    assert abs(bound.level - (1.0 + 1.5**2)) < 1e-13
    drop = bound.log_excess - np.log([excess(n, data) for n in flow(network, data, ts, atol=1e-18)])
    ratio = drop / (bound.rate * ts)
    assert np.all(ratio > 1)
    assert np.all(ratio < 1 + 1e-5)


def dense_limit_rate(network, data):
    S = np.diag(data.singular_values)
    U1 = np.asarray(data.right).T @ np.asarray(network.U)
    V = np.asarray(network.V)
    T = np.kron(V @ V.T, S @ S) + np.kron(np.eye(len(V)), S @ U1 @ U1.T @ S)
    return 2 * np.linalg.eigvalsh(T)[0]


@pytest.mark.parametrize(("r", "m", "h"), [(1, 1, 1), (4, 3, 2), (2, 4, 3), (4, 1, 9), (3, 3, 20)])
def test_limit_rate_is_the_least_eigenvalue_of_the_dense_operator(r, m, h):
    data = problem(r, m, r + 1, spectrum=np.geomspace(2, 0.3, r), seed=2)
    for seed in range(5):
        network = draw(data, h, 1.0, 0.5 + seed, seed)
        np.testing.assert_allclose(
            theory.limit_rate(network, data), dense_limit_rate(network, data), 1e-11, 1e-13
        )


def test_small_limit_rates_keep_their_digits():
    data = problem(3, 1, 3, spectrum=[1.0, 0.5, 1e-3], seed=3)
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    U1 = left @ np.diag([1.0, 0.5, 1e-6]) @ right
    network = TwoLayerLinear(data.right @ U1, jnp.full((1, 3), 1e-7))
    mpmath.mp.dps = 50
    S = mpmath.diag(list(map(float, data.singular_values)))
    A = mpmath.matrix(np.asarray(data.right).T @ np.asarray(network.U))
    total = A * A.T + mpmath.mpf(float(np.sum(network.V**2))) * mpmath.eye(3)
    expected = float(2 * min(mpmath.eigsy(S * total * S, eigvals_only=True)))
    assert abs(dense_limit_rate(network, data) / expected - 1) > 1e-6
    np.testing.assert_allclose(theory.limit_rate(network, data), expected, rtol=1e-8)


def test_limit_rate_is_the_rate_of_the_tail():
    data = problem(3, 2, 4, spectrum=[1.4, 1.0, 0.6], seed=4)
    end = flow(draw(data, 4, 0.7, 0.7, seed=4), data, 60.0)[-1]
    # Off the minimum again, far enough that doubles can follow the return.
    away = TwoLayerLinear(end.U, end.V + 1e-5 * np.random.default_rng(0).normal(size=end.V.shape))
    t = np.array([25.0, 30.0]) / theory.limit_rate(away, data)
    first, last = (excess(n, data) for n in flow(away, data, t, atol=1e-20, rtol=1e-13))
    rate = np.log(first / last) / (t[1] - t[0])
    assert last > 1e-25
    np.testing.assert_allclose(rate, theory.limit_rate(end, data), rtol=1e-3)


def test_limit_bounds_are_ordered_and_reached_by_restarting():
    data = problem(3, 2, 4, seed=5)
    network = draw(data, 4, 0.3, 0.4, seed=5)
    end = flow(network, data, 200.0)[-1]
    plain = theory.limit_bound(network, data)
    sharp = theory.limit_bound(network, data, sharp=True)
    assert 0 < plain < sharp < theory.limit_rate(end, data)
    np.testing.assert_allclose(theory.rate_bound(end, data, margin=True).rate, plain, rtol=1e-8)
    np.testing.assert_allclose(theory.instantaneous_bound(end, data), sharp, rtol=1e-8)


@pytest.mark.parametrize(("r", "m"), [(3, 2), (2, 2)])
def test_balanced_limit_rate(r, m):
    # Balanced and isotropic: 2 s_min for r != m, 4 s_min for r = m, of the target.
    data = problem(r, m, r, spectrum=np.ones(r), seed=6)
    A, s, Bt = np.linalg.svd(data.targets, full_matrices=False)
    network = TwoLayerLinear(data.right @ (A * np.sqrt(s)), jnp.asarray(Bt.T * np.sqrt(s)))
    expected = (4 if r == m else 2) * s[-1]
    assert theory.rate_bound(network, data).rate == 0
    for rate in (theory.limit_rate(network, data), theory.limit_bound(network, data)):
        np.testing.assert_allclose(rate, expected, rtol=1e-10)


def test_instantaneous_rate_is_minus_the_logarithmic_derivative_of_the_loss():
    data = problem(3, 2, 5, seed=8)
    network = draw(data, 4, seed=8)

    def loss(net):
        return 0.5 * jnp.sum((data.Y - data.X @ net.product) ** 2)

    slope = sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(loss)(network)))
    expected = slope / (loss(network) - data.optimal_loss)
    np.testing.assert_allclose(theory.instantaneous_rate(network, data), expected, rtol=1e-11)


def test_margin_does_not_cancel_when_the_spread_is_huge():
    data = Regression(np.eye(2), np.zeros((2, 1)))
    U1 = np.diag([1e4, 0.1])
    network = TwoLayerLinear(jnp.asarray(U1), jnp.zeros((1, 2)))
    for bound in (theory.rate_bound(network, data, margin=True).level, 0.01):
        np.testing.assert_allclose(bound, theory.rate_bound(network, data).level, rtol=1e-9)


def test_residuals_far_below_the_weights_rounding():
    data = problem(3, 2, 5, seed=9)
    network = draw(data, 6, seed=9)
    E = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)))
    tiny = theory.rate_bound(network, data, residual=1e-250 * E)
    np.testing.assert_allclose(
        tiny.log_excess, np.log(0.5 * np.sum(np.asarray(E) ** 2)) - 500 * np.log(10), rtol=1e-14
    )
    np.testing.assert_allclose(
        theory.instantaneous_rate(network, data, residual=1e-250 * E),
        theory.instantaneous_rate(network, data, residual=E),
        rtol=1e-12,
    )
    assert theory.rate_bound(network, data, residual=0 * E).log_excess == -np.inf
    whole = theory.rate_bound(network, data, margin=True, residual=0 * E)
    np.testing.assert_allclose(whole.rate, theory.limit_bound(network, data), rtol=1e-12)


def test_single_precision_stays_single():
    data = problem(3, 2, 5)
    network = draw(data, 9)
    single = jax.tree.map(lambda x: x.astype(jnp.float32), (network, data))
    for margin in (False, True):
        bound = theory.rate_bound(*single, margin=margin)
        assert bound.log_envelope(np.linspace(0, 1, 3)).dtype == jnp.float32
        assert bound.rate.dtype == jnp.float32
        np.testing.assert_allclose(
            bound.rate, theory.rate_bound(network, data, margin=margin).rate, rtol=1e-3
        )
    for rate in (
        theory.instantaneous_bound,
        theory.instantaneous_rate,
        theory.limit_rate,
        theory.limit_bound,
    ):
        assert rate(*single).dtype == jnp.float32
        np.testing.assert_allclose(rate(*single), rate(network, data), rtol=1e-3)
