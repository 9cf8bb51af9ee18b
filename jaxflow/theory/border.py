"""The border of the room: what its functions are given, checked against their annotations."""

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import AbstractArray

from ..data import Regression
from ..data.regression import problem
from ..machine.arguments import flag, function, integer, number, numbers
from ..networks import TwoLayerLinear
from ..networks.adopt import adopt
from ..networks.base import WrongNetwork


def asked(theory: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which says in one sentence what is wrong with its arguments."""
    signature, kinds = inspect.signature(theory), typing.get_type_hints(theory)

    @functools.wraps(theory)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{theory.__name__}: {error}.") from None
        sizes: dict[str, int] = {}
        try:
            for name, value in bound.arguments.items():
                _check(name, value, kinds[name], sizes)
                if isinstance(value, list) or hasattr(value, "to_numpy"):
                    bound.arguments[name] = np.asarray(value)
            return theory(*bound.args, **bound.kwargs)
        except WrongNetwork as error:
            error.args = (f"{theory.__name__} {error.said}",)
            raise
        except Exception:
            given = bound.arguments
            if {"network", "data"} <= set(given):
                adopt(given["network"], given["data"])  # which says it, if they are the reason
            raise

    return checked


def _check(name: str, value: Any, kind: Any, sizes: dict[str, int]) -> None:
    """`ValueError` unless a value is of a kind; the sizes of arrays are kept by their names."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType) and kind is not ArrayLike:
        kinds = [k for k in typing.get_args(kind) if k is not type(None)]
        if value is None and len(kinds) < len(typing.get_args(kind)):
            return
        kind = kinds[0] if len(kinds) == 1 else ArrayLike
    if kind is Regression:
        problem(value)
    elif kind is bool:
        flag(name, value)
    elif kind is int:
        integer(name, value, 0)
    elif kind is float:
        number(name, value)
    elif kind is ArrayLike or (isinstance(kind, type) and issubclass(kind, AbstractArray)):
        _shaped(name, value, getattr(kind, "dim_str", "..."), sizes)
    elif typing.get_origin(kind) is Callable:
        function(name, value, f"{name}(...)")
    elif isinstance(kind, type) and not (kind in (Any, TwoLayerLinear) or isinstance(value, kind)):
        raise WrongNetwork(f"a {kind.__name__}", value)


def _shaped(name: str, value: Any, dims: str, sizes: dict[str, int]) -> None:
    shape, names = numbers(name, value), dims.split()
    if shape is None or any(dim[0] in ".*" for dim in names):
        return
    known = [sizes.get(dim, size) for dim, size in zip(names, shape, strict=False)]
    if len(names) != len(shape) or known != list(shape):
        where = ", ".join(f"{d} = {sizes[d]}" for d in names if d in sizes)
        raise ValueError(
            f"{name} must have shape ({', '.join(names)}){where and f' with {where}'}, got {shape}."
        )
    sizes.update(zip(names, shape, strict=True))
