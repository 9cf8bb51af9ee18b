import os
import subprocess
import sys
import textwrap
import tracemalloc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
import scipy.sparse
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose

import jaxflow as jf

X = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]])


class Metres(np.ndarray):
    """An array with a unit, as libraries of units have them."""

    unit = "m"

    def __new__(cls, values):
        return np.asarray(values).view(cls)

    @property
    def value(self):
        return self.view(np.ndarray)


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
    floats = jax.tree.leaves(eqx.filter(data, eqx.is_inexact_array))
    arrays = [*floats, data.min_norm, data.best_fit, data.condition]
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
        (X * 1j, Y, "X must hold real numbers, got complex numbers"),
        (np.array([["a"], ["b"]]), Y, "X must hold real numbers, got text"),
        (np.array([["2020-01-01"], ["2020-01-02"]], "M8[D]"), Y, "real numbers, got dates"),
        (np.array([[1.0], [None]]), Y, "real numbers, got Python objects such as None"),
        ([[1.0, 2.0], [3.0]], Y, "X cannot be read as a matrix"),
        (np.ma.masked_greater(X, 1.5), Y, "X has 1 masked entries: remove those rows"),
        (X, np.ma.masked_greater(Y, 1.5), "Y has 1 masked entries"),
        (scipy.sparse.csr_matrix(X), Y, r"X is a sparse matrix: give a dense one, X\.toarray"),
        (scipy.sparse.csr_array(X), Y, "X is a sparse matrix"),
        (pandas.DataFrame({"a": [1.0, None]}), Y, r"X has 1 missing values.*X\.dropna"),
        (pandas.DataFrame({"a": pandas.array([1, None])}), Y, "X has 1 missing values"),
        (X, pandas.Series([None, 1.0]), "Y has 1 missing values"),
        (pandas.DataFrame({"a": ["x", "y"]}), Y, "Column 'a' of X must hold real numbers"),
        (pandas.DataFrame({"t": pandas.to_datetime(["2020", "2021"])}), Y, "Column 't' of X"),
        (Metres(X), Y, r"X has units \(m\), which would be lost: give plain numbers, X\.value"),
        (np.array([[2**53 + 1], [0]]), Y, "X holds integers as large as 9007199254740993"),
        (1e-170 * X, Y, "from 1e-340 to 1e-339, beyond float64: divide X by its size, 2e-170"),
        (1e170 * X, Y, "beyond float64: divide X by its size"),
        (1e300 * X, Y, "beyond float64: divide X by its size"),
        (X.astype("f4") * np.float32(1e25), Y.astype("f4"), "beyond float32: divide X"),
        (X, 1e170 * Y, "Y is so large, up to 2e.170, that its loss is beyond the range of float64"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_refuses(X, Y, message):
    with pytest.raises(ValueError, match=message):
        jf.Regression(X, Y)


def test_frames_and_masks_that_lose_nothing():
    data = jf.Regression(X, Y)
    frame = pandas.DataFrame(X, columns=["a", "b", "c"]).astype({"a": "Int64"})
    for x, y in ((frame, pandas.Series(Y[:, 0])), (np.ma.array(X), np.ma.array(Y))):
        same = jf.Regression(x, y)
        assert np.array_equal(same.X, data.X)
        assert np.array_equal(same.Y, data.Y)
    single = jf.Regression(pandas.DataFrame(X.astype("f4")), Y.astype("f4"))
    assert single.X.dtype == np.float32


@pytest.mark.parametrize("size", [1e-150, 1e-120, 1e120, 1e150])
def test_any_size_within_the_range(size):
    data, scaled = jf.Regression(X, Y), jf.Regression(size * X, Y)
    assert_allclose(scaled.singular_values, size * data.singular_values, rtol=1e-12)
    assert_allclose(scaled.min_norm * size, data.min_norm, rtol=1e-12)


@pytest.mark.parametrize("shape", [(20_000, 20), (20, 20_000)])
def test_long_and_wide_data_make_no_square_array(shape):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=shape), rng.normal(size=(shape[0], 1))
    tracemalloc.start()
    data = jf.Regression(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.rank == 20
    assert peak < 5 * x.nbytes
    assert max(leaf.size for leaf in jax.tree.leaves(data)) == x.size


def test_classes():
    assert jf.Regression(X, np.eye(2), classes=["a", "b"]).classes == ("a", "b")
    assert jf.Regression(X, [1.0, -1.0], classes=["a", "b"]).classes == ("a", "b")
    with pytest.raises(ValueError, match="classes names 3 classes for 1 target: give one name"):
        jf.Regression(X, Y, classes=["a", "b", "c"])


# Traced targets.


LONG = np.random.default_rng(3).normal(size=(5, 3))
GOALS = np.random.default_rng(4).normal(size=(5, 2))


def quantities(data):
    return jnp.sum(data.min_norm**3) + 3 * data.optimal_loss + jnp.sum(data.best_fit**3)


def test_derivatives_by_the_targets():
    def value(a):
        return quantities(jf.Regression(LONG, a * GOALS))

    h = 1e-5
    expected = (value(1 + h) - value(1 - h)) / (2 * h)
    assert_allclose(jax.grad(value)(1.0), expected, rtol=1e-8)
    assert_allclose(jax.jit(value)(1.0), value(1.0), rtol=1e-12)
    # Of all fields: the derivative by Y includes what was computed from it.
    data = jf.Regression(LONG, GOALS)
    whole = eqx.filter_grad(quantities)(data)
    assert_allclose(jnp.sum(whole.Y * GOALS), expected, rtol=1e-8)
    stack = jax.vmap(lambda a: jf.Regression(LONG, a * GOALS).optimal_loss)(jnp.array([1.0, 2]))
    assert_allclose(stack, float(data.optimal_loss) * np.array([1, 4]), rtol=1e-12)


def test_derivative_of_a_flow_by_the_targets(key):
    network = jf.init.Gaussian()(key, jf.Regression(LONG, GOALS), width=4)

    def end(a):
        data = jf.Regression(LONG, a * GOALS)
        flow = jf.gradient_flow(network, data, ts=[0.3], solver="explicit", max_steps=256)
        return jnp.sum(flow.network.V**2)

    h = 1e-4
    expected = (end(1 + h) - end(1 - h)) / (2 * h)
    assert abs(expected) > 0.1
    assert_allclose(jax.grad(end)(1.0), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["X", "Y", "targets", "optimal_loss"])
def test_refuses_a_field_replaced_alone(name):
    with pytest.raises(ValueError, match=f"{name} of a Regression cannot be replaced alone"):
        eqx.tree_at(lambda d: getattr(d, name), jf.Regression(X, Y), 2.0)


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan")])
def test_refuses_rank_tolerance(tolerance):
    with pytest.raises(ValueError, match="rank_tolerance must lie in"):
        jf.Regression(X, Y, rank_tolerance=tolerance)


@pytest.mark.usefixtures("unchecked")
def test_options_of_the_wrong_kind_get_a_sentence():
    with pytest.raises(ValueError, match=r"rank_tolerance must lie in .*, got 'x'"):
        jf.Regression(X, Y, rank_tolerance="x")
    with pytest.raises(ValueError, match="classes must be a list of names, got sum"):
        jf.Regression(X, Y, classes=sum)
    with pytest.raises(ValueError, match="Python objects such as an object of type object"):
        jf.Regression(X, [object()] * len(X))


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
