import itertools

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.integrate import quad, solve_ivp
from scipy.optimize import linprog

import jaxflow as jf
from jaxflow import theory
from jaxflow.networks import span_factors

seeds = st.integers(0, 2**31)
DATA = jf.data.gaussian(jr.key(0), 4, 6, 2)


@settings(max_examples=10, deadline=None)
@given(seed=seeds, depth=st.integers(2, 5))
def test_layer_imbalances(seed, depth):
    network = jf.init.DeepGaussian()(jr.key(seed), DATA, width=3, depth=depth)
    found = theory.layer_imbalances(network)
    layers = [np.asarray(W) for W in network.layers]
    expected = [b.T @ b - a @ a.T for a, b in itertools.pairwise(layers)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(seed=seeds, size=st.sampled_from([(1, 3), (2, 2), (2, 3), (3, 4)]))
def test_end_to_end_velocity_by_matrix_powers(seed, size):
    n, depth = size
    # Square, since the oracle's powers of a singular matrix lose all but five digits.
    W, G = np.random.default_rng(seed).normal(size=(2, n, n))

    def power(A, p):
        w, V = np.linalg.eigh(A)
        return (V * np.clip(w, 0, None) ** p) @ V.T if p > 0 else np.eye(len(A))

    expected = -sum(
        power(W @ W.T, (j - 1) / depth) @ G @ power(W.T @ W, (depth - j) / depth)
        for j in range(1, depth + 1)
    )
    found = theory.end_to_end_velocity(jnp.asarray(W), jnp.asarray(G), depth)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    s=st.floats(0.2, 5), a0=st.floats(0.001, 0.3), share=st.floats(0.05, 0.95), L=st.integers(3, 8)
)
def test_the_time_of_a_deep_mode(s, a0, share, L):
    a0 = a0 * s
    a = a0 + share * (s - a0)
    expected, _ = quad(lambda x: 1 / (L * x ** (2 - 2 / L) * (s - x)), a0, a, epsrel=1e-12)
    np.testing.assert_allclose(theory.deep_mode_time(a, s, a0, L), expected, rtol=1e-8)


def test_margin_and_balanced_level():
    W, P = jnp.diag(jnp.asarray([2.0, 1.0])), jnp.diag(jnp.asarray([2.0, 1.5]))
    assert float(theory.deficiency_margin(W, P)) == pytest.approx(1.0)
    assert float(theory.balanced_level(W, 3, square=True)) == pytest.approx(3.0)
    assert float(theory.balanced_level(2 * W, 3, square=False)) == pytest.approx(2 ** (4 / 3))


# The kernel and the Hessian


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_the_kernel_of_two_layers(seed):
    network = jf.init.Gaussian(0.5)(jr.key(seed), DATA, width=3)
    V, U1 = map(np.asarray, span_factors(network, DATA))
    S, W = np.asarray(DATA.singular_values), np.asarray(DATA.left)
    A, B = V @ V.T, S[:, None] * (U1 @ U1.T) * S[None]
    expected = np.kron(W @ np.diag(S**2) @ W.T, A) + np.kron(W @ B @ W.T, np.eye(2))
    found = theory.tangent_kernel(network, DATA)
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())
    np.testing.assert_allclose(
        theory.slowest_decay(network, DATA), theory.limit_rate(network, DATA), rtol=1e-7, atol=1e-10
    )


@eqx.filter_jit
def dense_hessian(network):
    flat, unravel = jax.flatten_util.ravel_pytree((network.first, network.hidden, network.last))

    def loss(flat):
        layers = jf.DeepLinear(*unravel(flat), network.scale)
        return 0.5 * jnp.sum((DATA.Y - jax.vmap(layers)(DATA.X)) ** 2)

    return jax.hessian(loss)(flat)


@pytest.mark.parametrize("depth", [2, 3])
@settings(max_examples=8, deadline=None)
@given(seed=seeds)
def test_sharpness_by_the_dense_hessian(depth, seed):
    network = jf.init.DeepGaussian()(jr.key(seed), DATA, width=3, depth=depth)
    expected = np.linalg.eigvalsh(dense_hessian(network))[-1]
    np.testing.assert_allclose(theory.sharpness(network, DATA), expected, rtol=1e-8)


# Closed forms in the papers' variables


def flow(W1, W2, S, t):
    n, m, h = W1.shape[1], W2.shape[0], W1.shape[0]

    def field(_, y):
        A, B = y[: h * n].reshape(h, n), y[h * n :].reshape(m, h)
        E = S - B @ A
        return np.r_[(B.T @ E).ravel(), (E @ A.T).ravel()]

    y0 = np.r_[W1.ravel(), W2.ravel()]
    y = solve_ivp(field, (0, t), y0, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    Q = np.concatenate([y[: h * n].reshape(h, n).T, y[h * n :].reshape(m, h)])
    return Q @ Q.T


def balanced(seed, n, m, h, lam):
    """`W2^T W2 - W1 W1^T = lam I` (their sign), from a free first layer."""
    rng = np.random.default_rng(seed)
    if lam == 0:
        k = min(n, m, h)
        U, V, Q = (np.linalg.qr(rng.normal(size=(d, k)))[0] for d in (m, n, h))
        root = np.sqrt(rng.uniform(0.1, 1, k))
        return (Q * root) @ V.T, (U * root) @ Q.T
    W1 = 0.6 * rng.normal(size=(h, n))
    w, P = np.linalg.eigh(W1 @ W1.T + lam * np.eye(h))
    O = np.linalg.qr(rng.normal(size=(m, h)))[0]
    return W1, (O * np.sqrt(w)) @ P.T


@pytest.mark.parametrize(("n", "m", "h"), [(3, 3, 3), (4, 2, 3), (2, 3, 4)])
@pytest.mark.parametrize("t", [0.0, 0.5, 3.0])
def test_braun(n, m, h, t):
    S = np.random.default_rng(9).normal(size=(m, n))
    W1, W2 = balanced(3, n, m, h, 0)
    found = theory.braun(*map(jnp.asarray, (W1, W2, S)), t)
    np.testing.assert_allclose(found, flow(W1, W2, S, t), atol=1e-9)


@pytest.mark.parametrize("lam", [0.7, 2.0])
@pytest.mark.parametrize("t", [0.0, 0.5, 3.0])
def test_domine(lam, t):
    S = np.random.default_rng(9).normal(size=(3, 3))
    W1, W2 = balanced(3, 3, 3, 3, lam)
    found = theory.domine(*map(jnp.asarray, (W1, W2, S)), lam, t)
    np.testing.assert_allclose(found, flow(W1, W2, S, t), atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(a=st.floats(0.2, 2), size=st.floats(0.1, 2), t=st.floats(0, 3), seed=seeds)
def test_kunin(a, size, t, seed):
    rng = np.random.default_rng(seed)
    w, b = size * rng.normal(size=3), rng.normal(size=3)

    def field(_, nu):
        return b @ b - (a**2 - w @ w) * nu - nu**2

    start = (w @ b) / a
    q = np.sqrt((a**2 - w @ w) ** 2 + 4 * b @ b)
    if start < 0.5 * (-(a**2 - w @ w) - q) + 1e-3:
        return  # to the left of the unstable point: a passes through zero
    expected = solve_ivp(field, (0, t + 1e-12), [start], rtol=1e-11, atol=1e-12).y[0, -1]
    found = theory.kunin(a, jnp.asarray(w), jnp.asarray(b), t)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@settings(max_examples=15, deadline=None)
@given(a=st.floats(-2, 2), size=st.floats(0.1, 2), t=st.floats(0, 3), seed=seeds)
def test_the_weights_of_kunins_neuron(a, size, t, seed):
    rng = np.random.default_rng(seed)
    w, b = size * rng.normal(size=3), rng.normal(size=3)

    def field(_, y):
        rest = b - y[0] * y[1:]
        return np.concatenate([[y[1:] @ rest], y[0] * rest])

    start = np.concatenate([[a], w])
    expected = solve_ivp(field, (0, t + 1e-12), start, rtol=1e-11, atol=1e-12).y[:, -1]
    found = theory.kunin_weights(a, jnp.asarray(w), jnp.asarray(b), t)
    np.testing.assert_allclose(np.append(*found), expected, rtol=1e-6, atol=1e-8)
    late = theory.kunin_weights(0.0, jnp.asarray(w), jnp.asarray(b), 1e6)
    np.testing.assert_allclose(late[0] * late[1], b, rtol=1e-12)  # nothing overflows


# Matrix sensing


@settings(max_examples=20, deadline=None)
@given(seed=seeds, log_alpha=st.floats(-300, 1))
def test_the_entropic_limit_is_the_minimum(seed, log_alpha):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(2, 5))
    y = a @ rng.uniform(0.2, 1, 5)
    x = theory.entropic_limit(a, y, log_alpha)
    np.testing.assert_allclose(a @ x, y, rtol=1e-7, atol=1e-8)
    assert np.all(x >= 0)
    # Stationary: log x - 2 log alpha lies in the row space of a where x is not vanishing.
    if log_alpha > -20:
        rest = np.log(x) - 2 * log_alpha
        gap = rest - a.T @ np.linalg.lstsq(a.T, rest, rcond=None)[0]
        assert np.abs(gap).max() < 1e-6 * (1 + np.abs(rest).max())


def test_the_entropic_limit_ends_at_the_linear_program():
    rng = np.random.default_rng(3)
    a = rng.normal(size=(3, 6))
    y = a @ rng.uniform(0.2, 1, 6)
    least = linprog(np.ones(6), A_eq=a, b_eq=y, bounds=(0, None)).fun
    ratios = [theory.entropic_limit(a, y, -size).sum() / least for size in (2.0, 20.0, 2000.0)]
    assert ratios[0] > ratios[1] >= ratios[2] - 1e-9
    assert ratios[2] == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="X >= 0"):
        theory.entropic_limit(np.ones((1, 3)), np.asarray([-1.0]), -5.0)


# Gradient descent


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_the_kernel_stays_in_its_range(seed):
    data = jf.data.gaussian(jr.key(seed), 3, 3, 2)
    network = jf.init.Gaussian(scale=(0.4, 0.3))(jr.key(seed), data, width=20)
    bounds = theory.kernel_range(network, data)
    for t in (0.0, 0.3, 2.0):
        now = jf.gradient_flow(network, data, ts=[t]).network
        V, U1 = span_factors(now, data)
        a, b = (np.linalg.eigvalsh(W @ W.T) for W in (V, U1))
        assert a[0] + b[0] >= float(bounds.least) * (1 - 1e-6)
        assert a[-1] + b[-1] <= float(bounds.most) * (1 + 1e-6)


def test_descent_bound():
    data = jf.data.gaussian(jr.key(1), 4, 4, 4, whiten=True)
    network = jf.init.Gaussian(scale=(0.3, 0.3))(jr.key(2), data, width=100)
    most = theory.descent_bound(network, data, 0.0)
    assert float(most.factor) == 1
    assert 0 < most.largest_rate < 1
    bound = theory.descent_bound(network, data, 0.5 * most.largest_rate)
    assert 0 < float(bound.factor) < 1
    with pytest.raises(ValueError, match="0 < c1 < 1 < c2"):
        theory.descent_bound(network, data, 0.1, c1=2.0)
