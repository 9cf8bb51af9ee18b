"""Real data: two bundled sets, and `.npz` and `.csv` files."""

import csv
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import jax
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from .regression import Regression, canonical, warn_if_rounded

Columns = bool | Literal["X"]


def load(
    source: str | os.PathLike[str],
    *,
    samples: int | None = None,
    key: PRNGKeyArray | None = None,
    targets: str | Sequence[str] | None = None,
    standardize: Columns | None = None,
    center: Columns = True,
) -> Regression:
    r"""A real regression problem: `load("digits")`, `load("diabetes")`, or a path to a file.

    Rows are subsampled first. Then the mean of every column is subtracted, and with `standardize`
    the column is divided by its standard deviation `(mean((x - mean(x))^2))^(1/2)`. A constant
    column becomes exactly zero when it is centred, and is never divided.

    - `"digits"`: X is pixels / 16, shape `(1797, 64)`; Y the one-hot class, shape `(1797, 10)`.
    - `"diabetes"`: X is ten raw measurements, shape `(442, 10)`; Y the disease's progression,
      shape `(442, 1)`. Standardized unless told otherwise.
    - `.npz`: arrays `X` (n, D) and `Y` (n, m) or (n,), in the file's own dtype. Nothing is
      unpickled.
    - `.csv`: UTF-8, comma-separated, one header row. `targets` names the columns of Y; every other
      column is a feature.

    **Arguments:**

    - `source`: the name of a bundled data set, or a path that ends in `.npz` or `.csv`.
    - `samples`: how many rows to keep; default all, in the order of the file.
    - `key`: a random key to draw the `samples` rows with, uniformly without replacement; without
      a key the first rows are taken. Draws with one key are nested: fewer rows are the first of
      more.
    - `targets`: for `.csv` only, the names of the target columns, in the order of Y's columns.
    - `standardize`: True for X and Y, `"X"` for X alone, False for neither. Default: True for
      diabetes, False for everything else.
    - `center`: True for X and Y, `"X"` for X alone, False for neither.

    **Returns:** a `Regression` in JAX's default precision, or for `.npz` in the file's.

    **Raises:** `ValueError` that says what to change, for anything that cannot be read as asked.

    **Source:** Alpaydin and Kaynak (1998) for digits; Efron, Hastie, Johnstone, Tibshirani (2004)
    for diabetes; both as bundled with scikit-learn.

    **Example:**

    >>> import jaxflow as jf
    >>> data = jf.data.load("digits", samples=50)
    >>> data.samples, data.features, data.outputs
    (50, 64, 10)
    """
    for name, value in (("center", center), ("standardize", standardize)):
        unset = name == "standardize" and value is None
        if not (unset or isinstance(value, bool) or value == "X"):
            raise ValueError(f"{name} must be True, False or 'X' (X alone), got {value!r}.")
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"source must be a name or a path, got {source!r}.")
    name = os.fspath(source)
    suffix = Path(name).suffix.lower()
    if targets is not None and suffix != ".csv":
        raise ValueError(f"targets names the columns of a .csv: leave it out for {name!r}.")
    if name in BUNDLED:
        reader, own_standardize = BUNDLED[name]
        X, Y = (_default_precision(array) for array in reader())
    elif suffix == ".npz":
        (X, Y), own_standardize = _read_npz(_existing(name)), False
        warn_if_rounded(X, Y, stacklevel=2)
    elif suffix == ".csv":
        X, Y = (_default_precision(array) for array in _read_csv(_existing(name), targets))
        own_standardize = False
    else:
        raise ValueError(
            f"There is no data set named {name!r}: the bundled ones are "
            f"{', '.join(map(repr, BUNDLED))}, and a path must end in .npz or .csv."
        )
    # Checked before centring, so that errors are about the entries of the file.
    X, Y = canonical("X", X), canonical("Y", Y)
    if len(X) != len(Y):
        raise ValueError(
            f"X has {len(X)} rows and Y has {len(Y)} in {name}: they must have one row per "
            "sample each."
        )
    X, Y = _subsample(X, Y, samples, key)
    if standardize is None:
        standardize = own_standardize
    X = _prepared(X, center is not False, standardize is not False)
    Y = _prepared(Y, center is True, standardize is True)
    if not X.any():
        why = "is constant in these rows" if center is not False else "is zero"
        raise ValueError(
            f"Every column of X {why}, so there is nothing to learn from {len(X)} "
            f"sample{'s'[: len(X) > 1]} of {name!r}: take more samples"
            + (", or pass center=False." if center is not False else ".")
        )
    return Regression(X, Y)


def _default_precision(values: np.ndarray) -> np.ndarray:
    """The values in JAX's default precision, for data that have no precision of their own."""
    return values.astype(jax.dtypes.canonicalize_dtype(np.float64))


def _subsample(
    X: np.ndarray, Y: np.ndarray, samples: int | None, key: PRNGKeyArray | None
) -> tuple[np.ndarray, np.ndarray]:
    if samples is None:
        return X, Y
    if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)):
        raise ValueError(f"samples must be a plain integer, got {samples!r}.")
    if not 1 <= samples <= len(X):
        raise ValueError(f"samples must lie between 1 and the {len(X)} rows, got {samples}.")
    if key is None:
        return X[:samples], Y[:samples]
    if isinstance(key, jax.core.Tracer):
        raise ValueError("key is being traced: load the data outside jit and vmap.")
    rows = np.asarray(jr.permutation(key, len(X)))[:samples]
    return X[rows], Y[rows]


def _prepared(values: np.ndarray, center: bool, standardize: bool) -> np.ndarray:
    """Centred and standardized columns, in double precision whatever the dtype."""
    wide = values.astype(np.float64)
    varies = np.ptp(wide, axis=0) > 0
    mean = wide.mean(axis=0)
    scale = np.where(varies, wide.std(axis=0), 1.0)
    if center:
        # A constant column minus its rounded mean need not be exactly zero.
        wide = np.where(varies, wide - mean, 0.0)
    if standardize:
        wide = wide / np.where(scale > 0, scale, 1.0)
    return wide.astype(values.dtype)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    # Imported here, since importing scikit-learn takes longer than the rest of the package.
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    return pixels / 16, np.eye(10)[classes]


def _diabetes() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_diabetes

    return load_diabetes(return_X_y=True, scaled=False)


# name: (reader of X and Y, whether the columns are standardized unless told otherwise)
BUNDLED: dict[str, tuple[Callable[[], tuple[np.ndarray, np.ndarray]], bool]] = {
    "digits": (_digits, False),
    "diabetes": (_diabetes, True),
}


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"There is no file {name}: check the path, relative to {Path.cwd()}.")
    return path


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    remedy = "write it again with numpy.savez(path, X=X, Y=Y)"
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz archive: {remedy}.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in ("X", "Y") if name not in archive.files]
            if missing:
                held = ", ".join(archive.files) or "nothing"
                raise ValueError(
                    f"{path} has no array {' and no array '.join(missing)} (it holds {held}): "
                    f"{remedy}."
                )
            found = {}
            for name in ("X", "Y"):
                try:
                    found[name] = archive[name]
                except ValueError as error:
                    raise ValueError(
                        f"{name} in {path} cannot be read without unpickling, which is never "
                        "done: save it as an array of plain numbers, X.astype(float)."
                    ) from error
            return found["X"], found["Y"]
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}): {remedy}.") from error


def _read_csv(path: Path, targets: str | Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    names, rows, lines = _csv_cells(path)
    wanted = [targets] if isinstance(targets, str) else list(targets or ())
    shown = ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")
    if not wanted:
        raise ValueError(f"Say what to predict, targets=['name', ...]: {path} has {shown}.")
    for name in wanted:
        if name not in names:
            raise ValueError(
                f"{path} has no column {name!r} to use as a target: its header, the first line, "
                f"names {shown}."
            )
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"targets names a column twice: {wanted}. Name each one once.")
    if len(wanted) == len(names):
        raise ValueError(f"Every column of {path} is a target: leave at least one as a feature.")
    columns = {
        name: _numbers(path, name, [row[place] for row in rows], lines)
        for place, name in enumerate(names)
    }
    features = [columns[name] for name in names if name not in wanted]
    return np.stack(features, axis=1), np.stack([columns[name] for name in wanted], axis=1)


def _csv_cells(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """The header's names, the rows of cells below it, and the line on which each row ends."""
    rows, lines = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            for row in reader:
                if row:
                    rows.append([cell.strip() for cell in row])
                    lines.append(reader.line_num)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not comma-separated UTF-8 text ({error}): re-save it.") from (
            error
        )
    if len(rows) < 2:
        what = "only a header" if rows else "empty"
        raise ValueError(f"{path} is {what}: it needs a header row and one row per sample.")
    (names, *rows), (_, *lines) = rows, lines
    if len(names) == 1:
        raise ValueError(
            f"{path} has a single column, {names[0]!r}: it needs features and targets, separated "
            "by commas."
        )
    for place, name in enumerate(names):
        if not name:
            raise ValueError(
                f"Column {place + 1} of {path} has no name: name it in the header (or leave the "
                "index out, index=False in pandas)."
            )
        if name in names[:place]:
            raise ValueError(f"{path} has two columns named {name!r}: rename one of them.")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise ValueError(
                f"Line {line} of {path} has {len(row)} cells, but the header has {len(names)}: "
                "give every row one cell per column."
            )
    return names, rows, lines


def _numbers(path: Path, name: str, cells: list[str], lines: list[int]) -> np.ndarray:
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        pass
    for cell, line in zip(cells, lines, strict=True):
        try:
            float(cell)
        except ValueError:
            what = f"holds {cell!r}, not a number," if cell else "has an empty cell"
            raise ValueError(
                f"Column {name!r} of {path} {what} on line {line}: encode or impute it as a "
                "number, or leave the column out of the file."
            ) from None
    raise AssertionError("unreachable")
