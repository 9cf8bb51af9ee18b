"""Losses. Any callable `(prediction (n, m), target (n, m)) -> scalar` will do.

A loss may have an `optimum`, its least value: a number, or a function of the data. It is 0 if there
is none.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..data import Regression
from ..data.labels import classified
from ..machine.arguments import function, positive, shown
from ..machine.user_files import sentence
from .margins import soft_margins


class SquaredLoss(eqx.Module):
    r"""`L = 1/2 ||Y - f(X)||_F^2`, the convention everywhere: no average over samples."""

    def __call__(
        self, prediction: Float[Array, "n m"], target: Float[Array, "n m"]
    ) -> Float[Array, ""]:
        return 0.5 * jnp.sum((target - prediction) ** 2)


def by_name(loss: Any) -> Any:
    """The loss of this name, by default the squared one; what is no name is returned as it is."""
    if not (loss is None or isinstance(loss, str)):
        return loss
    if loss not in LOSSES:
        names = ", ".join(repr(name) for name in LOSSES if name)
        raise ValueError(
            f"No loss is called {loss!r}: choose one of {names}, or give a function "
            "loss(prediction, target) of two arrays of shape (n, m)."
        )
    return LOSSES[loss]()


def least(loss: Any, data: Regression) -> Float[Array, ""]:
    """The least value that the loss may have on this data: its `optimum`, or 0."""
    optimum = getattr(loss, "optimum", 0)
    return jnp.asarray(optimum(data) if callable(optimum) else optimum, data.X.dtype)


def usable(loss: Any, data: Regression) -> Any:
    """The loss, by default the squared one; `ValueError` unless it makes one number of the data."""
    loss = by_name(loss)
    if isinstance(loss, SquaredLoss):
        return loss
    if isinstance(loss, MarginLoss):
        classified(data)
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
    """`L = sum_i l(m_i)` of the margins m_i, known by its logarithm.

    `m_i = y_i f(x_i)` for one output and labels of -1 and +1; for one-hot targets of several
    classes it is `f_y - log sum_(k != y) exp f_k` at x_i, with y the right class.
    """

    @abc.abstractmethod
    def log_terms(self, margins: Float[Array, " n"]) -> Float[Array, " n"]:
        """`log l(m_i)`: differentiable, and finite however large the margins are."""

    def __call__(
        self, prediction: Float[Array, "n m"], target: Float[Array, "n m"]
    ) -> Float[Array, ""]:
        return jnp.sum(jnp.exp(self.log_terms(soft_margins(prediction, target))))


class ExponentialLoss(MarginLoss):
    """`l(m) = exp(-m)`; of several classes, `sum_i sum_(k != y) exp(f_k - f_y)`."""

    def log_terms(self, margins: Float[Array, " n"]) -> Float[Array, " n"]:
        return -margins


class LogisticLoss(MarginLoss):
    """`l(m) = log(1 + exp(-m))`; of several classes, the cross-entropy."""

    def log_terms(self, margins: Float[Array, " n"]) -> Float[Array, " n"]:
        # Beyond 36 the logarithm is -m to all digits, and its argument is rounding.
        near = jnp.log(jax.nn.softplus(-jnp.minimum(margins, 36.0)))
        return jnp.where(margins > 36.0, -margins, near)


class CrossEntropyLoss(eqx.Module):
    r"""`L = -sum_i sum_k y_ik log softmax(f(x_i))_k`, for targets that are classes, one-hot.

    Rows of Y may also be probabilities. The optimum is the entropy of the labels: 0 if no input is
    repeated with another class.
    """

    def __call__(
        self, prediction: Float[Array, "n m"], target: Float[Array, "n m"]
    ) -> Float[Array, ""]:
        if prediction.shape[-1] == 1:
            raise ValueError(
                "The cross-entropy needs an output per class, got 1: give one-hot targets, as "
                "jf.Classification(X, labels, one_hot=True) makes them, or use 'logistic'."
            )
        # Where a class is far ahead its own term is -log(1 + a little): no difference of two.
        first = jax.nn.one_hot(jnp.argmax(prediction, axis=-1), target.shape[-1], dtype=bool)
        ahead = jnp.sum(jnp.where(first, prediction, 0), axis=-1, keepdims=True)
        behind = jnp.where(first, 0, prediction - ahead)
        others = jnp.where(first, 0, jnp.exp(behind))
        total = jnp.log1p(jnp.sum(others, axis=-1, keepdims=True))
        return jnp.sum(target * (total - behind))

    def optimum(self, data: Regression) -> Float[Array, ""]:
        """The cross-entropy of the mean label of each input, the best prediction there is."""
        return jnp.abs(jnp.sum(jax.scipy.special.xlogy(data.Y, data.means)))  # 0 and not -0


class HuberLoss(eqx.Module):
    """`L = sum h(y - f)`, `h(e) = e^2 / 2` up to `|e| = delta`, and linear beyond.

    The optimum is taken to be 0, a lower bound where an input is repeated with other targets.

    **Source:** Huber, Annals of Mathematical Statistics 35 (1964), equation 4.1.
    """

    delta: float = 1.0

    def __check_init__(self):
        positive("delta", self.delta)

    def __call__(
        self, prediction: Float[Array, "n m"], target: Float[Array, "n m"]
    ) -> Float[Array, ""]:
        size = jnp.abs(target - prediction)
        near = jnp.minimum(size, self.delta)
        return jnp.sum(near * (size - 0.5 * near))


class WeightedLoss(eqx.Module):
    """`L = sum_i w_i l(f(x_i), y_i)`, with a weight for every sample.

    Its optimum is taken to be 0, a lower bound where an input is repeated with other targets.

    **Arguments:** the `weights` w, shape `(n,)`, none negative; and the `loss` l, a sum over
    samples, by default the squared one.

    **Example:** the expected loss over Gaussian inputs, `1/2 E |sin(x_1) - f(x)|^2`.

    >>> import jax.numpy as jnp
    >>> import jaxflow as jf
    >>> data, weights = jf.data.gauss_hermite(lambda x: jnp.sin(x[:1]), features=2, nodes=20)
    >>> loss = jf.WeightedLoss(weights)
    >>> round(float(loss(jnp.zeros_like(data.Y), data.Y)), 4)  # (1 - e^-2) / 4
    0.2162
    """

    weights: Float[Array, " n"]
    loss: Any = eqx.field(default=None, converter=by_name)

    def __call__(
        self, prediction: Float[Array, "n m"], target: Float[Array, "n m"]
    ) -> Float[Array, ""]:
        each = jax.vmap(lambda f, y: self.loss(f[None], y[None]))(prediction, target)
        return jnp.asarray(self.weights, each.dtype) @ each


LOSSES = {
    None: SquaredLoss,
    "squared": SquaredLoss,
    "cross_entropy": CrossEntropyLoss,
    "logistic": LogisticLoss,
    "exponential": ExponentialLoss,
    "huber": HuberLoss,
}
