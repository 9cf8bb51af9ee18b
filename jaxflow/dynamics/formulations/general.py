"""The formulations that serve every Equinox module."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ...data import Regression
from ...networks import best_fit, tangent_kernel
from ...networks.base import entries, predictions
from ...networks.losses import CrossEntropyLoss, MarginLoss, SquaredLoss, least
from .base import Formulation, like, norm, optimal_loss, split
from .dual import DualFormulation, Square
from .log_loss import LogLossParameters
from .residual import LogResidual, ResidualFormulation, ResidualState, TangentKernel, ritz_values

# Of a Jacobian, samples times outputs times parameters: beyond that nobody makes one unasked.
MOST_ENTRIES = 10**8
DENSE = 256  # samples times outputs up to which all eigenvalues cost no more than a few steps


class Residual(ResidualFormulation):
    r"""The parameters of any module, with the residual `E = best_fit - f(X)` beside them.

    With J the Jacobian of the predictions, `theta' = J^T E` and `E' = -J J^T E`: one
    vector-Jacobian and one Jacobian-vector product. Explicit adaptive solvers on the parameters
    alone stall at 1e-16 to 1e-19 of the initial loss, where the step size hovers at the limit of
    stability and its noise takes over; this does not.
    """

    name: ClassVar[str] = "residual"
    data: Regression
    frozen: PyTree
    goal: Float[Array, "n m"]

    @classmethod
    def applies(cls, network: Any, data: Regression, loss: Any) -> bool:
        return isinstance(loss, SquaredLoss)

    @classmethod
    def build(cls, network: Any, data: Regression, loss: Any) -> "Formulation":
        return cls(data, split(network)[1], best_fit(network, data))

    def predict(self, parameters: PyTree[Array]) -> Float[Array, "n m"]:
        """`f(x)` for every sample x."""
        return predictions(eqx.combine(parameters, self.frozen), self.data.X)

    def residual(self, weights: PyTree[Array]) -> Float[Array, "n m"]:
        return self.goal - self.predict(weights)

    def start(self, network: Any) -> ResidualState:
        parameters = split(network)[0]
        return ResidualState(parameters, LogResidual.of(self.residual(parameters)))

    def velocity_and_decay(
        self, weights: PyTree[Array], E: Float[Array, "n m"]
    ) -> tuple[PyTree[Array], Float[Array, "n m"]]:
        _, pull = jax.vjp(self.predict, weights)
        (velocity,) = pull(E)
        _, decay = jax.jvp(self.predict, (weights,), (velocity,))
        return velocity, decay

    @property
    def implicit_cost(self) -> float:
        return 5.0 + self.goal.size / 10

    def spectrum(self, network: Any) -> tuple[float, float] | None:
        weights = split(network)[0]
        parameters = entries(weights)
        small = self.goal.size <= DENSE and self.goal.size * parameters <= MOST_ENTRIES
        levels = np.asarray(_levels(self, weights) if small else _ritz_values(self, weights))
        return (float(levels[0]), float(levels[-1])) if np.isfinite(levels).all() else None

    def kernel(self, weights: PyTree[Array]) -> "DenseKernel":
        return DenseKernel.of(tangent_kernel(eqx.combine(weights, self.frozen), self.data))

    def lift(self, state: ResidualState, network: Any) -> Any:
        return eqx.combine(state.weights, self.frozen)

    def discrepancy(self, state: ResidualState) -> Float[Array, ""]:
        return self._gap(state, self.goal)

    def fastest_rate(self, state: ResidualState) -> Float[Array, ""]:
        # <F, J J^T F> at the start: the rate of the residual that is there.
        return 2 * state.E.rate(self.velocity_and_decay(state.weights, state.E.direction)[1])


@eqx.filter_jit
def _levels(form: Residual, weights: PyTree[Array]) -> Float[Array, " nm"]:
    return form.kernel(weights).levels


@eqx.filter_jit
def _ritz_values(form: Residual, weights: PyTree[Array]) -> Float[Array, " products"]:
    """Approximate eigenvalues of the tangent kernel, increasing, as `ritz_values`."""

    def times(E: Array) -> Array:
        return form.velocity_and_decay(weights, E.reshape(form.goal.shape))[1].reshape(-1)

    start = jnp.cos(1.0 + jnp.arange(form.goal.size, dtype=form.goal.dtype) ** 2)
    return ritz_values(times, start)


class DenseKernel(TangentKernel):
    """`T = J J^T` as a matrix of one row a residual: samples times outputs."""

    levels: Float[Array, " nm"]  # its eigenvalues, increasing
    basis: Float[Array, "nm nm"]  # their eigenvectors
    slowest: Float[Array, ""]

    @staticmethod
    def of(matrix: Float[Array, "nm nm"]) -> "DenseKernel":
        """The kernel of this symmetric matrix."""
        levels, basis = jnp.linalg.eigh(matrix)
        levels = jnp.clip(levels, 0)
        return DenseKernel(levels, basis, levels[0])

    def inverse(self, c: Array, shift: Array) -> Any:
        factors = 1 + c * (self.levels - shift)
        factors = jnp.where(factors > 0, factors, jnp.nan)

        def apply(E: Float[Array, "n m"]) -> Float[Array, "n m"]:
            return (self.basis @ ((self.basis.T @ E.reshape(-1)) / factors)).reshape(E.shape)

        return apply


class Parameters(DualFormulation):
    """The parameters of any module under any loss, `theta' = -grad L`, and nothing else.

    The excess loss is computed from the parameters, so it has a floor near 1e-32 of the initial
    loss, and a stop below about 1e-16 of it may never fire. A loss of the user's own is taken to
    have the infimum `loss.optimum`, a number or a function of the data, if it has that attribute,
    else 0; below it the excess is NaN.
    """

    name: ClassVar[str] = "parameters"
    data: Regression
    frozen: PyTree
    goal: Float[Array, "n m"]
    objective: Any
    least: Float[Array, ""]  # of the objective

    @classmethod
    def applies(cls, network: Any, data: Regression, loss: Any) -> bool:
        return True

    @classmethod
    def build(cls, network: Any, data: Regression, loss: Any) -> "Formulation":
        goal = best_fit(network, data) if isinstance(loss, SquaredLoss) else data.Y
        return cls(data, split(network)[1], goal, loss, least(loss, data))

    def excess(self, parameters: PyTree[Array]) -> Float[Array, ""]:
        """`L - L*`; its gradient is that of the loss."""
        loss = self.objective(self.predict(parameters), self.goal)
        return loss - self.least

    def loss(self, parameters: PyTree[Array]) -> Float[Array, ""]:
        """L, with the gradient of `L - L*`: close to a minimum that one has more digits."""
        return self.excess(parameters) + optimal_loss(self.objective, self)

    def batch_loss(
        self, parameters: PyTree[Array], X: Float[Array, "batch D"], Y: Float[Array, "batch m"]
    ) -> Float[Array, ""]:
        """`n / batch` times the loss of these samples: in the mean over batches, L."""
        found = predictions(eqx.combine(parameters, self.frozen), X)
        return self.data.samples / len(X) * self.objective(found, Y)

    def start(self, network: Any) -> PyTree[Array]:
        return split(network)[0]

    def multiplier(self, outputs: Float[Array, "n m"], square: Square) -> Float[Array, "n m"]:
        return -jax.grad(self.objective)(outputs, self.goal)

    def weights_of(self, state: PyTree[Array]) -> PyTree[Array]:
        return state

    def completed(self, known: PyTree[Array], c: Array, weights: PyTree[Array]) -> PyTree[Array]:
        return weights

    @property
    def separates(self) -> bool:
        return isinstance(self.objective, MarginLoss | CrossEntropyLoss)

    def decay(self, state: PyTree[Array]) -> Float[Array, ""]:
        return 0.5 * self.fastest_rate(state)

    def field(self, t: Any, state: PyTree[Array], args: Any) -> PyTree[Array]:
        return jax.tree.map(jnp.negative, jax.grad(self.excess)(state))

    def error_scales(self, state: PyTree[Array]) -> PyTree[Array]:
        return like(state, norm(state))

    def log_excess(self, state: PyTree[Array]) -> Float[Array, ""]:
        excess = self.excess(state)
        met = excess <= 0  # by rounding; NaN stays NaN
        log = jnp.where(met, -jnp.inf, jnp.log(jnp.where(met, 1, excess)))
        # What falls further is no least value, and counting from it would tell nothing.
        rounding = float(jnp.finfo(excess.dtype).eps) ** 0.5
        return jnp.where(excess < -rounding * (1 + jnp.abs(self.least)), jnp.nan, log)

    def lift(self, state: PyTree[Array], network: Any) -> Any:
        return eqx.combine(state, self.frozen)

    def fastest_rate(self, state: PyTree[Array]) -> Float[Array, ""]:
        excess, gradient = jax.value_and_grad(self.excess)(state)
        return norm(gradient) ** 2 / jnp.where(excess > 0, excess, 1)


GENERAL: tuple[type[Formulation], ...] = (Residual, Parameters, LogLossParameters)
