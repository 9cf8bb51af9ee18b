"""What the arguments of public functions have to be, each said in one sentence."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def shown(value: Any) -> str:
    """A value on one line, or what it is if that would be long."""
    name = getattr(value, "__qualname__", None)
    printed = name if isinstance(name, str) else " ".join(repr(value).split())
    if len(printed) <= 80 and " at 0x" not in printed:
        return printed
    kind = type(value).__name__
    return f"an array of shape {value.shape}" if "rray" in kind else f"an object of type {kind}"


def number(
    name: str,
    value: Any,
    must: str = "be a finite number",
    holds: Callable[[float], bool] = math.isfinite,
    remedy: str = "",
) -> Any:
    """The value; `ValueError` unless it is a real number for which `holds` is true, or traced."""
    if not isinstance(value, jax.core.Tracer):
        known = _real(value)
        if known is None or not holds(known):
            raise ValueError(f"{name} must {must}, got {shown(value)}{remedy}.")
    return value


def positive(name: str, value: Any) -> Any:
    """The value; `ValueError` unless it is a positive, finite number, or traced."""
    return number(name, value, "be positive and finite", lambda x: 0 < x < math.inf)


def integer(name: str, value: Any, least: int = 1) -> int:
    """The value as an `int`; `ValueError` unless it is an integer, and at least `least`."""
    known = None if isinstance(value, jax.core.Tracer) else _real(value)
    if known is None or not known.is_integer():
        raise ValueError(f"{name} must be a plain integer, got {shown(value)}.")
    if known < least:
        raise ValueError(f"{name} must be at least {least}, got {shown(value)}.")
    if known >= 2**63:
        raise ValueError(f"{name} must be below 2^63, got {shown(value)}.")
    return int(value)


def numbers(name: str, value: Any) -> Any:
    """The shape of an array, None if it is not known yet; `ValueError` unless it is of numbers."""
    if isinstance(value, int):  # it may fit no array
        return ()
    try:
        array = value if hasattr(value, "dtype") else np.asarray(value)
    except jax.errors.TracerArrayConversionError:  # traced, within a list
        return None
    except Exception:
        array = np.asarray(None)
    if not any(jnp.issubdtype(array.dtype, k) for k in (jnp.floating, jnp.integer, jnp.bool_)):
        raise ValueError(f"{name} must hold real numbers, got {shown(value)}.")
    return np.shape(array)


def array(name: str, value: Any) -> Any:
    """An array, of a list or a table too; `ValueError` for what holds no real numbers."""
    numbers(name, value)
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    return jnp.asarray(value) if isinstance(value, list | tuple | int | float) else value


def instance(name: str, value: Any, kind: Any, what: str) -> Any:
    """The value; `ValueError` unless it is of a class."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be {what}, got {shown(value)}.")
    return value


def flag(name: str, value: Any) -> bool:
    """The value; `ValueError` unless it is True or False."""
    return bool(instance(name, value, bool | np.bool_, "True or False"))


def function(name: str, value: Any, called: str) -> Any:
    """The value; `ValueError` unless it can be called."""
    if not callable(value):
        raise ValueError(f"{name} must be a function, called as {called}, got {shown(value)}.")
    return value


def _real(value: Any) -> float | None:
    """The value as a float, if it is one real number."""
    if isinstance(value, (np.ndarray, jax.Array)):
        kinds = (jnp.floating, jnp.integer)
        plain = value.ndim == 0 and any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
    else:
        plain = isinstance(value, (int, float, np.integer, np.floating))
        plain = plain and not isinstance(value, bool)
    try:
        return float(value) if plain else None
    except OverflowError:  # an integer that no float comes near
        return math.inf if value > 0 else -math.inf
