"""The diagonal linear network in mirror coordinates."""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...data import Regression
from ...networks import DiagonalLinear, MirrorMap, best_fit
from ...networks.losses import SquaredLoss
from .base import Formulation, formulations, norm
from .general import GENERAL, DenseKernel
from .log_loss import LogLossMirror
from .residual import LogResidual, ResidualFormulation, ResidualState


class Mirror(ResidualFormulation):
    r"""The flow of the dual variable `nu = int E dt`, and the residual `E = W^T y - S Phi^T beta`.

    With `X = S Phi^T` (r, D), `q = X^T nu` and `beta = grad Phi*(q)`:

        `nu' = E`,   `E' = -X diag(d beta / d q) X^T E`,

    r equations each, whatever D is, and nothing is lost in `u^L - v^L`.

    **Source:** Woodworth et al. (COLT 2020), proof of theorem 1, with the residual as a state.
    """

    name: ClassVar[str] = "mirror"
    data: Regression
    rows: Float[Array, "r D"]
    map: MirrorMap
    offset: Float[Array, " D"]

    @classmethod
    def applies(cls, network: Any, data: Regression, loss: Any) -> bool:
        return isinstance(network, DiagonalLinear) and isinstance(loss, SquaredLoss)

    @classmethod
    def build(cls, network: DiagonalLinear, data: Regression, loss: Any) -> "Mirror":
        best_fit(network, data)  # first of all: does it fit?
        return cls(data, data.span_rows, network.mirror, network.offset)

    def residual(self, weights: Float[Array, " r"]) -> Float[Array, "r 1"]:
        beta = self.offset + self.map.inverse(weights @ self.rows)
        return self.data.targets - (self.rows @ beta)[:, None]

    def start(self, network: DiagonalLinear) -> ResidualState:
        nu = jnp.zeros(len(self.rows), self.rows.dtype)
        return ResidualState(nu, LogResidual.of(self.residual(nu)))

    def velocity_and_decay(
        self, weights: Float[Array, " r"], E: Float[Array, "r 1"]
    ) -> tuple[Float[Array, " r"], Float[Array, "r 1"]]:
        slope = self.map.slope(weights @ self.rows)
        return E[:, 0], (self.rows @ (slope * (E[:, 0] @ self.rows)))[:, None]

    def error_scales(self, state: ResidualState) -> ResidualState:
        # The change of nu that changes a slope by a factor e; but where the dual variable
        # saturates, no more digits than it has.
        bend = self.map.bend(state.weights @ self.rows)
        size = 1 / jnp.max(bend * jnp.linalg.norm(self.rows, axis=0))
        return ResidualState(jnp.maximum(size, 1e-4 * norm(state.weights)), state.E.error_scales())

    @property
    def implicit_cost(self) -> float:
        return 5.0 + len(self.rows) / 10

    def spectrum(self, network: DiagonalLinear) -> tuple[float, float] | None:
        # What coordinates contribute at the start, and about what they do at the end.
        X, L = np.asarray(self.rows, float), float(network.depth)
        first = np.asarray(self.map.slope(jnp.zeros_like(network.u)), float)
        last = L**2 * np.abs(np.asarray(self.data.min_norm[:, 0], float)) ** (2 - 2 / L)
        if not np.isfinite(first).all():
            return None
        slowest = np.linalg.eigvalsh((X * first) @ X.T)[0]
        return max(float(slowest), 0.0), float(np.linalg.eigvalsh((X * (first + last)) @ X.T)[-1])

    def kernel(self, weights: Float[Array, " r"]) -> DenseKernel:
        slope = self.map.slope(weights @ self.rows)
        return DenseKernel.of((self.rows * slope[None]) @ self.rows.T)

    def lift(self, state: ResidualState, network: DiagonalLinear) -> DiagonalLinear:
        return network.at(state.weights @ self.rows)

    def product(self, state: ResidualState, network: DiagonalLinear) -> Float[Array, "D 1"]:
        """beta by the mirror map, without the cancellation of `u^L - v^L`."""
        return (self.offset + self.map.inverse(state.weights @ self.rows))[:, None]

    def span_error(self, state: ResidualState, network: DiagonalLinear) -> Float[Array, "r 1"]:
        return -state.E.value / self.data.singular_values[:, None]

    def discrepancy(self, state: ResidualState) -> Float[Array, ""]:
        return self._gap(state, self.data.targets)

    def fastest_rate(self, state: ResidualState) -> Float[Array, ""]:
        # Of the residual that is there, and of the slopes that it bends: from a small start the
        # kernel is next to nothing, and grows.
        _, decay = self.velocity_and_decay(state.weights, state.E.direction)
        bend = jnp.max(self.map.bend(state.weights @ self.rows))
        growth = bend * jnp.max(jnp.abs(state.E.value[:, 0] @ self.rows))
        return 2 * state.E.rate(decay) + growth


@formulations.register
def _(network: DiagonalLinear) -> tuple[type[Formulation], ...]:
    return (Mirror, LogLossMirror, *GENERAL)
