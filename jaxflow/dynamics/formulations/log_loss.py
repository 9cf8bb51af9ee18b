r"""Flows of exponential and logistic losses with `s = -log L` as the time variable.

Let m_i be the margins (see `MarginLoss`), `L = sum_i l(m_i)`, `p_i = -l'(m_i) / L` and
`G = sum_i p_i grad m_i = -grad L / L`. Along the gradient flow `ds/dt = L ||G||^2`, so that

    d theta / ds = G / ||G||^2,    dt / ds = exp(s) / ||G||^2,

where nothing over- or underflows however small L is. The state holds `t exp(-s)` beside the
weights, so that the logarithm of the flow time is known, too.
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..._types import Network, Time
from ...data import Regression
from ...data.labels import classified, signed
from ...networks import DiagonalLinear, MirrorMap
from ...networks.losses import CrossEntropyLoss, LogisticLoss, MarginLoss
from ...networks.margins import soft_margins
from .base import Formulation, like, norm, split
from .dual import DualFormulation, Square


class LogLossState(eqx.Module):
    """The weights, and the flow time."""

    weights: PyTree[Array]
    late: Float[Array, ""]  # t exp(-s), which neither over- nor underflows


class LogLoss(Formulation):
    """Coordinates of a flow that depends on the margins alone, with `-log L` as time."""

    group: ClassVar[str] = "log_loss"
    loss: eqx.AbstractVar[MarginLoss]

    @classmethod
    def applies(cls, network: Network, data: Regression, loss: Any) -> bool:
        return isinstance(loss, MarginLoss | CrossEntropyLoss)

    @abc.abstractmethod
    def weights(self, network: Network) -> PyTree[Array]:
        """The coordinates of the network."""

    @abc.abstractmethod
    def margins(self, weights: PyTree[Array]) -> Float[Array, " n"]:
        """The margins on which the loss depends."""

    @abc.abstractmethod
    def ascent(
        self, weights: PyTree[Array], p: Float[Array, " n"]
    ) -> tuple[PyTree[Array], Float[Array, ""]]:
        """The velocity of the coordinates under `G = sum_i p_i grad m_i`, and `||G||^2`."""

    @abc.abstractmethod
    def scale(self, weights: PyTree[Array]) -> Float[Array, ""]:
        """The size to which the error of the coordinates is relative."""

    def start(self, network: Network) -> LogLossState:
        return LogLossState(self.weights(network), jnp.zeros((), self.data.X.dtype))

    def begin(self, state: LogLossState) -> Float[Array, ""]:
        return -self.log_excess(state)

    def pull(self, weights: PyTree[Array]) -> tuple[PyTree[Array], Float[Array, ""]]:
        """The velocity of the coordinates under `G = -grad L / L`, and `||G||^2`."""
        # At the margins of these very weights: their loss need not be exp(-s).
        return self.ascent(weights, -jax.grad(self.log_loss)(self.margins(weights)))

    def log_loss(self, margins: Float[Array, " n"]) -> Float[Array, ""]:
        """`log L`."""
        return jax.nn.logsumexp(self.loss.log_terms(margins))

    def field(self, t: Time, state: LogLossState, args: Any) -> LogLossState:
        velocity, square = self.pull(state.weights)
        velocity = jax.tree.map(lambda leaf: leaf / square, velocity)
        return LogLossState(velocity, 1 / square - state.late)

    def error_scales(self, state: LogLossState) -> LogLossState:
        # The logarithm of the time may err by a hundred times as much as the weights.
        return LogLossState(like(state.weights, self.scale(state.weights)), 100 * state.late)

    def log_excess(self, state: LogLossState) -> Float[Array, ""]:
        return self.log_loss(self.margins(state.weights))

    def log_speed(self, state: LogLossState) -> Float[Array, ""]:
        return self.log_excess(state) + 0.5 * jnp.log(self.pull(state.weights)[1])

    def log_time(self, t: Time, state: LogLossState) -> Float[Array, ""]:
        return jnp.log(state.late) + t

    def fastest_rate(self, state: LogLossState) -> Float[Array, ""]:
        # By definition s moves at the rate 1: the first step is a thousandth of that.
        return jnp.full_like(state.late, 10.0)


class LogLossMirror(LogLoss):
    r"""A diagonal linear network in its mirror coordinates `nu_i = -int l'(m_i) dt`.

    With `A = diag(y) X` and Phi the potential of the network, `beta = grad Phi*(A^T nu)`, and
    `d nu / ds = p / (p^T K p)` with K the tangent kernel: n equations, whatever D is.
    """

    name: ClassVar[str] = "log_loss_mirror"
    data: Regression
    loss: MarginLoss
    rows: Float[Array, "n D"]  # y_i x_i
    map: MirrorMap
    offset: Float[Array, " D"]

    @classmethod
    def applies(cls, network: Network, data: Regression, loss: Any) -> bool:
        return isinstance(network, DiagonalLinear) and super().applies(network, data, loss)

    @classmethod
    def build(cls, network: DiagonalLinear, data: Regression, loss: Any) -> "LogLossMirror":
        return cls(data, _of_margins(loss), signed(data), network.mirror, network.offset)

    stiff: ClassVar[bool] = True

    def weights(self, network: DiagonalLinear) -> Float[Array, " n"]:
        return jnp.zeros(len(self.rows), self.rows.dtype)

    def margins(self, weights: Float[Array, " n"]) -> Float[Array, " n"]:
        return self.rows @ self.predictor(weights)

    def predictor(self, weights: Float[Array, " n"]) -> Float[Array, " D"]:
        """beta, by the mirror map."""
        return self.offset + self.map.inverse(weights @ self.rows)

    def ascent(
        self, weights: Float[Array, " n"], p: Float[Array, " n"]
    ) -> tuple[Float[Array, " n"], Float[Array, ""]]:
        return p, jnp.sum(self.map.slope(weights @ self.rows) * (p @ self.rows) ** 2)

    def scale(self, weights: Float[Array, " n"]) -> Float[Array, ""]:
        # What changes a slope by a factor e, or the margins by what they are, or by 1.
        q, lengths = weights @ self.rows, jnp.linalg.norm(self.rows, axis=0)
        margins = jnp.maximum(1, jnp.max(jnp.abs(self.margins(weights))))
        kernel = jnp.sum(self.map.slope(q) * lengths**2)
        return jnp.minimum(1 / jnp.max(self.map.bend(q) * lengths), margins / kernel)

    def lift(self, state: LogLossState, network: DiagonalLinear) -> DiagonalLinear:
        return network.at(state.weights @ self.rows)

    def product(self, state: LogLossState, network: DiagonalLinear) -> Float[Array, "D 1"]:
        """beta by the mirror map, without the cancellation of `u^L - v^L`."""
        return self.predictor(state.weights)[:, None]


class LogLossParameters(LogLoss, DualFormulation):
    """The parameters of any module."""

    name: ClassVar[str] = "log_loss_parameters"
    data: Regression
    loss: MarginLoss
    frozen: PyTree

    @classmethod
    def build(cls, network: Network, data: Regression, loss: Any) -> "LogLossParameters":
        classified(data)  # first of all: are these labels?
        return cls(data, _of_margins(loss), split(network)[1])

    def weights(self, network: Network) -> PyTree[Array]:
        return split(network)[0]

    def margins(self, weights: PyTree[Array]) -> Float[Array, " n"]:
        return soft_margins(self.predict(weights), self.data.Y)

    def ascent(
        self, weights: PyTree[Array], p: Float[Array, " n"]
    ) -> tuple[PyTree[Array], Float[Array, ""]]:
        (G,) = jax.vjp(self.margins, weights)[1](p)
        return G, norm(G) ** 2

    def scale(self, weights: PyTree[Array]) -> Float[Array, ""]:
        return norm(weights)

    def lift(self, state: LogLossState, network: Network) -> Network:
        return eqx.combine(state.weights, self.frozen)

    def multiplier(self, outputs: Float[Array, "n m"], square: Square) -> Float[Array, "n m"]:
        def log_loss(f: Array) -> Array:
            return self.log_loss(soft_margins(f, self.data.Y))

        up = -jax.grad(log_loss)(outputs)
        return up / square(up)

    def weights_of(self, state: LogLossState) -> PyTree[Array]:
        return state.weights

    def completed(self, known: LogLossState, c: Array, weights: PyTree[Array]) -> LogLossState:
        late = (known.late + c / self.pull(weights)[1]) / (1 + c)
        return LogLossState(weights, late)

    @property
    def separates(self) -> bool:
        return True

    def decay(self, state: LogLossState) -> Float[Array, ""]:
        return jnp.full_like(state.late, 0.5)  # s is -log L


def _of_margins(loss: Any) -> MarginLoss:
    """The loss as a function of the margins: the cross-entropy of classes is the logistic loss."""
    return LogisticLoss() if isinstance(loss, CrossEntropyLoss) else loss
