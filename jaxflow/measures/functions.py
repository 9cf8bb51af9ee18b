"""Measures made of a function `f(network, data)`, in one line."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._types import Network
from ..data import Regression
from ..dynamics.measure import Measure
from ..dynamics.view import View
from ..machine.arguments import flag, function, shown
from ..machine.user_files import sentence

Function = Callable[[Network, Regression], Any]


class _OfFunction(Measure):
    f: Function
    name: str = eqx.field(static=True)  # type: ignore[misc]
    dims: tuple[str, ...] = eqx.field(static=True)  # type: ignore[misc]
    rotation_free: bool = eqx.field(static=True)  # type: ignore[misc]

    def value(self, view: View) -> Array:
        """The value of the function at one moment."""
        try:
            return jnp.asarray(self.f(view.network, view.data))
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(
                f"The measure {self.name!r} takes an f(network, data) that returns an array. "
                f"{sentence(error)}"
            ) from error


class Along(_OfFunction):
    """The value of a function at every saved time."""

    def update(self, t: Any, view: View, fixed: PyTree) -> Array:
        return self.value(view)


class AtEnd(_OfFunction):
    """The value of a function at the end."""

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        return self.value(last)


def along(
    name: str, f: Function, *, dims: Sequence[str] = (), rotation_free: bool = False
) -> Measure:
    """A measure that saves `f(network, data)` at every saved time.

        jf.measures.along("sharpness", jf.theory.sharpness)

    **Arguments:**

    - `name`: under which it is found in `sol.measures` and in the dataset of a sweep.
    - `f`: a function of the network at that time, any module, and the data; returns an array.
    - `dims`: names of the dimensions of that array; "time" is put in front of them.
    - `rotation_free`: whether f is the same for networks that differ by a rotation of inputs and
      hidden units. If all measures of a sweep are, it works in r dimensions instead of D.

    **Returns:** a `Measure`, for `gradient_flow`, `gradient_descent` and `Sweep`.
    """
    return _of(Along, name, f, dims, rotation_free, ("time",))


def at_end(
    name: str, f: Function, *, dims: Sequence[str] = (), rotation_free: bool = False
) -> Measure:
    """A measure that is `f(network, data)` at the end of the trajectory; else as `along`.

    jf.measures.at_end("norm", lambda network, data: jnp.linalg.norm(network.V))
    """
    return _of(AtEnd, name, f, dims, rotation_free)


def _of(kind: Any, name: Any, f: Any, dims: Any, free: Any, first: tuple[str, ...] = ()) -> Measure:
    texts = [name, *dims] if isinstance(dims, list | tuple) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(
            f"name must be a text, and dims a list of texts, got {shown(name)} and {shown(dims)}."
        )
    function("f", f, "f(network, data)")
    free = flag("rotation_free", free)
    return kind(f=f, name=name, dims=(*first, *dims), rotation_free=free)
