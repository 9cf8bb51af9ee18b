"""Losses. Any callable `(prediction (n, m), target (n, m)) -> scalar` will do."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..data import Regression
from ..machine.arguments import function, shown
from ..machine.user_files import sentence


class SquaredLoss(eqx.Module):
    r"""`L = 1/2 ||Y - f(X)||_F^2`, the convention everywhere: no average over samples."""

    def __call__(
        self, prediction: Float[Array, "n m"], target: Float[Array, "n m"]
    ) -> Float[Array, ""]:
        return 0.5 * jnp.sum((target - prediction) ** 2)


def usable(loss: Any, data: Regression) -> Any:
    """The loss, by default the squared one; `ValueError` unless it makes one number of the data."""
    if loss is None:
        return SquaredLoss()
    function("loss", loss, "loss(prediction, target), both of shape (n, m)")
    shape = jax.ShapeDtypeStruct(data.Y.shape, data.Y.dtype)
    try:
        out = eqx.filter_eval_shape(loss, shape, shape)
    except Exception as error:
        raise ValueError(
            f"The loss {shown(loss)} cannot be called as loss(prediction, target), both of shape "
            f"{shape.shape}: {sentence(error)}"
        ) from error
    known = isinstance(out, jax.ShapeDtypeStruct)
    if not known or (out.shape, out.dtype) != ((), shape.dtype):
        raise ValueError(
            f"The loss {shown(loss)} must return one number, a {shape.dtype} of shape (), got "
            f"{f'{out.dtype} of shape {out.shape}' if known else shown(out)}: sum over samples and "
            "outputs, in the dtype of the data."
        )
    return loss


class MarginLoss(eqx.Module):
    """`L = sum_i l(m_i)` of the margins `m_i = y_i f(x_i)`, known by its logarithm."""

    @abc.abstractmethod
    def log_terms(self, margins: Float[Array, " n"]) -> Float[Array, " n"]:
        """`log l(m_i)`: differentiable, and finite however large the margins are."""

    def __call__(
        self, prediction: Float[Array, "n 1"], target: Float[Array, "n 1"]
    ) -> Float[Array, ""]:
        if prediction.shape[-1] != 1:
            raise ValueError(f"Margins are of a single output, got {prediction.shape[-1]}.")
        return jnp.sum(jnp.exp(self.log_terms((prediction * target)[:, 0])))


class ExponentialLoss(MarginLoss):
    """`l(m) = exp(-m)`."""

    def log_terms(self, margins: Float[Array, " n"]) -> Float[Array, " n"]:
        return -margins


class LogisticLoss(MarginLoss):
    """`l(m) = log(1 + exp(-m))`."""

    def log_terms(self, margins: Float[Array, " n"]) -> Float[Array, " n"]:
        # Beyond 36 the logarithm is -m to all digits, and its argument is rounding.
        near = jnp.log(jax.nn.softplus(-jnp.minimum(margins, 36.0)))
        return jnp.where(margins > 36.0, -margins, near)
