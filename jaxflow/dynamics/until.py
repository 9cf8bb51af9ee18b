"""Stopping rules: a rule `rule(t, view, first) -> value` is met where its value falls to zero."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..data import Regression
from ..data.regression import problem
from ..machine.arguments import instance, number, positive
from ..networks.base import predictions
from ..networks.losses import usable
from .view import View


class Until(eqx.Module):
    """A stopping rule: positive until it is met. `first` is the view at time 0."""

    # Whether the rule is invariant under rotations of inputs and hidden units.
    rotation_free: ClassVar[bool] = False
    # Whether the rule is about `L - L*`, which has to be able to fall to 0.
    of_excess: ClassVar[bool] = False

    @property
    def decay(self) -> float | Float[Array, ""] | None:
        """`log(excess(0) / excess)` where the rule is met, if that is known beforehand."""
        return None

    def __call__(self, t: Any, view: View, first: View) -> Float[Array, ""]:
        raise NotImplementedError


def rule(until: Any) -> Until | None:
    """The stopping rule; `ValueError` if it is none."""
    what = "a stopping rule, such as jf.until.loss_ratio(1e-8)"
    return instance("until", until, Until | None, what)


def asked(rule: Until, t: Any, view: View, first: View) -> Float[Array, ""]:
    """What a rule says at a moment: `ValueError` unless it is a real number."""
    value = jnp.asarray(rule(t, view, first))
    if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(
            f"The rule {type(rule).__name__} must return what is positive until it is met, a "
            f"number, got {value.dtype} of shape {value.shape}: such as view.log_excess + 2, not "
            "view.log_excess < -2."
        )
    return value


class _LossRatio(Until):
    rotation_free: ClassVar[bool] = True
    of_excess: ClassVar[bool] = True
    log_ratio: float | Float[Array, ""]

    @property
    def decay(self) -> float | Float[Array, ""]:
        return -self.log_ratio

    def __call__(self, t: Any, view: View, first: View) -> Float[Array, ""]:
        now = view.log_excess
        goal = first.log_excess + jnp.asarray(self.log_ratio, now.dtype)
        # Nothing is left to fall at a minimum: met, not inf - inf.
        return jnp.where(jnp.isneginf(now), -jnp.ones_like(now), now - goal)


class _Excess(Until):
    rotation_free: ClassVar[bool] = True
    of_excess: ClassVar[bool] = True
    log_excess: float | Float[Array, ""]

    def __call__(self, t: Any, view: View, first: View) -> Float[Array, ""]:
        now = view.log_excess
        return now - jnp.asarray(self.log_excess, now.dtype)


class _Loss(Until):
    rotation_free: ClassVar[bool] = True
    log_value: float | Float[Array, ""]

    def __call__(self, t: Any, view: View, first: View) -> Float[Array, ""]:
        now = view.loss
        return jnp.log(now) - jnp.asarray(self.log_value, now.dtype)


class _Margin(Until):
    rotation_free: ClassVar[bool] = True
    value: float | Float[Array, ""]

    def __call__(self, t: Any, view: View, first: View) -> Float[Array, ""]:
        now = jnp.min(view.margins)
        return jnp.asarray(self.value, now.dtype) - now


class _Accuracy(Until):
    rotation_free: ClassVar[bool] = True
    level: float | Float[Array, ""]

    def __call__(self, t: Any, view: View, first: View) -> Float[Array, ""]:
        right, dtype = jnp.sum(view.margins > 0), view.margins.dtype
        # Half a sample above the number that is needed, so that the value is never zero.
        needed = jnp.ceil(jnp.asarray(self.level, dtype) * view.data.samples - 1e-6)
        return needed - 0.5 - right.astype(dtype)


class _LossOn(Until):
    data: Regression
    loss: Any
    log_value: float | Float[Array, ""]

    def __call__(self, t: Any, view: View, first: View) -> Float[Array, ""]:
        loss = view.objective if self.loss is None else self.loss
        now = loss(predictions(view.network, self.data.X), self.data.Y)
        return jnp.log(now) - jnp.asarray(self.log_value, now.dtype)


class _Stagnation(Until):
    log_ratio: float | Float[Array, ""]

    def __call__(self, t: Any, view: View, first: View) -> Float[Array, ""]:
        now = view.log_speed
        return now - (first.log_speed + jnp.asarray(self.log_ratio, now.dtype))


class _GradientNorm(Until):
    log_norm: float | Float[Array, ""]

    def __call__(self, t: Any, view: View, first: View) -> Float[Array, ""]:
        now = view.log_speed
        return now - jnp.asarray(self.log_norm, now.dtype)


def loss_ratio(ratio: float) -> Until:
    """Stop once `L - L*` has fallen to `ratio` of its initial value. 1e-300 is as good as 1e-3."""
    return _LossRatio(_log_of_fraction(ratio))


def excess(value: float) -> Until:
    """Stop once `L - L*` is at most `value`."""
    return _Excess(math.log(positive("value", value)))


def gradient_norm(value: float) -> Until:
    """Stop once `||grad L||_F`, over all trainable parameters, is at most `value`."""
    return _GradientNorm(math.log(positive("value", value)))


def loss(value: float) -> Until:
    """Stop once L is at most `value`."""
    return _Loss(math.log(positive("value", value)))


def loss_on(data: Regression, value: float, *, loss: Any = None) -> Until:
    """Stop once the loss on other data is at most `value`; `loss`: default that of training.

    As everywhere it is the sum over samples, not their mean.
    """
    loss = None if loss is None else usable(loss, problem(data))
    return _LossOn(problem(data), loss, math.log(positive("value", value)))


def margin(value: float) -> Until:
    """Stop once the least margin of all samples is at least `value`: see `networks.margins`."""
    return _Margin(number("value", value))


def accuracy(level: float) -> Until:
    """Stop once a share `level` of the samples is classified right."""
    return _Accuracy(number("level", level, "lie in (0, 1]", lambda x: 0 < x <= 1))


def stagnation(ratio: float = 1e-6) -> Until:
    """Stop once `||grad L||_F` has fallen to `ratio` of its value at time 0.

    For networks whose least loss is not known; near a saddle it may be met as well.
    """
    return _Stagnation(_log_of_fraction(ratio))


def _log_of_fraction(ratio: float) -> float:
    """The logarithm of a ratio; `ValueError` unless it lies strictly between 0 and 1."""
    must = "lie strictly between 0 and 1"
    return math.log(number("ratio", ratio, must, lambda x: 0 < x < 1))
