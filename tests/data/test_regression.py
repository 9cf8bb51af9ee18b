import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose

import jaxflow as jf

X = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]])
Y = np.array([[1.0], [2.0]])


@st.composite
def problems(draw):
    """Matrices of every shape and rank, with singular values between 0.1 and 1 times a scale."""
    n, D, m = (draw(st.integers(1, 7)) for _ in range(3))
    rank = draw(st.integers(1, min(n, D)))
    scale = 10.0 ** draw(st.integers(-6, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    left = np.linalg.qr(rng.normal(size=(n, rank)))[0]
    right = np.linalg.qr(rng.normal(size=(D, rank)))[0]
    return (left * rng.uniform(0.1, 1.0, rank) * scale) @ right.T, rng.normal(size=(n, m)), rank


@given(problems())
def test_decomposition(problem):
    X, Y, rank = problem
    data = jf.Regression(X, Y)
    n, D, m = X.shape[0], X.shape[1], Y.shape[1]
    assert (data.samples, data.features, data.outputs, data.rank) == (n, D, m, rank)
    W, s, Phi = map(np.asarray, (data.left, data.singular_values, data.right))
    assert_allclose(W.T @ W, np.eye(rank), atol=1e-13)
    assert_allclose(Phi.T @ Phi, np.eye(rank), atol=1e-13)
    assert_allclose((W * s) @ Phi.T, X, atol=1e-13 * s[0])
    assert np.all(s > 0)
    assert np.all(np.diff(s) <= 0)
    assert_allclose(s, np.linalg.svd(X, compute_uv=False)[:rank], rtol=1e-12)
    assert_allclose(data.targets, W.T @ Y, atol=1e-13)
    assert_allclose(data.condition, np.linalg.cond((W * s).T) ** 2, rtol=1e-10)


@given(problems())
def test_min_norm_solution(problem):
    X, Y, rank = problem
    data = jf.Regression(X, Y)
    theta = np.asarray(data.min_norm)
    size = np.abs(theta).max()
    expected, _, lstsq_rank, _ = np.linalg.lstsq(X, Y, rcond=1e-10)
    assert lstsq_rank == rank
    assert_allclose(theta, expected, atol=1e-11 * size)
    assert_allclose(theta, np.linalg.pinv(X, rcond=1e-10) @ Y, atol=1e-11 * size)
    assert_allclose(data.right @ data.span_solution, theta, atol=1e-13 * size)
    assert_allclose(data.best_fit, X @ theta, atol=1e-11)
    assert_allclose(data.optimal_loss, 0.5 * np.sum((Y - X @ expected) ** 2), atol=1e-12)
    # Of all minimizers it is the one of least norm.
    Phi = np.asarray(data.right)
    shift = np.random.default_rng(0).normal(size=theta.shape) * size
    off_span = shift - Phi @ (Phi.T @ shift)
    assert_allclose(X @ (theta + off_span), X @ theta, atol=1e-11)
    assert np.linalg.norm(theta + off_span) >= np.linalg.norm(theta) * (1 - 1e-12)


@given(problems())
def test_loss_splits_into_excess_and_optimal(problem):
    X, Y, _ = problem
    data = jf.Regression(X, Y)
    theta = np.random.default_rng(1).normal(size=data.min_norm.shape) / np.abs(X).max()
    loss = 0.5 * np.sum((Y - X @ theta) ** 2)
    on_span = data.targets - data.singular_values[:, None] * (data.right.T @ theta)
    assert_allclose(0.5 * np.sum(np.square(on_span)) + data.optimal_loss, loss, rtol=1e-12)


@pytest.mark.parametrize(
    ("x_dtype", "y_dtype", "expected"),
    [
        (np.float64, np.float64, np.float64),
        (np.float32, np.float32, np.float32),
        (np.float32, np.float64, np.float64),
        (np.float16, np.float16, np.float32),
        (np.longdouble, np.float32, np.float64),
        (np.int64, np.bool_, np.float64),
    ],
)
def test_dtype_in_is_dtype_out(x_dtype, y_dtype, expected):
    data = jf.Regression(X.astype(x_dtype), Y.astype(y_dtype))
    arrays = [*jax.tree.leaves(data), data.min_norm, data.best_fit, data.condition]
    assert {array.dtype for array in arrays} == {np.dtype(expected)}


def test_single_precision_spectrum_is_computed_in_double():
    wide = np.random.default_rng(0).normal(size=(6, 9))
    data = jf.Regression(wide.astype(np.float32), np.ones(6, np.float32))
    s = np.linalg.svd(wide.astype(np.float32).astype(float), compute_uv=False)
    assert_allclose(data.singular_values, s, rtol=6e-8)


def test_one_target_may_be_a_vector():
    data = jf.Regression(X, Y[:, 0])
    assert data.Y.shape == (2, 1)
    assert_allclose(data.min_norm, jf.Regression(X, Y).min_norm)


def test_accepts_jax_arrays_and_lists():
    for build in (jnp.asarray, np.ndarray.tolist):
        assert_allclose(jf.Regression(build(X), build(Y)).min_norm, jf.Regression(X, Y).min_norm)


def test_rank_tolerance_moves_directions_to_the_optimal_loss():
    X, Y = np.diag([1.0, 1e-3]), np.array([3.0, 4.0])
    assert jf.Regression(X, Y).optimal_loss == 0
    cut = jf.Regression(X, Y, rank_tolerance=1e-2)
    assert cut.rank == 1
    assert_allclose(cut.optimal_loss, 8.0)
    assert_allclose(cut.min_norm, [[3.0], [0.0]])
    # The default is the threshold of numpy.linalg.matrix_rank, kept in the data's own precision.
    nearly = np.diag([1.0, 1e-10])
    assert jf.Regression(nearly, Y).rank == np.linalg.matrix_rank(nearly) == 2
    assert jf.Regression(nearly.astype(np.float32), Y).rank == 1


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        (X, np.ones((3, 1)), "X has 2 rows and Y has 3"),
        (np.zeros((2, 3)), Y, "X is zero"),
        (np.array([[1.0, np.nan], [np.inf, 0.0]]), Y, "X has 2 NaN or infinite entries"),
        (X, np.array([1.0, np.inf]), "Y has 1 NaN or infinite entries"),
        (np.ones((2, 0)), Y, "X must be a non-empty matrix"),
        (np.ones((2, 2, 2)), Y, "X must be a non-empty matrix"),
        (X, np.float64(1.0), "Y must be a non-empty matrix"),
        (X * 1j, Y, "X must hold real numbers"),
        (np.array([["a"], ["b"]]), Y, "X must hold real numbers"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_refuses(X, Y, message):
    with pytest.raises(ValueError, match=message):
        jf.Regression(X, Y)


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan")])
def test_refuses_rank_tolerance(tolerance):
    with pytest.raises(ValueError, match="rank_tolerance must lie in"):
        jf.Regression(X, Y, rank_tolerance=tolerance)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad])
@pytest.mark.usefixtures("unchecked")
def test_refuses_tracing(transform):
    batch = jnp.ones((2, 2, 3)) if transform is jax.vmap else jnp.asarray(X)
    with pytest.raises(ValueError, match="X is being traced"):
        transform(lambda x: jf.Regression(x, Y).optimal_loss)(batch)


def test_passes_through_transformations_once_built():
    data = jf.Regression(X, Y)
    assert_allclose(jax.jit(lambda d: d.min_norm)(data), data.min_norm, rtol=1e-15)
    batch = jax.tree.map(lambda a, b: jnp.stack([a, b]), data, jf.Regression(2 * X, Y))
    assert jax.vmap(lambda d: d.min_norm)(batch).shape == (2, 3, 1)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_scaling_laws(seed, scale):
    X = np.random.default_rng(seed).normal(size=(4, 6))
    Y = np.random.default_rng(seed + 1).normal(size=(4, 2))
    data, scaled = jf.Regression(X, Y), jf.Regression(scale * X, Y)
    assert_allclose(scaled.singular_values, scale * data.singular_values, rtol=1e-12)
    assert_allclose(scaled.min_norm, data.min_norm / scale, rtol=1e-8, atol=1e-10 / scale)
    assert_allclose(scaled.condition, data.condition, rtol=1e-10)


def test_without_double_precision_it_warns_once():
    script = """
        import warnings
        import numpy as np
        import jaxflow as jf
        wide, narrow = np.eye(2), np.eye(2, dtype=np.float32)
        def warned(X, Y):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                data = jf.Regression(X, Y)
            assert data.X.dtype == data.min_norm.dtype == np.float32
            assert all(w.filename == "<string>" for w in caught), [w.filename for w in caught]
            assert all("jax_enable_x64" in str(w.message) for w in caught)
            return len(caught)
        assert warned(wide, wide) == 1
        assert warned(narrow, wide) == 1
        assert warned(narrow, narrow) == 0
        assert warned(wide.astype(int), narrow) == 0
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=True,
        env={**os.environ, "JAX_ENABLE_X64": "0"},
    )
