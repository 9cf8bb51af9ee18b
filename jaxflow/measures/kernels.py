"""Measures of the tangent kernel, the Hessian and the spectrum of the product."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..dynamics.measure import Measure
from ..dynamics.view import View
from ..theory import effective_sharpness, sharpness, tangent_kernel


class KernelMovement(Measure):
    """`||T(t) - T(0)||_F / ||T(0)||_F` of the tangent kernel, at the end: 0 in the lazy limit."""

    name: ClassVar[str] = "kernel_movement"
    rotation_free: ClassVar[bool] = True

    def start(self, first: View) -> PyTree:
        return tangent_kernel(first.trained, first.data)

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        moved = tangent_kernel(last.trained, last.data) - fixed
        return jnp.linalg.norm(moved) / jnp.linalg.norm(fixed)


class Sharpness(Measure):
    """The largest eigenvalue of the Hessian of the loss, at every saved time."""

    name: ClassVar[str] = "sharpness"
    dims: ClassVar[tuple[str, ...]] = ("time",)
    rotation_free: ClassVar[bool] = True

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return sharpness(view.trained, view.data, loss=view.objective)


class EffectiveSharpness(Measure):
    """The largest eigenvalue of `P^-1 H` along a method or a flow of it, at every saved time.

    H is the Hessian and P the preconditioner of the last step: see `theory.effective_sharpness`.
    """

    name: ClassVar[str] = "effective_sharpness"
    dims: ClassVar[tuple[str, ...]] = ("time",)

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return effective_sharpness(view.trained, view.data, view.step_sizes, loss=view.objective)


class MeanLoss(Measure):
    """`L + <H, Sigma> / 2` along a `jf.CentralFlow`: the method's loss, averaged over time."""

    name: ClassVar[str] = "mean_loss"
    dims: ClassVar[tuple[str, ...]] = ("time",)

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return view.oscillation.loss


class SingularValues(Measure):
    """The singular values of the product on the data's span, decreasing, at every saved time."""

    name: ClassVar[str] = "singular_values"
    dims: ClassVar[tuple[str, ...]] = ("time", "mode")
    rotation_free: ClassVar[bool] = True

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return jnp.linalg.svdvals(view.data.right.T @ view.product)
