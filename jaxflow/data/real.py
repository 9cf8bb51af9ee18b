"""Real data: bundled sets, and the files `.npz`, `.csv` and `.parquet`."""

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import jax
import jax.random as jr
import numpy as np

from ..machine.arguments import instance, shown
from ..machine.keys import Key, as_key
from .arrays import canonical
from .bundled import BUNDLED, read_bundled
from .labels import encoded
from .regression import Regression, warn_if_rounded
from .tables import SUFFIXES, Format, Targets, read_table

Columns = bool | Literal["X"]
# Of a column: a spread of so many roundings of its largest entry is noise.
ROUNDINGS = 32


def load(
    source: str | os.PathLike[str],
    *,
    samples: int | None = None,
    key: Key | None = None,
    targets: Targets = None,
    x: str | None = None,
    y: str | None = None,
    missing: str = "refuse",
    standardize: Columns | None = None,
    center: Columns | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
) -> Regression:
    r"""A real regression problem: `load("digits")`, `load("iris")`, or a path to a file.

    Rows are subsampled first. Then the mean of every column is subtracted, and with `standardize`
    the column is divided by its standard deviation `(mean((x - mean(x))^2))^(1/2)`. A constant
    column becomes exactly zero when it is centred, and is never divided; a column counts as
    constant if its entries differ by rounding only, by at most 32 eps times the largest of them.

    - The sets that come with scikit-learn: `"digits"` (pixels / 16, shape `(1797, 64)`, ten
      classes), `"iris"`, `"wine"` and `"breast_cancer"` (classes), `"diabetes"` (one target) and
      `"linnerud"` (three targets). All but digits are raw measurements, which are standardized
      unless told otherwise: X alone where the targets are classes.
    - `.npz`: arrays `X` (n, D) and `Y` (n, m) or (n,), in the file's own dtype, or arrays of the
      names `x` and `y`. Nothing is unpickled.
    - `.csv` (also `.tsv`, `.txt`): a table with a header. `targets` names the columns of Y; every
      other column is a feature. The separator (comma, semicolon or tab), decimal commas and the
      encoding (UTF-8, UTF-16 with a byte-order mark, else Latin-1) are found out.
    - `.parquet`: as `.csv`; needs pyarrow.

    **Classes.** A single target of text, such as a column of names, becomes classes, in
    alphabetical order: three or more are one-hot targets, shape `(n, classes)`; two are one target
    of -1 (the first) and +1 (the second), which is neither centred nor standardized unless
    `center=True` is given. Their names are `data.classes`. Numbers are never taken for classes.

    **Arguments:**

    - `source`: the name of a bundled data set, or a path.
    - `samples`: how many rows to keep; default all, in the order of the file.
    - `key`: a random key, or an integer seed, to draw the `samples` rows with, uniformly without
      replacement; without a key the first rows are taken. Draws with one key are nested: fewer
      rows are the first of more.
    - `targets`: for tables only, the names of the target columns, in the order of Y's columns; an
      integer is the number of a column, from 0.
    - `x`, `y`: for `.npz` only, the names of the arrays; default `"X"` and `"Y"`.
    - `missing`: what to do with rows in which a value is missing (an empty cell, `NA`, `NaN`,
      `?` and the like): "refuse" the file, or "drop" them.
    - `standardize`: True for X and Y, `"X"` for X alone, False for neither. Default: as above for
      bundled sets, False for files.
    - `center`: True for X and Y, `"X"` for X alone, False for neither. Default True, and `"X"`
      where the targets are two classes.
    - `separator`, `decimal`, `encoding`: of text tables, where they are found out wrongly;
      `header=False` if the first line is a sample.

    **Returns:** a `Regression` in JAX's default precision, or for `.npz` and `.parquet` in the
    file's.

    **Raises:** `ValueError` that says what to change, for anything that cannot be read as asked.

    **Source:** Alpaydin and Kaynak (1998) for digits; Efron, Hastie, Johnstone, Tibshirani (2004)
    for diabetes; Fisher (1936) for iris; all as bundled with scikit-learn.

    **Example:**

    >>> import jaxflow as jf
    >>> data = jf.data.load("digits", samples=50)
    >>> data.samples, data.features, data.outputs
    (50, 64, 10)
    >>> jf.data.load("breast_cancer").classes
    ('benign', 'malignant')
    """
    for name, value in (("center", center), ("standardize", standardize)):
        if not (isinstance(value, bool | None) or (isinstance(value, str) and value == "X")):
            raise ValueError(f"{name} must be True, False or 'X' (X alone), got {shown(value)}.")
    if not isinstance(missing, str) or missing not in ("refuse", "drop"):
        raise ValueError(f"missing must be 'refuse' or 'drop', got {shown(missing)}.")
    instance("source", source, str | os.PathLike, "a name or a path")
    instance("targets", targets, str | int | Sequence | None, "names or numbers of columns")
    instance("header", header, bool | None, "True or False")
    texts = {"x": x, "y": y, "separator": separator, "decimal": decimal, "encoding": encoding}
    for name, text in texts.items():
        instance(name, text, str | None, "a text")
    name = os.fspath(source)
    suffix = Path(name).suffix.lower()
    if targets is not None and suffix not in SUFFIXES:
        raise ValueError(f"targets names the columns of a table: leave it out for {name!r}.")
    if (x is not None or y is not None) and suffix != ".npz":
        raise ValueError(f"x and y name the arrays of an .npz: leave them out for {name!r}.")
    written = Format(separator, decimal, encoding, header)
    if written != Format() and suffix not in SUFFIXES[:-1]:
        raise ValueError(
            f"separator, decimal, encoding and header are of text tables: leave them out for "
            f"{name!r}."
        )
    drop = missing == "drop"
    usual: Columns = False
    if name in BUNDLED:
        usual = BUNDLED[name].standardize
        X, Y = (_default_precision(array) for array in read_bundled(name))
    elif suffix == ".npz":
        X, Y = _read_npz(_existing(name), x or "X", y or "Y")
        X, Y = _complete(name, X, Y) if drop else (X, Y)
        warn_if_rounded(X, *([Y] if Y.dtype.kind in "biufc" else []), stacklevel=2)
    elif suffix in SUFFIXES:
        X, Y = read_table(_existing(name), targets, drop, written)
        X, Y = _default_precision(X), _default_precision(Y)
    else:
        raise ValueError(
            f"There is no data set named {name!r}: the bundled ones are "
            f"{', '.join(map(repr, BUNDLED))}, and a path must end in .npz, .csv or .parquet."
        )
    # Checked before centring, so that errors are about the entries of the file.
    X = canonical("X", X)
    Y, classes = encoded(name, Y, X.dtype) if Y.dtype.kind in "US" else (canonical("Y", Y), None)
    if len(X) != len(Y):
        raise ValueError(
            f"X has {len(X)} rows and Y has {len(Y)} in {name}: they must have one row per "
            "sample each."
        )
    X, Y = _subsample(X, Y, samples, key)
    signs = classes is not None and len(classes) == 2
    if standardize is None:
        standardize = usual
    X = _prepared(X, center is not False, standardize is not False)
    if not (signs and center is None):
        Y = _prepared(Y, center in (True, None), standardize is True)
    if not X.any():
        why = "is constant in these rows" if center is not False else "is zero"
        raise ValueError(
            f"Every column of X {why}, so there is nothing to learn from {len(X)} "
            f"sample{'s'[: len(X) > 1]} of {name!r}: take more samples"
            + (", or pass center=False." if center is not False else ".")
        )
    return Regression(X, Y, classes=classes)


def _default_precision(values: np.ndarray) -> np.ndarray:
    """float64 in JAX's default precision, for data that have no precision of their own."""
    wide = (values.dtype.kind == "f" and values.dtype.itemsize > 4) or values.dtype.kind in "biu"
    return values.astype(jax.dtypes.canonicalize_dtype(np.float64)) if wide else values


def _subsample(
    X: np.ndarray, Y: np.ndarray, samples: int | None, key: Key | None
) -> tuple[np.ndarray, np.ndarray]:
    if samples is None:
        return X, Y
    instance("samples", samples, int | np.integer, "a plain integer")
    if isinstance(samples, bool):
        raise ValueError(f"samples must be a plain integer, got {samples}.")
    if not 1 <= samples <= len(X):
        raise ValueError(f"samples must lie between 1 and the {len(X)} rows, got {samples}.")
    if key is None:
        return X[:samples], Y[:samples]
    key = as_key(key)
    if isinstance(key, jax.core.Tracer):
        raise ValueError("key is being traced: load the data outside jit and vmap.")
    rows = np.asarray(jr.permutation(key, len(X)))[:samples]
    return X[rows], Y[rows]


def _prepared(values: np.ndarray, center: bool, standardize: bool) -> np.ndarray:
    """Centred and standardized columns, in double precision whatever the dtype."""
    if not (center or standardize):
        return values
    wide = values.astype(np.float64)
    largest = np.abs(wide).max(axis=0)
    # In units in which neither sums nor squares leave the range.
    unit = np.ldexp(1.0, np.frexp(largest)[1] - 1)
    wide /= unit
    # Nearly constant columns do not vary: their rounding noise would be blown up.
    varies = np.ptp(wide, axis=0) > ROUNDINGS * np.finfo(values.dtype).eps * (largest / unit)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    if center:
        wide = np.where(varies, wide - mean, 0.0)
    if standardize:
        wide = np.where(varies, wide / np.where(varies, deviation, 1.0), wide * unit)
    else:
        wide *= unit
    return wide.astype(values.dtype)


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"There is no file {name}: check the path, relative to {Path.cwd()}.")
    return path


def _read_npz(path: Path, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    remedy = "write it again with numpy.savez(path, X=X, Y=Y)"
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz archive: {remedy}.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in (x, y) if name not in archive.files]
            if missing:
                held = ", ".join(archive.files) or "nothing"
                raise ValueError(
                    f"{path} has no array {' and no array '.join(missing)} (it holds {held}): "
                    f"name the arrays, x='...' and y='...', or {remedy}."
                )
            found = []
            for name in (x, y):
                try:
                    found.append(archive[name])
                except ValueError as error:
                    raise ValueError(
                        f"{name} in {path} cannot be read without unpickling, which is never "
                        f"done: save it as an array of plain numbers, {name}.astype(float)."
                    ) from error
            return found[0], found[1]
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}): {remedy}.") from error


def _complete(name: str, X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows without NaN."""
    if len(X) != len(Y) or not len(X):
        return X, Y  # refused later
    lacks = np.zeros(len(X), bool)
    for values in (X, Y):
        if values.dtype.kind == "f":
            lacks |= np.isnan(values.reshape(len(X), -1)).any(axis=1)
    if lacks.all():
        raise ValueError(f"Every row of {name} has a missing value: there is nothing to keep.")
    return X[~lacks], Y[~lacks]
