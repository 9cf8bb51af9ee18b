"""Measures of classification: how many samples are classified right, and by how much."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import PyTree

from ..dynamics.measure import Measure
from ..dynamics.view import View


class Accuracy(Measure):
    """The share of samples whose class is predicted right, at every saved time."""

    name: ClassVar[str] = "accuracy"
    dims: ClassVar[tuple[str, ...]] = ("time",)
    rotation_free: ClassVar[bool] = True

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return jnp.mean(view.margins > 0, dtype=view.margins.dtype)


class Margin(Measure):
    """The least margin of all samples, at every saved time: see `networks.margins`."""

    name: ClassVar[str] = "margin"
    dims: ClassVar[tuple[str, ...]] = ("time",)
    rotation_free: ClassVar[bool] = True

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return jnp.min(view.margins)
