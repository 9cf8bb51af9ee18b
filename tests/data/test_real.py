import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pandas
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

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
        ("a:b\n1:2\n", ["b"], "single column, 'a:b'.*separated by commas"),
        ("a,b\n1,2\n\n3\n", ["b"], "Line 4 of .* has 1 cells, but the header has 2"),
        ("a,b\n1,2,3\n", ["b"], "Line 2 of .* has 3 cells, but the header has 2"),
        ("a,b,a\n1,2,3\n", ["b"], "two columns named 'a'"),
        (",a,b\n0,1,2\n", ["b"], "Column 1 of .* has no name.*index=False"),
        ("a,b\n1,2\nred,4\n", ["b"], "Column 'a' of .* holds 'red', not a number, on line 3"),
        ("a,b\n1,2\n3,\n", ["b"], "Column 'b' of .* has a missing value on line 3.*missing='drop'"),
        ("a,b\n1,2\n\nnan,4\n", ["b"], "Column 'a' of .* has a missing value on line 4, one of 1"),
        ("a,b\n1,2\n3,red\n", ["b"], "Column 'b' of .* holds 'red', not a number, on line 3"),
        ("a;b\n1,5;2\n2;3.5\n", ["b"], "holds '3.5', not a number, on line 3"),
        ("a\tb\n1,500\t2\n", ["b"], "holds '1,500': pass decimal=','"),
        ("5.1,3.5,red\n4.9,3,blue\n", ["red"], "holds numbers, such as 5.1: pass header=False"),
        ("a,b\n1,red\n2,red\n", ["b"], "All labels of .* are 'red'"),
        ("a,b\n?,1\n2,NA\n", ["b"], "missing value on line 2, one of 2"),
        ("a,b\n\0,1\n", ["b"], "is not text"),
        ("a,b\n1,2\n3,inf\n", ["b"], "Y has 1 NaN or infinite entries: remove or impute"),
        ('a,b\n1,"2\n', ["b"], "is not text separated by ','"),
    ],
)
def test_csv_refuses(csv, text, targets, message):
    with pytest.raises(ValueError, match=message):
        load(csv(text), targets=targets)


ROWS = np.array([[1.5, -2.0, 3.0], [4.0, 5.25, 6.0], [7.0, 8.0, -9.5]])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_csv_as_people_write_it(csv, separator, decimal, encoding):
    if separator == decimal:
        pytest.skip("no such file")
    lines = [["größe", "b, c", "y"], *([str(v).replace(".", decimal) for v in r] for r in ROWS)]
    text = "\r\n".join(separator.join(f'"{cell}"' for cell in line) for line in lines)
    data = load(csv(text, encoding), targets="y", center=False)
    assert np.array_equal(data.X, ROWS[:, :2])
    assert np.array_equal(data.Y, ROWS[:, 2:])
    told = {"separator": separator, "decimal": decimal, "encoding": encoding}
    assert np.array_equal(load(csv(text, encoding), targets=-1, center=False, **told).X, data.X)


def test_csv_of_another_separator_and_without_a_header(csv):
    text = "5.1 3.5 0.2\n4.9 3.0 0.4\n"
    data = load(csv(text), targets=2, separator=" ", header=False, center=False)
    assert np.array_equal(data.X, [[5.1, 3.5], [4.9, 3.0]])
    named = load(csv(text), targets="0.2", separator=" ", header=True, center=False)
    assert np.array_equal(named.Y, [[0.4]])
    # The names that pandas gives to columns without names.
    assert load(csv("0,1,2\n3,4,5\n"), targets="2", center=False).samples == 1


def test_two_labels_are_signs(csv):
    data = load(csv("a,b\n1,yes\n2, no\n3,yes\n"), targets="b", standardize=True)
    assert data.classes == ("no", "yes")
    assert np.array_equal(data.Y, [[1], [-1], [1]])
    assert_allclose(data.X[:, 0], [-(1.5**0.5), 0, 1.5**0.5])
    centred_too = load(csv("a,b\n1,yes\n2,no\n3,yes\n"), targets="b", center=True)
    assert_allclose(centred_too.Y.sum(), 0, atol=1e-15)
    truth = load(csv("a,b\n1,True\n2,False\n"), targets="b")
    assert truth.classes == ("False", "True")


def test_more_labels_are_one_hot(csv, npz):
    text = "a,kind\n1,red\n2,blue\n4,grün\n8,red\n"
    one_hot = [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    table = load(csv(text, "latin-1"), targets="kind", center="X")
    archive = load(npz(X=[1, 2, 4, 8], Y=["red", "blue", "grün", "red"]), center="X")
    for data in (table, archive):
        assert data.classes == ("blue", "grün", "red")
        assert np.array_equal(data.Y, one_hot)
    with pytest.raises(ValueError, match="20 different ones in 21 rows"):
        load(npz(X=np.arange(21), Y=[f"id{min(i, 19)}" for i in range(21)]))
    with pytest.raises(ValueError, match="several columns of text"):
        load(npz(X=np.eye(2), Y=[["a", "b"], ["c", "d"]]))


def test_missing_rows_are_dropped_on_request(csv, npz):
    text = "a,b,c\n1,2,x\n,3,y\n4,?,x\n5,6,\n7,9,y\n"
    data = load(csv(text), targets="c", missing="drop", center=False)
    assert np.array_equal(data.X, [[1, 2], [7, 9]])
    assert np.array_equal(data.Y, [[-1], [1]])
    with pytest.raises(ValueError, match=r"Line 3 of .* has 1 cells"):
        load(csv("a,b\n1,2\n3\n"), targets="b", missing="drop")
    with pytest.raises(ValueError, match=r"Every row of .* has a missing value"):
        load(csv("a,b\n1,\n,3\n"), targets="b", missing="drop")
    X = np.array([[1.0, 2], [np.nan, 1], [3, 4], [5, 7]])
    path = npz(X=X, Y=np.array([1.0, 2, np.nan, 4]))
    assert np.array_equal(load(path, missing="drop", center=False).X, X[[0, 3]])
    with pytest.raises(ValueError, match="missing must be 'refuse' or 'drop'"):
        load(path, missing="ignore")


def test_parquet(tmp_path, monkeypatch):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"not a table")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(ValueError, match="needs pyarrow"):
            load(path, targets="c")
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match=r"is not a \.parquet table"):
        load(path, targets="c")
    columns = {"a": ROWS[:, 0].astype("f4"), "b": ROWS[:, 1].astype("f4"), "c": ["x", "y", "x"]}
    pandas.DataFrame(columns).to_parquet(path)
    data = load(path, targets="c", center=False)
    assert data.X.dtype == np.float32
    assert np.array_equal(data.X, ROWS[:, :2].astype("f4"))
    assert data.classes == ("x", "y")
    pandas.DataFrame({"a": [1, None], "b": [2.0, 3.0]}).to_parquet(path)
    with pytest.raises(ValueError, match=r"Column 'a' of .* has a missing value on row 2"):
        load(path, targets="b")
    days = pandas.to_datetime(["2020-01-01", "2020-01-02"])
    pandas.DataFrame({"a": days, "b": [2.0, 3.0]}).to_parquet(path)
    with pytest.raises(ValueError, match=r"Column 'a' of .* holds '2020.*not a number"):
        load(path, targets="b")


def test_npz_of_other_names(npz):
    path = npz(x_train=np.eye(3), labels=np.arange(3.0))
    data = load(path, x="x_train", y="labels", center=False)
    assert np.array_equal(data.X, np.eye(3))
    with pytest.raises(ValueError, match=r"no array labels \(it holds x, y\).*name the arrays"):
        load(npz(x=np.eye(3), y=np.ones(3)), x="x", y="labels")
    with pytest.raises(ValueError, match=r"x and y name the arrays of an \.npz"):
        load("digits", x="x")
    with pytest.raises(ValueError, match="separator, decimal, encoding and header are of text"):
        load(path, separator=";")


@pytest.mark.parametrize(
    ("name", "shape", "outputs", "classes"),
    [
        ("iris", (150, 4), 3, ("setosa", "versicolor", "virginica")),
        ("wine", (178, 13), 3, ("class_0", "class_1", "class_2")),
        ("breast_cancer", (569, 30), 1, ("benign", "malignant")),
        ("linnerud", (20, 3), 3, None),
        ("digits", (1797, 64), 10, tuple("0123456789")),
    ],
)
def test_bundled_sets(name, shape, outputs, classes):
    data = load(name)
    assert (data.X.shape, data.outputs, data.classes) == (shape, outputs, classes)
    if name != "digits":
        assert_allclose(np.asarray(data.X).std(axis=0), 1, rtol=1e-12)
    if name == "breast_cancer":  # in scikit-learn 0 is malignant
        assert np.array_equal(data.Y[:, 0], 1 - 2 * load_breast_cancer().target)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ValueError, match="'wine' comes with scikit-learn: pip install"):
        load("wine")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rounding_noise_is_not_standardized(npz, dtype):
    rng, n = np.random.default_rng(0), 40
    free = rng.normal(size=n)
    nearly = np.where(np.arange(n) % 2, dtype(0.1) + dtype(0.2), dtype(0.3))
    shares = rng.dirichlet(np.ones(9), size=n).astype(dtype).sum(axis=1)  # 1 but for rounding
    cancelled = (free.astype(dtype) - free.astype(dtype)) + dtype(1e5)
    small = 1e5 + 1e3 * np.finfo(dtype).eps * 1e5 * rng.normal(size=n)  # varies, if little
    X = np.stack([free, nearly, shares, cancelled, small], axis=1).astype(dtype)
    data = load(npz(X=X, Y=free.astype(dtype)), standardize=True)
    assert data.rank == 2
    assert not np.asarray(data.X)[:, 1:4].any()
    assert_allclose(np.asarray(data.X)[:, [0, 4]].std(axis=0), 1, rtol=1e-3)


@pytest.mark.parametrize("size", [1e-170, 1e170])
def test_standardizing_any_size(npz, size):
    X = np.random.default_rng(0).normal(size=(6, 3))
    data, plain = (load(npz(X=X * s, Y=X[:, 0]), standardize=True) for s in (size, 1))
    assert_allclose(data.X, plain.X, rtol=1e-12)


def test_integer_keys(npz):
    path = npz(X=np.eye(8), Y=np.ones(8))
    a, b = (load(path, samples=3, key=k, center=False).X for k in (7, jax.random.key(7)))
    assert np.array_equal(a, b)


@pytest.mark.usefixtures("unchecked")
def test_refuses_what_is_no_key():
    with pytest.raises(ValueError, match=r"A key is jax\.random\.key\(0\), or a non-negative"):
        load("diabetes", samples=3, key="seven")


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
        ("mnist", "no data set named 'mnist'.*'digits', 'diabetes', 'iris'.*and a path must end"),
        ("Digits", "no data set named 'Digits'"),
        (Path("data.xlsx"), "a path must end in .npz, .csv or .parquet"),
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
        ({"targets": ["a"]}, "targets names the columns of a table"),
        ({"center": "Y"}, "center must be True, False or 'X'"),
        ({"center": 0.5}, "center must be True, False or 'X'"),
        ({"standardize": 1}, "standardize must be True, False or 'X'"),
        ({"center": np.ones(2)}, "center must be True, False or 'X'"),
        ({"samples": "3"}, "samples must be a plain integer, got '3'"),
        ({"missing": ["drop"]}, "missing must be 'refuse' or 'drop'"),
        ({"separator": 3}, "separator must be a text, got 3"),
        ({"targets": 1.5}, "targets must be names or numbers of columns"),
        ({"header": 3}, "header must be True or False, got 3"),
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
