"""Classes as targets of a `Regression`: -1 and +1 for two, one-hot for more."""

import jax
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from .arrays import canonical
from .regression import Regression


def signed(data: Regression) -> Float[Array, "n D"]:
    """The rows `y_i x_i`, shape (n, D).

    **Raises:** `ValueError` unless the targets are a single output of +1 and -1. Under `jit` and
    `vmap`, where the values are unknown, only the number of outputs is checked.
    """
    known = not isinstance(data.Y, jax.core.Tracer)
    if data.outputs != 1 or (known and np.any(np.abs(np.asarray(data.Y)) != 1)):
        raise ValueError("Labels must be a single output of +1 and -1: give Regression(X, labels).")
    return data.Y * data.X


def classified(data: Regression) -> None:
    """`ValueError` unless the targets are classes: +1 and -1 in one column, or one-hot."""
    if data.outputs == 1:
        signed(data)
    elif not isinstance(data.Y, jax.core.Tracer):
        Y = np.asarray(data.Y)
        if not (np.isin(Y, (0, 1)).all() and (Y.sum(axis=1) == 1).all()):
            raise ValueError(
                "Targets of several columns must be one-hot, as jf.Classification(X, labels) makes "
                "them."
            )


def Classification(
    X: ArrayLike, labels: ArrayLike, *, one_hot: bool = False, rank_tolerance: float | None = None
) -> Regression:
    """A `Regression` whose targets stand for classes, named by `data.classes`.

    **Arguments:**

    - `X`: inputs (n, D), one row per sample.
    - `labels`: (n,), integers or texts. The classes are their distinct values in increasing order.
      Two become one column of -1 (the first) and +1 (the second), as margin losses need it; more
      become one-hot columns.
    - `one_hot`: two classes become two columns, too, as the cross-entropy needs it.
    - `rank_tolerance`: as in `Regression`.

    **Raises:** `ValueError` for labels of a single class, several columns, or fractions.
    """
    values = np.asarray(labels)
    if values.dtype.kind == "f" and np.array_equal(values, np.rint(values)):
        values = values.astype(np.int64)
    if values.dtype.kind not in "iubUSO":
        raise ValueError(
            f"labels must be integers or texts, one per sample, got {values.dtype}: for numbers "
            "use jf.Regression."
        )
    x = canonical("X", X)
    Y, classes = encoded("the data", values, x.dtype, one_hot=one_hot)
    return Regression(x, Y, rank_tolerance=rank_tolerance, classes=classes)


def encoded(
    name: str, labels: np.ndarray, dtype: np.dtype, *, one_hot: bool = False
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The targets that stand for the labels (n,) or (n, 1), and the names of the classes.

    The targets have the given dtype. The classes are in increasing order, texts in alphabetical
    order. Two become one column of -1 (the first) and +1 (the second), unless `one_hot`; more
    become one column each, 1 for the class and 0 for the others.

    **Raises:** `ValueError` for several columns of labels, and for a single class.
    """
    if labels.ndim > 2 or (labels.ndim == 2 and labels.shape[1] != 1):
        raise ValueError(
            f"Y of {name} holds several columns of text: give one column of labels, or numbers."
        )
    text = labels.reshape(-1)
    if text.dtype.kind not in "iub":
        text = np.char.strip(text.astype(str))
    names, index = np.unique(text, return_inverse=True)
    classes = tuple(map(str, names))
    if len(classes) < 2:
        raise ValueError(
            f"All labels of {name} are {classes[0]!r}: there is nothing to learn from one class."
        )
    if 2 * len(classes) > len(text) > 20:
        raise ValueError(
            f"The labels of {name} are {len(classes)} different ones in {len(text)} rows, such as "
            f"{classes[0]!r}: name a column of classes or of numbers as the target."
        )
    if len(classes) == 2 and not one_hot:
        return (2 * index - 1).astype(dtype)[:, None], classes
    return np.eye(len(classes), dtype=dtype)[index], classes
