"""The two-layer linear network in residual coordinates."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...data import Regression
from ...networks import TwoLayerLinear, fits, span_factors
from ..losses import SquaredLoss
from .base import Formulation, formulations, like, matmul, norm, transpose
from .general import GENERAL
from .residual import LogResidual


class TwoLayerState(eqx.Module):
    """`V` (m, h), `U1 = Phi^T U` (r, h), and the residual `E = W^T Y - S U1 V^T` (r, m)."""

    V: Float[Array, "m h *many"]
    U1: Float[Array, "r h *many"]
    E: LogResidual


class TwoLayerResidual(Formulation):
    r"""The flow of `V`, `U1 = Phi^T U` and the residual `E = W^T Y - S U1 V^T`.

        V' = E^T S U1,   U1' = S E V,   E' = -S (S E V V^T + U1 U1^T S E).

    `U2`, the part of U off the data's span, does not move.

    **Source:** Min et al. (ICML 2021), eq. (7), with the residual as a state of its own.
    """

    name: ClassVar[str] = "two_layer_residual"
    side_by_side: ClassVar[bool] = True
    data: Regression

    @classmethod
    def applies(cls, network: Any, data: Regression, loss: Any) -> bool:
        return isinstance(network, TwoLayerLinear) and isinstance(loss, SquaredLoss)

    @classmethod
    def build(cls, network: TwoLayerLinear, data: Regression, loss: Any) -> "Formulation":
        fits(network, data)
        return cls(data)

    def _residual(self, V: Float[Array, "m h"], U1: Float[Array, "r h"]) -> Float[Array, "r m"]:
        return self.data.targets - self.data.singular_values[:, None] * (U1 @ V.T)

    def start(self, network: TwoLayerLinear) -> TwoLayerState:
        V, U1 = span_factors(network, self.data)
        return TwoLayerState(V, U1, LogResidual.of(self._residual(V, U1)))

    def field(self, t: Any, state: TwoLayerState, args: Any) -> TwoLayerState:
        V, U1, F = state.V, state.U1, state.E.direction
        s = self.data.singular_values.reshape(-1, *[1] * (F.ndim - 1))
        size = jnp.exp(state.E.log_size)[None, None]
        FV = s * matmul(F, V)
        FU = matmul(transpose(s * F), U1)
        decay = s * (matmul(FV, transpose(V)) + matmul(U1, transpose(FU)))
        return TwoLayerState(size * FU, size * FV, state.E.derivative(decay))

    def sizes(self, state: TwoLayerState) -> TwoLayerState:
        # One size for both layers: either may start at zero.
        weights = norm((state.V, state.U1), trailing=state.V.ndim - 2)
        return eqx.tree_at(lambda s: s.E, like(state, weights), state.E.sizes())

    def log_excess(self, state: TwoLayerState) -> Float[Array, ""]:
        return state.E.log_half_square

    def lift(self, state: TwoLayerState, network: TwoLayerLinear) -> TwoLayerLinear:
        right = self.data.right
        moved = state.U1 - right.T @ network.U
        return TwoLayerLinear(network.U + right @ moved, state.V)

    def factors(
        self, state: TwoLayerState, network: TwoLayerLinear
    ) -> tuple[Float[Array, "m h"], Float[Array, "r h"]]:
        return state.V, state.U1

    def product(self, state: TwoLayerState, network: TwoLayerLinear) -> Float[Array, "D m"]:
        """`Phi S^-1 (W^T Y - E) + U2 V^T`: the product as the residual reports it."""
        right = self.data.right
        span = (self.data.targets - state.E.value) / self.data.singular_values[:, None]
        return right @ span + off_span(network, self.data) @ state.V.T

    def span_error(self, state: TwoLayerState, network: TwoLayerLinear) -> Float[Array, "r m"]:
        # From the residual itself: as accurate at 1e-200 as at 1.
        return -state.E.value / self.data.singular_values[:, None]

    def discrepancy(self, state: TwoLayerState) -> Float[Array, ""]:
        """Distance between the residual and that of the weights, relative to `||W^T Y||_F`."""
        gap = norm(self._residual(state.V, state.U1) - state.E.value)
        scale = norm(self.data.targets)
        return gap / jnp.where(scale > 0, scale, 1)

    def fastest_rate(self, state: TwoLayerState) -> Float[Array, ""]:
        weights = norm((state.V, state.U1)) ** 2 + norm(self.data.span_solution)
        return self.data.singular_values[0] ** 2 * weights


def off_span(network: TwoLayerLinear, data: Regression) -> Float[Array, "D h"]:
    """`Phi2 U2`: the part of U that the data does not reach, and the flow does not move."""
    return network.U - data.right @ (data.right.T @ network.U)


@formulations.register
def _(network: TwoLayerLinear) -> tuple[type[Formulation], ...]:
    return (TwoLayerResidual, *GENERAL)
