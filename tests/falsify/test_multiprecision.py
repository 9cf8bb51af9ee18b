import sys

import jax
import jax.numpy as jnp
import jax.random as jr
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax.scipy.linalg import solve_triangular

import jaxflow as jf
from jaxflow.falsify.exact_flow import exact_flow
from jaxflow.falsify.multiprecision import exactly, rounded


def close(function, *args, tolerance=1e-12):
    found, expected = rounded(exactly(function, *args)), jax.jit(function)(*args)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        b = np.asarray(b)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * (1 + np.abs(b).max()))


def rebuilt(A):
    u, s, vt = jnp.linalg.svd(A, full_matrices=False)
    q, r = jnp.linalg.qr(A)
    w, V = jnp.linalg.eigh(A.T @ A)
    return (u * s[None]) @ vt, q @ r, (V * jnp.exp(-w)[None]) @ V.T


def solved(A):
    L = jnp.linalg.cholesky(A.T @ A + jnp.eye(A.shape[1]))
    eye = jnp.eye(len(L))
    return (
        solve_triangular(L, eye, lower=True),
        solve_triangular(L, eye, lower=True, trans="T"),
        solve_triangular(L.T, eye),
    )


def looped(A):
    carry, rows = jax.lax.scan(lambda c, row: (c * 0.5 + row.sum(), c), jnp.zeros(()), A)
    _, back = jax.lax.scan(lambda c, row: (c + row, c[0]), A[0], A, reverse=True)
    return carry, rows, back


def moved(A):
    return (
        jnp.concatenate([A, A[::-1]])[1],
        jnp.pad(A, 1)[1:, 1],
        jnp.stack([A, 2 * A])[1],
        A.at[0, 0].set(3.0),
        jnp.where(A > 0, A, -2.0),
        jnp.sort(A.ravel()),
        A[jnp.asarray([1, 0])],
        jnp.tril(A),
        jnp.broadcast_to(A[0], (3, A.shape[1])),
    )


def reduced(A):
    return (
        jnp.linalg.norm(A),
        jnp.max(A, axis=0),
        jnp.min(A),
        jnp.prod(A),
        jnp.cumsum(A, axis=1),
        jnp.einsum("ij,kj->ik", A, A),
        jnp.kron(A, A).sum(),
        jnp.linalg.norm(A, 2),
    )


def curved(A):
    return (
        jnp.tanh(A),
        jnp.log1p(A**2),
        jnp.hypot(A, 2.0),
        jnp.abs(A) ** 0.3,
        jax.nn.relu(A),
        jnp.clip(A, -0.1, 0.1),
        jnp.exp(A) / jnp.cosh(A),
        jax.nn.sigmoid(A),
        jnp.sign(A),
    )


@pytest.mark.parametrize("function", [rebuilt, solved, looped, moved, reduced, curved])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), shape=st.sampled_from([(2, 2), (3, 2), (3, 3), (4, 3)]))
def test_agrees_with_double_precision(function, seed, shape):
    close(function, jnp.asarray(np.random.default_rng(seed).normal(size=shape)))


def test_gradients_are_programs_too():
    def loss(A):
        return jnp.sum(jnp.tanh(A @ A.T) ** 2) + jnp.linalg.svdvals(A)[-1]

    close(jax.grad(loss), jr.normal(jr.key(1), (4, 3)))


@pytest.mark.parametrize("digits", [30, 60, 100])
def test_has_the_digits_that_were_asked_for(digits):
    A = jr.normal(jr.key(2), (3, 3))
    u, s, vt = exactly(jnp.linalg.svd, A, digits=digits)
    with mpmath.workdps(digits):
        gap = (u * s) @ vt - np.vectorize(mpmath.mpf)(np.asarray(A))
        assert max(abs(x) for x in gap.ravel()) < mpmath.mpf(10) ** (2 - digits)
    root = exactly(lambda x: jnp.sqrt(x) ** 2 - x, jnp.asarray(2.0), digits=digits)
    assert abs(root.item()) < mpmath.mpf(10) ** (1 - digits)


def test_cancellation_in_doubles_is_none_here():
    x = jnp.asarray(1e-9)
    found = exactly(lambda x: (1 + x) - 1 - x, x)
    assert abs(found.item()) < 1e-45
    assert abs(float((1 + x) - 1 - x)) > 1e-18


def test_what_has_no_rule_is_named():
    with pytest.raises(NotImplementedError, match="while"):
        exactly(lambda x: jax.lax.while_loop(lambda y: y < 3, lambda y: y + 1, x), jnp.asarray(0.5))


def test_the_flow_agrees_with_the_closed_form():
    data = jf.Regression(np.eye(1), np.asarray([[0.8]]))
    network = jf.TwoLayerLinear(jnp.asarray([[0.3]]), jnp.asarray([[-0.2]]))
    end = exact_flow(network, data, 4.0, digits=30)
    u, v = jf.theory.scalar(4.0, 0.8, 0.3, -0.2)
    np.testing.assert_allclose([float(end.U.item()), float(end.V.item())], [u, v], rtol=1e-14)
    # Conserved to more digits than a double has.
    with mpmath.workdps(30):
        before = mpmath.mpf(float(network.U[0, 0])) ** 2 - mpmath.mpf(float(network.V[0, 0])) ** 2
        assert abs(end.U.item() ** 2 - end.V.item() ** 2 - before) < mpmath.mpf(10) ** -18


def test_the_flow_of_a_deep_network_agrees_with_the_solver():
    data = jf.data.gaussian(jr.key(3), 2, 3, 1)
    network = jf.init.DeepGaussian()(jr.key(4), data, width=2, depth=3)
    end = rounded(exact_flow(network, data, 0.5))
    flow = jf.gradient_flow(network, data, ts=[0.5], rtol=1e-12)
    np.testing.assert_allclose(end.first, flow.network.first, rtol=1e-9)
    np.testing.assert_allclose(end.hidden, flow.network.hidden, rtol=1e-9)


def test_a_flow_that_takes_too_many_steps_is_given_up(monkeypatch):
    # As with all 300 steps, which take two minutes.
    monkeypatch.setattr(sys.modules[exact_flow.__module__], "STEPS", 3)
    data = jf.Regression(1e3 * np.eye(1), np.asarray([[1.0]]))
    network = jf.TwoLayerLinear(jnp.asarray([[1.0]]), jnp.asarray([[1.0]]))
    assert exact_flow(network, data, 10.0) is None
