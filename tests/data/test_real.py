import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_diabetes, load_digits

from jaxflow.data import load

load_raw = {
    "digits": lambda: load_digits(return_X_y=True),
    "diabetes": lambda: load_diabetes(return_X_y=True, scaled=False),
}


def centred(values):
    return values - values.mean(axis=0)


def constant(values):
    return np.ptp(np.asarray(values), axis=0) == 0


@pytest.fixture
def csv(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        path = tmp_path / "arrays.npz"
        np.savez(path, **arrays)
        return path

    return write


# The bundled sets.


def test_digits():
    pixels, classes = load_raw["digits"]()
    data = load("digits")
    assert (data.X.shape, data.Y.shape, data.X.dtype) == ((1797, 64), (1797, 10), np.float64)
    assert_allclose(data.X, centred(pixels / 16), atol=1e-13)
    assert_allclose(data.Y, centred(np.eye(10)[classes]), atol=1e-13)
    dead = constant(pixels)
    assert dead.sum() == 3
    assert not np.asarray(data.X)[:, dead].any()
    assert data.rank == 61


def test_diabetes():
    X, y = load_raw["diabetes"]()
    data = load("diabetes")
    assert (data.X.shape, data.Y.shape, data.rank) == ((442, 10), (442, 1), 10)
    assert_allclose(data.X, centred(X) / X.std(axis=0), rtol=1e-12, atol=1e-13)
    assert_allclose(data.Y[:, 0], centred(y) / y.std(), rtol=1e-12, atol=1e-13)
    raw = load("diabetes", center=False, standardize=False)
    assert np.array_equal(raw.X, X)
    assert np.array_equal(raw.Y[:, 0], y)


def test_first_rows_without_a_key():
    pixels, classes = load_raw["digits"]()
    data = load("digits", samples=50)
    assert_allclose(data.X, centred(pixels[:50] / 16), atol=1e-15)
    assert_allclose(data.Y, centred(np.eye(10)[classes[:50]]), atol=1e-15)
    # Columns that are constant in these rows only are zero too.
    assert constant(pixels[:50]).sum() > 3
    assert np.array_equal(~np.asarray(data.X).any(axis=0), constant(pixels[:50]))


def test_random_rows_with_a_key(key):
    X, y = load_raw["diabetes"]()
    order = np.asarray(jax.random.permutation(key, 442))
    data = load("diabetes", samples=30, key=key, center=False, standardize=False)
    assert np.array_equal(data.X, X[order[:30]])
    assert np.array_equal(data.Y[:, 0], y[order[:30]])
    more = load("diabetes", samples=40, key=key, center=False, standardize=False)
    assert np.array_equal(more.X[:30], data.X)
    other = load("diabetes", samples=30, key=jax.random.key(1), center=False, standardize=False)
    assert not np.array_equal(other.X, data.X)
    everything = load("diabetes", samples=442, key=key, center=False, standardize=False)
    assert_allclose(everything.singular_values, np.linalg.svd(X, compute_uv=False), rtol=1e-10)
    in_order = load("diabetes", key=key, center=False, standardize=False)
    assert np.array_equal(in_order.X, X)


def test_subsamples_are_uniform(npz):
    """Each of 8 rows is among 3 drawn ones with probability 3/8, within five standard errors."""
    path = npz(X=np.eye(8), Y=np.ones(8))
    keys = jax.random.split(jax.random.key(2), 200)
    counts = sum(np.asarray(load(path, samples=3, key=k, center=False).X).sum(0) for k in keys)
    assert np.abs(counts / 200 - 3 / 8).max() < 5 * (15 / 64 / 200) ** 0.5


def test_centred_after_subsampling(key):
    for name in load_raw:
        data = load(name, samples=20, key=key)
        assert_allclose(data.X.mean(0), 0.0, atol=1e-14)
        assert_allclose(data.Y.mean(0), 0.0, atol=1e-14)


@pytest.mark.parametrize("center", [True, False, "X"])
@pytest.mark.parametrize("standardize", [None, True, False, "X"])
@pytest.mark.parametrize("name", ["digits", "diabetes"])
def test_center_and_standardize(name, center, standardize):
    settings = {"center": center, "standardize": standardize, "samples": 40}
    data = load(name, **settings)
    raw = load(name, samples=40, center=False, standardize=False)
    if standardize is None:
        standardize = name == "diabetes"
    for now, before, is_x in ((data.X, raw.X, True), (data.Y, raw.Y, False)):
        now, expected = np.asarray(now), np.asarray(before)
        scale = np.where(constant(expected), 1.0, expected.std(axis=0))
        if center is True or (center == "X" and is_x):
            expected = centred(expected)
        if standardize is True or (standardize == "X" and is_x):
            expected = expected / scale
        assert_allclose(now, expected, rtol=1e-10, atol=1e-12)


def test_a_constant_column_is_exactly_zero(npz):
    """Its mean is rounded: 0.1 minus the mean of three 0.1s need not be zero."""
    X = np.stack([np.arange(3.0), np.full(3, 0.1)], axis=1)
    data = load(npz(X=X, Y=np.full(3, 0.1)), standardize=True)
    assert not np.asarray(data.X)[:, 1].any()
    assert not np.asarray(data.Y).any()
    kept = load(npz(X=X, Y=np.ones(3)), standardize=True, center=False)
    assert np.array_equal(kept.X[:, 1], X[:, 1])


# Files.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_npz(npz, dtype):
    X = np.random.default_rng(0).normal(size=(6, 4)).astype(dtype)
    Y = np.random.default_rng(1).normal(size=(6, 2)).astype(dtype)
    path = npz(X=X, Y=Y, something_else=np.ones(3))
    for source in (path, str(path)):
        data = load(source)
        assert data.X.dtype == data.Y.dtype == dtype
        assert_allclose(data.X, centred(X), atol=1e-6 if dtype == np.float32 else 1e-15)
    assert np.array_equal(load(path, center=False).Y, Y)
    vector = load(npz(X=X, Y=Y[:, 0]), center=False)
    assert np.array_equal(vector.Y, Y[:, :1])


TABLE = 'age, "dose, mg",outcome,weight\n1,2,3,4\n\n5,6.5,7,8e0\r\n9,10,11,13\n'


def test_csv(csv):
    data = load(csv(TABLE), targets=["outcome"], center=False)
    assert np.array_equal(data.X, [[1, 2, 4], [5, 6.5, 8], [9, 10, 13]])
    assert np.array_equal(data.Y, [[3], [7], [11]])
    # Targets come in the order asked for; one name needs no list.
    both = load(str(csv(TABLE)), targets=["weight", "dose, mg"], center=False)
    assert np.array_equal(both.Y, [[4, 2], [8, 6.5], [13, 10]])
    assert np.array_equal(load(csv(TABLE), targets="outcome", center=False).Y, data.Y)
    # As spreadsheets write it, with a byte-order mark.
    assert np.array_equal(
        load(csv(TABLE, "utf-8-sig"), targets=["age"], center=False).Y, [[1], [5], [9]]
    )
    assert load(csv(TABLE), targets=["outcome"], samples=2, standardize=True).samples == 2


@pytest.mark.parametrize(
    ("text", "targets", "message"),
    [
        (TABLE, None, r"targets=\['name', \.\.\.\].*'age', 'dose, mg', 'outcome', 'weight'"),
        (TABLE, [], r"targets=\['name', \.\.\.\]"),
        (TABLE, ["Outcome"], "no column 'Outcome'.*'age', 'dose, mg', 'outcome'"),
        (TABLE, ["age", "age"], "targets names a column twice"),
        ("a,b\n1,2\n", ["a", "b"], "leave at least one as a feature"),
        ("", ["a"], "is empty: it needs a header"),
        ("\n\n", ["a"], "is empty: it needs a header"),
        ("a,b\n", ["a"], "is only a header"),
        ("a;b\n1;2\n", ["b"], "single column, 'a;b'.*separated by commas"),
        ("a,b\n1,2\n\n3\n", ["b"], "Line 4 of .* has 1 cells, but the header has 2"),
        ("a,b\n1,2,3\n", ["b"], "Line 2 of .* has 3 cells, but the header has 2"),
        ("a,b,a\n1,2,3\n", ["b"], "two columns named 'a'"),
        (",a,b\n0,1,2\n", ["b"], "Column 1 of .* has no name.*index=False"),
        ("a,b\n1,2\nred,4\n", ["b"], "Column 'a' of .* holds 'red', not a number, on line 3"),
        ("a,b\n1,2\n3,\n", ["b"], "Column 'b' of .* has an empty cell on line 3"),
        ("a,b\n1,2\nnan,4\n", ["b"], "X has 1 NaN or infinite entries: remove or impute"),
        ("a,b\n1,2\n3,inf\n", ["b"], "Y has 1 NaN or infinite entries: remove or impute"),
        ('a,b\n1,"2\n', ["b"], "not comma-separated UTF-8 text"),
    ],
)
def test_csv_refuses(csv, text, targets, message):
    with pytest.raises(ValueError, match=message):
        load(csv(text), targets=targets)


def test_csv_refuses_other_encodings(csv):
    with pytest.raises(ValueError, match="not comma-separated UTF-8 text"):
        load(csv("größe,b\n1,2\n", "latin-1"), targets=["b"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.eye(2)}, r"has no array Y \(it holds X\).*numpy\.savez"),
        ({"x": np.eye(2), "y": np.ones(2)}, r"no array X and no array Y \(it holds x, y\)"),
        ({}, "it holds nothing"),
        ({"X": np.array([[1], [None]]), "Y": np.ones(2)}, "X in .* without unpickling"),
        ({"X": np.eye(2), "Y": np.ones(3)}, "X has 2 rows and Y has 3 in "),
        ({"X": np.array([["a"]]), "Y": np.ones(1)}, "X must hold real numbers"),
        ({"X": np.ones((2, 2, 2)), "Y": np.ones(2)}, "X must be a non-empty matrix"),
        ({"X": np.ones((0, 2)), "Y": np.ones(0)}, "X must be a non-empty matrix"),
        ({"X": np.array([[np.nan], [1.0], [np.inf]]), "Y": np.ones(3)}, "X has 2 NaN"),
        ({"X": np.ones((3, 2)), "Y": np.ones(3)}, "constant in these rows.*center=False"),
    ],
)
def test_npz_refuses(npz, arrays, message):
    with pytest.raises(ValueError, match=message):
        load(npz(**arrays))


def test_npz_refuses_what_is_not_an_archive(npz, tmp_path):
    path = tmp_path / "fake.npz"
    path.write_text("not an archive")
    with pytest.raises(ValueError, match=r"is not an \.npz archive: write it again"):
        load(path)
    damaged = npz(X=np.eye(50), Y=np.ones(50))
    content = bytearray(damaged.read_bytes())
    content[2000:2100] = bytes(100 * [7])
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        load(damaged)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mnist", "no data set named 'mnist'.*'digits', 'diabetes', and a path must end in"),
        ("Digits", "no data set named 'Digits'"),
        (Path("data.parquet"), "a path must end in .npz or .csv"),
        ("absent.npz", "no file absent.npz"),
        ("absent.csv", "no file absent.csv"),
        (3, "source must be a name or a path, got 3"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_refuses_source(source, message):
    with pytest.raises(ValueError, match=message):
        load(source, targets=["a"] if source == "absent.csv" else None)


def test_refuses_a_directory(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ValueError, match="no file"):
        load(tmp_path / "folder.npz")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples must lie between 1 and the 442 rows, got 0"),
        ({"samples": -1}, "samples must lie between 1 and the 442 rows, got -1"),
        ({"samples": 443}, "samples must lie between 1 and the 442 rows, got 443"),
        ({"samples": 2.0}, "samples must be a plain integer, got 2.0"),
        ({"samples": True}, "samples must be a plain integer, got True"),
        ({"samples": 1}, "nothing to learn from 1 sample of .*center=False"),
        ({"targets": ["a"]}, "targets names the columns of a .csv"),
        ({"center": "Y"}, "center must be True, False or 'X'"),
        ({"center": None}, "center must be True, False or 'X'"),
        ({"standardize": 1}, "standardize must be True, False or 'X'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_refuses_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        load("diabetes", **settings)


def test_one_uncentred_sample_is_a_problem():
    assert load("diabetes", samples=1, center=False).rank == 1


@pytest.mark.usefixtures("unchecked")
def test_refuses_a_traced_key(key):
    with pytest.raises(ValueError, match="key is being traced"):
        jax.jit(lambda k: load("diabetes", samples=3, key=k).X)(key)


def test_without_double_precision(tmp_path):
    """Bundled sets and tables follow JAX's precision; an array of float64 warns of its rounding."""
    np.savez(tmp_path / "wide.npz", X=np.eye(3), Y=np.ones(3))
    (tmp_path / "table.csv").write_text("a,b\n0.1,2\n3,4\n")
    script = """
        import warnings
        import numpy as np
        import jaxflow as jf
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for source, targets in (("digits", None), ("diabetes", None), ("table.csv", ["b"])):
                assert jf.data.load(source, targets=targets, samples=2).X.dtype == np.float32
            assert not caught, [str(w.message) for w in caught]
            assert jf.data.load("wide.npz").X.dtype == np.float32
        assert [w.filename for w in caught] == ["<string>"]
        assert "jax_enable_x64" in str(caught[0].message)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "JAX_ENABLE_X64": "0"},
    )


def test_scikit_learn_is_imported_only_when_used():
    script = "import sys, jaxflow.data; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
