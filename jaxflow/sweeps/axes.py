"""The axes of a sweep: values of any kind, and labels for them that every process agrees on."""

import collections
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..machine.arguments import shown

PLAIN = (type(None), bool, int, float, complex, str)


def axis(name: str, given: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The values of an axis, and a label for each.

    `given` holds the values, or maps labels to them. Plain values are their own labels, others are
    called by their names, and numbered if they share one.

    **Raises:** `ValueError` for an axis that has no values, or one twice.
    """
    if isinstance(given, Mapping):
        values, labels = tuple(given.values()), [_plain(label) for label in given]
    elif isinstance(given, str) or not isinstance(given, Iterable) or _single(given):
        said = shown(given)
        raise ValueError(f"The axis {name!r} takes a list of values, got {said}: write [...].")
    else:
        values = tuple(map(_plain, given))
        labels = [value if is_plain(value) else text(value) for value in values]
    if name == "width":  # 64 and 64.0 draw the same networks
        values = tuple(int(v) if isinstance(v, float) and v.is_integer() else v for v in values)
        labels = [int(v) if isinstance(v, float) and v.is_integer() else v for v in labels]
    if not values:
        raise ValueError(f"The axis {name!r} has no values.")
    counts: collections.Counter[str] = collections.Counter()
    for i, (value, label) in enumerate(zip(values, labels, strict=True)):
        counts[str(label)] += 1
        if counts[str(label)] > 1:
            if is_plain(value):
                raise ValueError(f"The axis {name!r} has a value twice: {list(labels)}.")
            labels[i] = f"{label} ({counts[str(label)]})"
    return values, tuple(labels)


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, or a tuple of such."""
    if isinstance(value, (tuple, list)):
        return all(map(is_plain, value))
    return isinstance(value, PLAIN)


def text(value: Any) -> str:
    """A value in a word: the name of a function, else what it prints in one line."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    if isinstance(value, functools.partial):
        given = [*map(text, value.args), *(f"{k}={text(v)}" for k, v in value.keywords.items())]
        return f"{text(value.func)}({', '.join(given)})"
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if isinstance(name, str):
        return name.rpartition("<locals>.")[2]
    if is_plain(value):
        return str(value)
    printed = str(value)
    short = "\n" not in printed and len(printed) <= 60 and " at 0x" not in printed
    return printed if short else type(value).__name__


def few(labels: tuple[Any, ...]) -> str:
    """All labels if there are few, else the first and the last."""
    if len(labels) <= 4:
        return f"[{', '.join(map(text, labels))}]"
    return f"[{text(labels[0])} ... {text(labels[-1])}] ({len(labels)})"


def coordinate(labels: tuple[Any, ...]) -> np.ndarray:
    """The coordinate of an axis: numbers if all labels are numbers, else their texts."""
    numeric = all(isinstance(v, (int, float)) for v in labels)
    return np.asarray(labels) if numeric else np.asarray([text(v) for v in labels])


def _single(value: Any) -> bool:
    return getattr(value, "ndim", None) == 0


def _plain(value: Any) -> Any:
    """A plain Python value for NumPy's, so that 64 and NumPy's 64 are the same coordinate."""
    return value.item() if _single(value) and hasattr(value, "item") else value
