"""The rules by which `gradient_descent` makes a step: an optimizer, or a model of one."""

import abc
import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.flatten_util
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from ..machine.arguments import integer
from ..machine.user_files import sentence
from ..networks.curvature import leading_eigenpairs, product, starting_directions
from ..networks.edge import Edge
from .formulations import Parameters
from .status import Result

Loss = Callable[[PyTree[Array]], Array]  # of the parameters


class Rule(eqx.Module):
    """A rule makes steps of a learning rate, `rate`, and may carry a state along."""

    @abc.abstractmethod
    def start(self, form: Parameters, parameters: PyTree[Array], rate: Any) -> PyTree:
        """The initial state that steps carry."""

    @abc.abstractmethod
    def step(
        self,
        form: Parameters,
        parameters: PyTree[Array],
        state: PyTree,
        rate: Float[Array, ""],
        batch: Loss,
    ) -> tuple[PyTree[Array], PyTree]:
        """The parameters and the state after a step, which takes the time `rate`.

        `batch` is the loss of this step's batch; `form.excess` is the whole loss.
        """

    # How a run ends in which the rule has gone beyond what it can follow.
    failure: ClassVar[Result] = Result.crowded

    def beyond(self, state: Any) -> Any:
        """Whether this has happened: for a flow, whether too many eigenvalues reached the edge."""
        return False


class Descent(Rule):
    """Descent by an Optax transformation, which knows its own learning rate."""

    transform: optax.GradientTransformation

    def start(self, form: Parameters, parameters: PyTree[Array], rate: Any) -> PyTree:
        return self.transform.init(parameters)

    def step(
        self, form: Parameters, parameters: Any, state: PyTree, rate: Any, batch: Loss
    ) -> tuple[PyTree[Array], PyTree]:
        value, gradient = jax.value_and_grad(batch)(parameters)
        # The names by which Optax's transformations ask for more than the gradient. What takes any
        # name is a chain, and passes all that it is given to a line search, which refuses others.
        takes = inspect.signature(self.transform.update).parameters
        chain = any(p.kind is p.VAR_KEYWORD for p in takes.values())
        more = {"value": value, "grad": gradient, "value_fn": batch}
        more = {name: given for name, given in more.items() if chain or name in takes}
        if "grad_fn" in takes:  # optax.contrib.sam
            more["grad_fn"] = lambda at, _: jax.grad(batch)(at)
        try:
            updates, state = self.transform.update(gradient, state, parameters, **more)
        except TypeError as error:  # it asks for something else
            raise ValueError(
                "The optimizer makes no step: give one whose update takes the gradient, the state "
                f"and the parameters, such as optax.sgd. {sentence(error)}"
            ) from error
        return eqx.apply_updates(parameters, updates), state


def flattened(
    form: Parameters, parameters: PyTree[Array]
) -> tuple[Callable[[Array], Array], Float[Array, " P"], Callable[[Array], PyTree[Array]]]:
    """The excess loss of a flat vector of parameters, the parameters as such, and the way back."""
    flat, unravel = jax.flatten_util.ravel_pytree(parameters)
    return lambda x: form.excess(unravel(x)), flat, unravel


class Curved(Rule):
    """A rule that follows the leading eigenvectors of the Hessian H from step to step.

    **Attributes:** `unstable`, how many eigenvalues may reach the edge of stability; `iterations`,
    of LOBPCG per step, which starts at the last eigenvectors and one direction more.
    """

    unstable: int = eqx.field(default=1, static=True, kw_only=True)
    iterations: int = eqx.field(default=3, static=True, kw_only=True)

    def __check_init__(self):
        integer("unstable", self.unstable)
        integer("iterations", self.iterations)

    def directions(self, loss: Loss, at: Float[Array, " P"]) -> Float[Array, "P c"]:
        """The leading eigenvectors of the Hessian at the start, one more than may be unstable."""
        columns = min(self.unstable + 1, at.size)
        start = starting_directions(at.size, columns, at.dtype)
        return leading_eigenpairs(functools.partial(product, loss, at), start).vectors

    def look(
        self, loss: Loss, at: Float[Array, " P"], start: Float[Array, "P c"], beyond: Any = -np.inf
    ) -> Edge:
        """The derivatives of a loss of flat parameters; `third` for eigenvalues `beyond` a size."""
        times = functools.partial(product, loss, at)
        pairs = leading_eigenpairs(times, start, steps=self.iterations)
        return Edge.of(loss, at, pairs, self.unstable, beyond=beyond)
