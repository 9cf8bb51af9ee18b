"""Measures of the state of a trajectory: loss, predictor, distances, weights."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..data.arrays import traced
from ..dynamics.formulations import off_span
from ..dynamics.formulations.base import norm
from ..dynamics.measure import Measure
from ..dynamics.view import View
from ..networks import span_factors, stack
from ..networks.base import predictions


class LogExcess(Measure):
    """`log(L - L*)` at every saved time."""

    name: ClassVar[str] = "log_excess"
    rotation_free: ClassVar[bool] = True
    dims: ClassVar[tuple[str, ...]] = ("time",)

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return view.log_excess


class Times(Measure):
    """The saved times themselves, which may differ from trajectory to trajectory."""

    name: ClassVar[str] = "t"
    rotation_free: ClassVar[bool] = True
    dims: ClassVar[tuple[str, ...]] = ("time",)

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        return ts


class Product(Measure):
    """The end-to-end predictor `Theta` (D, m) at every saved time, from the residual."""

    name: ClassVar[str] = "product"
    dims: ClassVar[tuple[str, ...]] = ("time", "feature", "output")

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return view.product


class FinalProduct(Measure):
    """The end-to-end predictor `Theta` (D, m) at the end, from the residual."""

    name: ClassVar[str] = "final_product"
    dims: ClassVar[tuple[str, ...]] = ("feature", "output")

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        return last.product


class Predictions(Measure):
    """The predictions of the network at chosen points (k, D), at the end: shape (k, m)."""

    name: ClassVar[str] = "predictions"
    dims: ClassVar[tuple[str, ...]] = ("point", "output")
    points: Float[Array, "k D"]

    def __init__(self, points: Any):
        self.points = jnp.asarray(traced("points", points))
        if np.ndim(points) != 2:
            raise ValueError(f"points must have shape (k, D), got {np.shape(points)}.")

    def start(self, first: View) -> PyTree:
        if self.points.shape[1] != first.data.features:
            raise ValueError(
                f"points of Predictions must have shape (k, {first.data.features}), one column per "
                f"feature, got {self.points.shape}."
            )

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        return predictions(last.network, self.points)


class OffSpanDistance(Measure):
    r"""`||U2 V^T||_F` at the end: distance to the min-norm solution, off the span of the data."""

    name: ClassVar[str] = "off_span_distance"
    rotation_free: ClassVar[bool] = True

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        return norm(off_span(last.initial, last.data) @ last.factors[0].T)


class InSpanDistance(Measure):
    r"""`||U1 V^T - S^-1 W^T Y||_F` at the end: what is left to learn, from the residual."""

    name: ClassVar[str] = "in_span_distance"
    rotation_free: ClassVar[bool] = True

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        return norm(last.span_error)


class ImbalanceDrift(Measure):
    r"""Change of the conserved imbalance at the end; `along=True`: the largest at any saved time.

    `||Lambda(t) - Lambda(0)||_F / (||U1(0)||_F^2 + ||V(0)||_F^2)`. Each saved time takes an (h, h)
    matrix; at the end alone the measure costs nothing beside the solve.
    """

    name: ClassVar[str] = "imbalance_drift"
    rotation_free: ClassVar[bool] = True
    along: bool = eqx.field(default=False, static=True)

    def start(self, first: View) -> PyTree:
        V, U1 = first.factors
        return U1.T @ U1 - V.T @ V, norm((V, U1)) ** 2

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return self._change(view, fixed[0]) if self.along else None

    @staticmethod
    def _change(view: View, before: Array) -> Array:
        V, U1 = view.factors
        return norm(U1.T @ U1 - V.T @ V - before)

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        before, size = fixed
        change = jnp.max(saved) if self.along else self._change(last, before)
        return change / jnp.where(size > 0, size, 1)


class WeightGrowth(Measure):
    """`||Z(end)||_F^2 / ||Z(0)||_F^2` of `Z = [V; U1]`."""

    name: ClassVar[str] = "weight_growth"
    rotation_free: ClassVar[bool] = True

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        before = norm(stack(*span_factors(last.initial, last.data)))
        return (norm(stack(*last.factors)) / before) ** 2
