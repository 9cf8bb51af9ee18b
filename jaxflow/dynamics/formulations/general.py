"""The formulations that serve every Equinox module."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ...data import Regression
from ...networks import best_fit, trainable
from ..losses import SquaredLoss
from .base import Formulation, formulations, like, norm
from .residual import LogResidual


class _General(Formulation):
    """What both share: the module's frozen part, its predictions, its way back."""

    data: eqx.AbstractVar[Regression]
    frozen: eqx.AbstractVar[PyTree]

    def predict(self, parameters: PyTree[Array]) -> Float[Array, "n m"]:
        """`f(x)` for every sample x."""
        network = eqx.combine(parameters, self.frozen)
        predictions = jax.vmap(network)(self.data.X)
        if predictions.shape != self.data.Y.shape:
            raise ValueError(
                f"The network maps {self.data.features} features to an output of shape "
                f"{predictions.shape[1:]}, but the targets have shape {self.data.Y.shape[1:]}."
            )
        return predictions

    def _lift(self, parameters: PyTree[Array]) -> Any:
        return eqx.combine(parameters, self.frozen)


def _split(network: Any) -> tuple[PyTree[Array], PyTree]:
    parameters, frozen = eqx.partition(network, trainable(network))
    if not jax.tree.leaves(parameters):
        raise ValueError("The network has no trainable arrays: there is nothing to integrate.")
    return parameters, frozen


class ResidualState(eqx.Module):
    """The parameters, and the residual `E = best_fit - f(X)` (n, m) beside them."""

    parameters: PyTree[Array]
    E: LogResidual


class Residual(_General):
    r"""The parameters of any module, with the residual as a state of its own.

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
        return cls(data, _split(network)[1], best_fit(network, data))

    def start(self, network: Any) -> ResidualState:
        parameters = _split(network)[0]
        return ResidualState(parameters, LogResidual.of(self.goal - self.predict(parameters)))

    def field(self, t: Any, state: ResidualState, args: Any) -> ResidualState:
        _, pull = jax.vjp(self.predict, state.parameters)
        (direction,) = pull(state.E.direction)
        _, decay = jax.jvp(self.predict, (state.parameters,), (direction,))
        size = jnp.exp(state.E.log_size)
        velocity = jax.tree.map(lambda leaf: size * leaf, direction)
        return ResidualState(velocity, state.E.derivative(decay))

    def sizes(self, state: ResidualState) -> ResidualState:
        return ResidualState(like(state.parameters, norm(state.parameters)), state.E.sizes())

    def log_excess(self, state: ResidualState) -> Float[Array, ""]:
        return state.E.log_half_square

    def lift(self, state: ResidualState, network: Any) -> Any:
        return self._lift(state.parameters)

    def discrepancy(self, state: ResidualState) -> Float[Array, ""]:
        """Distance between the residual and that of the parameters, relative to `||Y||_F`."""
        gap = norm(self.goal - self.predict(state.parameters) - state.E.value)
        scale = norm(self.goal)
        return gap / jnp.where(scale > 0, scale, 1)

    def fastest_rate(self, state: ResidualState) -> Float[Array, ""]:
        # <F, J J^T F> at the start: the rate of the residual that is there.
        return -2 * self.field(0.0, state, None).E.log_size


class Parameters(_General):
    """The parameters of any module under any loss, `theta' = -grad L`, and nothing else.

    The excess loss is computed from the parameters, so it has a floor near 1e-32 of the initial
    loss, and a stop below about 1e-16 of it may never fire. A loss of the user's own is taken to
    have infimum `loss.optimum` if it has that attribute, else 0.
    """

    name: ClassVar[str] = "parameters"
    data: Regression
    frozen: PyTree
    goal: Float[Array, "n m"]
    objective: Any

    @classmethod
    def applies(cls, network: Any, data: Regression, loss: Any) -> bool:
        return True

    @classmethod
    def build(cls, network: Any, data: Regression, loss: Any) -> "Formulation":
        goal = best_fit(network, data) if isinstance(loss, SquaredLoss) else data.Y
        return cls(data, _split(network)[1], goal, loss)

    def excess(self, parameters: PyTree[Array]) -> Float[Array, ""]:
        """`L - L*`; its gradient is that of the loss."""
        loss = self.objective(self.predict(parameters), self.goal)
        return loss - jnp.asarray(getattr(self.objective, "optimum", 0), loss.dtype)

    def start(self, network: Any) -> PyTree[Array]:
        return _split(network)[0]

    def field(self, t: Any, state: PyTree[Array], args: Any) -> PyTree[Array]:
        return jax.tree.map(jnp.negative, jax.grad(self.excess)(state))

    def sizes(self, state: PyTree[Array]) -> PyTree[Array]:
        return like(state, norm(state))

    def log_excess(self, state: PyTree[Array]) -> Float[Array, ""]:
        excess = self.excess(state)
        return jnp.where(excess > 0, jnp.log(jnp.where(excess > 0, excess, 1)), -jnp.inf)

    def lift(self, state: PyTree[Array], network: Any) -> Any:
        return self._lift(state)

    def fastest_rate(self, state: PyTree[Array]) -> Float[Array, ""]:
        excess, gradient = jax.value_and_grad(self.excess)(state)
        return norm(gradient) ** 2 / jnp.where(excess > 0, excess, 1)


GENERAL: tuple[type[Formulation], ...] = (Residual, Parameters)


@formulations.register(object)
def _(network: Any) -> tuple[type[Formulation], ...]:
    return GENERAL
