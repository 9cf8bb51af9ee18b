"""The two-layer linear network in residual coordinates."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from ..._types import Network
from ...data import Regression
from ...networks import TwoLayerLinear, fits, span_factors
from ...networks.losses import SquaredLoss
from .base import Formulation, formulations, norm
from .general import GENERAL
from .residual import LogResidual, ResidualFormulation, ResidualState, TangentKernel


class Factors(eqx.Module):
    """`V` (m, h) and `U1 = Phi^T U` (r, h): the weights that the data reaches."""

    V: Float[Array, "m h"]
    U1: Float[Array, "r h"]


class TwoLayerResidual(ResidualFormulation):
    r"""The flow of `V`, `U1 = Phi^T U` and the residual `E = W^T Y - S U1 V^T`.

        V' = E^T S U1,   U1' = S E V,   E' = -S (S E V V^T + U1 U1^T S E).

    `U2`, the part of U off the data's span, does not move.

    **Source:** Min et al. (ICML 2021), eq. (7), with the residual as a state of its own.
    """

    name: ClassVar[str] = "two_layer_residual"
    data: Regression

    @classmethod
    def applies(cls, network: Any, data: Regression, loss: Any) -> bool:
        return isinstance(network, TwoLayerLinear) and isinstance(loss, SquaredLoss)

    @classmethod
    def build(cls, network: TwoLayerLinear, data: Regression, loss: Any) -> "Formulation":
        fits(network, data)
        return cls(data)

    def residual(self, weights: Factors) -> Float[Array, "r m"]:
        span = weights.U1 @ weights.V.T
        return self.data.targets - self.data.singular_values[:, None] * span

    def start(self, network: TwoLayerLinear) -> ResidualState:
        weights = Factors(*span_factors(network, self.data))
        return ResidualState(weights, LogResidual.of(self.residual(weights)))

    def velocity_and_decay(
        self, weights: Factors, E: Float[Array, "r m"]
    ) -> tuple[Factors, Float[Array, "r m"]]:
        V, U1, s = weights.V, weights.U1, self.data.singular_values[:, None]
        EV, EU = s * (E @ V), (s * E).T @ U1
        decay = s * (EV @ V.T + U1 @ EU.T)
        return Factors(EU, EV), decay

    @property
    def implicit_cost(self) -> float:
        return 10.0

    def spectrum(self, network: TwoLayerLinear) -> tuple[float, float]:
        # The layers at the end: what they start with, and at most the balanced factors of the goal.
        data = self.data
        U, V, right, s, goal = (
            np.asarray(x, float)
            for x in (network.U, network.V, data.right, data.singular_values, data.span_solution)
        )
        U1 = right.T @ U
        left, sizes, rest = np.linalg.svd(goal, full_matrices=False)
        A = V @ V.T + (rest.T * sizes) @ rest
        B = U1 @ U1.T + (left * sizes) @ left.T
        if not (np.isfinite(A).all() and np.isfinite(B).all()):
            return 0.0, 0.0
        levels, B = np.linalg.eigvalsh(A).clip(0), s[:, None] * B * s
        ends = [np.linalg.eigvalsh(B + np.diag(a * s**2)) for a in levels[[0, -1]]]
        return max(float(ends[0][0]), 0.0), float(ends[1][-1])

    def kernel(self, weights: Factors) -> "KroneckerKernel":
        A, B = weights.V @ weights.V.T, weights.U1 @ weights.U1.T
        return KroneckerKernel.of(self.data.singular_values, A, B)

    def lift(self, state: ResidualState, network: TwoLayerLinear) -> TwoLayerLinear:
        right = self.data.right
        moved = state.weights.U1 - right.T @ network.U
        return TwoLayerLinear(network.U + right @ moved, state.weights.V)

    def factors(
        self, state: ResidualState, network: TwoLayerLinear
    ) -> tuple[Float[Array, "m h"], Float[Array, "r h"]]:
        return state.weights.V, state.weights.U1

    def product(self, state: ResidualState, network: TwoLayerLinear) -> Float[Array, "D m"]:
        """`Phi S^-1 (W^T Y - E) + U2 V^T`: the product as the residual reports it."""
        right = self.data.right
        span = (self.data.targets - state.E.value) / self.data.singular_values[:, None]
        return right @ span + off_span(network, self.data) @ state.weights.V.T

    def span_error(self, state: ResidualState, network: TwoLayerLinear) -> Float[Array, "r m"]:
        # From the residual itself: as accurate at 1e-200 as at 1.
        return -state.E.value / self.data.singular_values[:, None]

    def discrepancy(self, state: ResidualState) -> Float[Array, ""]:
        return self._gap(state, self.data.targets)

    def fastest_rate(self, state: ResidualState) -> Float[Array, ""]:
        weights = norm(state.weights) ** 2 + norm(self.data.span_solution)
        return self.data.singular_values[0] ** 2 * weights


class KroneckerKernel(TangentKernel):
    r"""`T E = Sigma E A + S B S E`, with `A = V V^T`, `B = U1 U1^T`, `Sigma = S^2`.

    In the eigenvectors of A the columns of E decouple: column j sees `S (a_j + B) S`, and
    `I + c (T - q)` is `M + c (a_j - a_1) Sigma` there, with M that of the smallest `a_1`. One
    Cholesky factor `M = L L^T` and one eigendecomposition `c L^-1 Sigma L^-T = P diag(theta) P^T`
    invert all m of them, at any condition number: theta is at most about `1 / a_1`, `1 / b_1`.
    """

    singular_values: Float[Array, " r"]
    levels: Float[Array, " m"]  # the eigenvalues of A, increasing
    basis: Float[Array, "m m"]  # their eigenvectors
    lowest: Float[Array, "r r"]  # S (a_1 + B) S
    slowest: Float[Array, ""]

    @staticmethod
    def of(
        singular_values: Float[Array, " r"], A: Float[Array, "m m"], B: Float[Array, "r r"]
    ) -> "KroneckerKernel":
        """The kernel, with what does not depend on a step computed once."""
        levels, basis = jnp.linalg.eigh(A)
        levels = jnp.clip(levels, 0)
        S = singular_values
        lowest = S[:, None] * B * S[None] + jnp.diag(levels[0] * S**2)
        slowest = jnp.clip(jnp.linalg.eigvalsh(lowest)[0], 0)
        return KroneckerKernel(S, levels, basis, lowest, slowest)

    def inverse(self, c: Array, shift: Array) -> Any:
        M = (1 - c * shift) * jnp.eye(len(self.lowest), dtype=c.dtype) + c * self.lowest
        L = jnp.linalg.cholesky(M)
        root = solve_triangular(L, jnp.sqrt(c) * jnp.diag(self.singular_values), lower=True)
        theta, P = jnp.linalg.eigh(root @ root.T)
        X = solve_triangular(L, P, lower=True, trans="T")
        scale = 1 / (1 + jnp.clip(theta, 0)[:, None] * (self.levels - self.levels[0])[None])

        def apply(E: Float[Array, "r m"]) -> Float[Array, "r m"]:
            return X @ (scale * (X.T @ (E @ self.basis))) @ self.basis.T

        return apply


def off_span(network: Network, data: Regression) -> Float[Array, "D h"]:
    """`Phi2 U2`: the part of U that the data does not reach, and the flow does not move."""
    _, U1 = span_factors(network, data)
    return network.U - data.right @ U1


@formulations.register
def _(network: TwoLayerLinear) -> tuple[type[Formulation], ...]:
    return (TwoLayerResidual, *GENERAL)
