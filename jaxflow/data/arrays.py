"""Numbers in whatever form they are given, as plain matrices; whatever would be lost is refused."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..machine.arguments import shown


def canonical(name: str, values: Any) -> np.ndarray:
    """`values` as a NumPy matrix of finite floats, in the dtype that JAX will keep."""
    if isinstance(values, jax.core.Tracer):
        raise ValueError(_traced(name))
    array = plain(name, values)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must hold real numbers, got {_kind(array)}: convert it to numbers first."
        )
    if array.ndim == 1:
        array = array[:, None]
    _check_shape(name, array.shape)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        largest = max(-int(array.min()), int(array.max()))
        if largest > 2**53:
            raise ValueError(
                f"{name} holds integers as large as {largest}, which float64 would round: "
                "leave such a column out, or round it yourself with astype(float)."
            )
    kept = array.astype(_float_dtype(array.dtype))
    bad = int(np.size(array) - np.isfinite(array).sum())
    if bad:
        raise ValueError(
            f"{name} has {bad} NaN or infinite entries: remove or impute those rows first."
        )
    if not np.isfinite(kept).all():
        raise ValueError(
            f"{name} has entries as large as {np.abs(array).max():.1g}, beyond the range of "
            f"{kept.dtype}: divide {name} by that number."
        )
    return kept


def traced(name: str, values: Any) -> Any:
    """As `canonical`, or the matrix as it is, where its numbers are traced by JAX."""
    if not isinstance(values, jax.core.Tracer):
        try:
            return canonical(name, values)
        except jax.errors.TracerArrayConversionError:  # within a list
            values = jnp.asarray(values)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got dtype {values.dtype}.")
    if values.ndim == 1:
        values = values[:, None]
    _check_shape(name, values.shape)
    return values.astype(_float_dtype(values.dtype))


def plain(name: str, values: Any) -> np.ndarray:
    """`numpy.asarray(values)`; `ValueError` where the conversion would lose a meaning."""
    if isinstance(values, np.ma.MaskedArray):
        masked = int(np.ma.getmaskarray(values).sum())
        if masked:
            raise ValueError(
                f"{name} has {masked} masked entries: remove those rows, or fill them with "
                f"{name}.filled(...)."
            )
        values = values.data
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise ValueError(f"{name} is a sparse matrix: give a dense one, {name}.toarray().")
    for unit, number in (("unit", "value"), ("units", "magnitude")):
        if hasattr(values, unit) and hasattr(values, number):
            raise ValueError(
                f"{name} has units ({getattr(values, unit)}), which would be lost: give plain "
                f"numbers, {name}.{number}."
            )
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(values, (pandas.DataFrame, pandas.Series)):
        return _of_frame(name, values, pandas)
    try:
        return np.asarray(values)
    except jax.errors.TracerArrayConversionError:
        if name == "Y":
            raise
        raise ValueError(_traced(name)) from None
    except Exception as error:
        raise ValueError(
            f"{name} cannot be read as a matrix ({str(error).splitlines()[0]}): give a NumPy "
            "array with one row per sample."
        ) from error


def _of_frame(name: str, frame: Any, pandas: Any) -> np.ndarray:
    columns = frame if frame.ndim == 2 else frame.to_frame()
    missing = columns.isna().to_numpy()
    if missing.any():
        raise ValueError(
            f"{name} has {int(missing.sum())} missing values: remove or impute those rows first, "
            f"for example with {name}.dropna()."
        )
    for column, dtype in columns.dtypes.items():
        if not pandas.api.types.is_numeric_dtype(dtype):
            raise ValueError(
                f"Column {column!r} of {name} must hold real numbers, got dtype {dtype}: convert "
                "it to numbers, or leave it out."
            )
    array = frame.to_numpy()
    return array.astype(float) if array.dtype == object else array


def _traced(name: str) -> str:
    return (
        f"{name} is being traced, but its numerical rank decides array shapes: "
        "build the Regression outside jit, vmap and grad, and pass it in."
    )


def _kind(array: np.ndarray) -> str:
    names = {"M": "dates", "m": "durations", "U": "text", "S": "text", "c": "complex numbers"}
    if array.dtype.kind == "O":
        odd = next((v for v in array.ravel() if not isinstance(v, (int, float))), None)
        return f"Python objects such as {shown(odd)}"
    return names.get(array.dtype.kind, f"dtype {array.dtype}")


def _check_shape(name: str, shape: Any) -> None:
    if len(shape) != 2 or 0 in shape:
        raise ValueError(
            f"{name} must be a non-empty matrix with one row per sample, got shape {shape}."
        )


def _float_dtype(dtype: np.dtype) -> np.dtype:
    wanted = dtype if dtype.kind == "f" else np.dtype(np.float64)
    # JAX decomposes matrices of these two dtypes only.
    wanted = np.dtype(np.float32 if wanted.itemsize <= 4 else np.float64)
    return np.dtype(jax.dtypes.canonicalize_dtype(wanted))
