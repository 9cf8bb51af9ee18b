"""A quantity that is read off a trajectory. One object serves a single flow and a sweep."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from ..machine.arguments import shown
from .view import View


class Measure(eqx.Module):
    """A quantity of a trajectory, written for one trajectory: `vmap` stays outside.

    `fixed = start(first)` is computed once, at time 0. What `update(t, view, fixed)` returns is
    saved at every saved time, and `finish(ts, saved, last, fixed)` makes the value of it, an array
    with dimensions `dims`; unless it is overridden, the value is what was saved. The dimension
    "time" is that of the saved times.
    """

    if TYPE_CHECKING:
        name: ClassVar[str]
    else:
        name: eqx.AbstractVar[str]  # of the class, or of the object (`measures.along`)
    dims: ClassVar[tuple[str, ...]] = ()
    # True if the measure is invariant under rotations of inputs and hidden units. If all measures
    # of a sweep are, it works in r (the rank of the data) dimensions instead of D.
    rotation_free: ClassVar[bool] = False

    def start(self, first: View) -> PyTree:
        """What is fixed by the initialization."""
        return None

    def update(self, t: Float[Array, ""], view: View, fixed: PyTree) -> PyTree:
        """What to save at a saved time."""
        return None

    def finish(self, ts: Float[Array, " time"], saved: PyTree, last: View, fixed: PyTree) -> PyTree:
        """The value, from what was saved at all times `ts` and the view at the end."""
        if saved is None:
            raise NotImplementedError(f"{type(self).__name__} has neither `update` nor `finish`.")
        return saved


def named(measures: Sequence[Measure]) -> tuple[Measure, ...]:
    """The measures, if no two of them share a name."""
    given = measures if isinstance(measures, Sequence) else [measures]
    odd = [m for m in given if not isinstance(m, Measure)]
    if odd or given is not measures:
        raise ValueError(
            "measures takes a list of measures, such as [jf.measures.LogExcess()], got "
            f"{shown((odd or given)[0])}."
        )
    names = [measure.name for measure in measures]
    if len(set(names)) < len(names):
        raise ValueError(f"Two measures share a name: {names}.")
    return tuple(measures)
