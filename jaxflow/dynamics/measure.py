"""What is read off along the way. One object serves a single flow and a sweep of millions."""

import abc
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from .view import View


class Measure(eqx.Module):
    """A quantity of a trajectory.

    `fixed = start(first)` once at t = 0; `update(t, view, fixed)` at every saved time;
    `finish(ts, saved, last, fixed)` once at the end gives the value, an array with dimensions
    `dims`. The dimension "time" is that of the saved times. Written for one trajectory.
    """

    name: eqx.AbstractClassVar[str]
    dims: ClassVar[tuple[str, ...]] = ()
    # Whether it is the same for networks that differ by a rotation of inputs and hidden units: a
    # sweep whose measures all are makes no array of the size of D, however wide the network.
    rotation_free: ClassVar[bool] = False

    def start(self, first: View) -> PyTree:
        """What is fixed by the initialization."""
        return None

    def update(self, t: Float[Array, ""], view: View, fixed: PyTree) -> PyTree:
        """What to keep of a saved time."""
        return None

    @abc.abstractmethod
    def finish(self, ts: Float[Array, " time"], saved: PyTree, last: View, fixed: PyTree) -> Array:
        """The value, from what was saved at all times `ts` and the view at the end."""


def named(measures: Sequence[Measure]) -> tuple[Measure, ...]:
    """The measures, if no two of them share a name."""
    names = [measure.name for measure in measures]
    if len(set(names)) < len(names):
        raise ValueError(f"Two measures share a name: {names}.")
    return tuple(measures)
