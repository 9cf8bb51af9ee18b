"""One moment of one trajectory: what measures and stopping rules are given."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..data import Regression
from ..networks.adopt import bare
from ..networks.base import predictions
from ..networks.margins import margins
from .central_flow import Averages, CentralFlow
from .formulations import Formulation
from .formulations.base import optimal_loss
from .methods import Progress


class View(eqx.Module):
    """One moment of a trajectory. Every quantity is computed when it is asked for.

    **Attributes:** the `formulation`, the `state` in its coordinates, the `objective`, which is the
    loss as a function of predictions and targets, and of a descent `ruled`, its rule and what that
    carries from step to step.
    """

    formulation: Formulation
    state: Any
    first: Any  # the network at time 0, with its mask
    objective: Any
    ruled: Any = None

    @property
    def data(self) -> Regression:
        """The problem being learned."""
        return self.formulation.data

    @property
    def network(self) -> Any:
        """The network at this moment, of the class the trajectory started from."""
        return bare(self.trained)

    @property
    def initial(self) -> Any:
        """The network at time 0."""
        return bare(self.first)

    @property
    def trained(self) -> Any:
        """The network at this moment, of which `trainable` names the parameters that move."""
        return self.formulation.lift(self.state, self.first)

    @property
    def factors(self) -> tuple[Float[Array, "m h"], Float[Array, "r h"]]:
        """`(V, Phi^T U)` of a two-layer linear network at this moment."""
        return self.formulation.factors(self.state, self.first)

    @property
    def log_excess(self) -> Float[Array, ""]:
        """`log(L - L*)`."""
        return self.formulation.log_excess(self.state)

    @property
    def loss(self) -> Float[Array, ""]:
        """L."""
        return optimal_loss(self.objective, self.formulation) + jnp.exp(self.log_excess)

    @property
    def margins(self) -> Float[Array, " n"]:
        """The margin of each sample, for targets that are classes: see `networks.margins`."""
        return margins(predictions(self.network, self.data.X), self.data.Y)

    @property
    def log_speed(self) -> Float[Array, ""]:
        """`log ||grad L||_F`, over all trainable parameters."""
        return self.formulation.log_speed(self.state)

    @property
    def product(self) -> Float[Array, "D m"]:
        """The end-to-end predictor `Theta`, from the residual where one is carried."""
        return self.formulation.product(self.state, self.first)

    @property
    def span_error(self) -> Float[Array, "r m"]:
        """`Phi^T Theta - S^-1 W^T Y`, from the residual where one is carried."""
        return self.formulation.span_error(self.state, self.first)

    @property
    def residual(self) -> Float[Array, "r m"]:
        """`E = W^T Y - S Phi^T Theta`, from the residual where one is carried."""
        return -self.span_error * self.data.singular_values[:, None]

    @property
    def discrepancy(self) -> Float[Array, ""]:
        """How far the residual and the weights disagree, relative to the targets."""
        return self.formulation.discrepancy(self.state)

    @property
    def step_sizes(self) -> Array:
        """The step sizes of a method per parameter, flattened, (P,), or of all of them, ()."""
        memory = self.ruled[1] if self.ruled else None
        if not isinstance(memory, Progress):
            raise ValueError(
                "Step sizes are known of methods such as jf.RMSProp() and of their flows: pass one."
            )
        return memory.sizes

    @property
    def oscillation(self) -> Averages:
        """The averages over the oscillation of a method around its central flow."""
        rule, memory = self.ruled or (None, None)
        if not isinstance(rule, CentralFlow):
            raise ValueError("The oscillation is known along a central flow: use jf.CentralFlow().")
        form: Any = self.formulation
        return rule.averages(form, self.state, memory)
