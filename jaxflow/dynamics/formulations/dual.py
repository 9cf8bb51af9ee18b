"""Flows that move by multipliers of the samples: `W' = J^T z`, whatever the loss and the module."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import numpy as np
from jaxtyping import Array, Float, PyTree

from ...data import Regression
from ...networks import tangent_kernel
from ...networks.base import predictions
from .base import Formulation, norm
from .residual import ritz_values

Square = Callable[[Array], Array]  # z -> ||J^T z||^2


class DualFormulation(Formulation):
    r"""`W' = J^T z`: J is the Jacobian of the predictions f, and z (n, m) a function of them.

    For the flow of a loss l(f), `z = -grad l(f)`. However many parameters there are, what is stiff
    about such a flow lives in the n m predictions: with `S = -dz/df` and the tangent kernel
    `K = J J^T`, the Jacobian of the flow is `-J^T S J` and a part that is as small as z.
    """

    data: eqx.AbstractVar[Regression]
    frozen: eqx.AbstractVar[PyTree]

    @abc.abstractmethod
    def multiplier(self, outputs: Float[Array, "n m"], square: Square) -> Float[Array, "n m"]:
        """z at these predictions; `square(z)` is `||J^T z||^2`."""

    @abc.abstractmethod
    def weights_of(self, state: Any) -> PyTree[Array]:
        """The part W of the state."""

    @abc.abstractmethod
    def completed(self, known: Any, c: Array, weights: PyTree[Array]) -> Any:
        """The state with these weights that solves `y = known + c y'` in its other parts."""

    def predict(self, weights: PyTree[Array]) -> Float[Array, "n m"]:
        """`f(x)` for every sample x."""
        return predictions(eqx.combine(weights, self.frozen), self.data.X)

    def pulled(self, weights: PyTree[Array]) -> tuple[Float[Array, "n m"], Callable[[Array], Any]]:
        """z at these weights, and the map `z -> J^T z`."""
        outputs, pull = jax.vjp(self.predict, weights)
        z = self.multiplier(outputs, lambda z: norm(pull(z)[0]) ** 2)
        return z, lambda z: pull(z)[0]

    def system(self, weights: PyTree[Array]) -> tuple[Float[Array, "nm nm"], Float[Array, "nm nm"]]:
        """S and K at these weights."""
        K = tangent_kernel(eqx.combine(weights, self.frozen), self.data)
        outputs = self.predict(weights)

        def flat(f: Array) -> Array:
            square = lambda z: z.reshape(-1) @ (K @ z.reshape(-1))  # noqa: E731
            return self.multiplier(f.reshape(outputs.shape), square).reshape(-1)

        return -jax.jacfwd(flat)(outputs.reshape(-1)), K

    @property
    def implicit_cost(self) -> float:
        """About how many explicit steps take the time of an implicit one (measured)."""
        samples, outputs = self.data.Y.shape
        return 5 + samples * outputs / 10 + samples * outputs**2 / 20

    def spectrum(self, network: Any) -> tuple[float, float] | None:
        """The slowest and the fastest rate of the flow to expect, on the host; None: unknown.

        The loss of a classification falls about like 1/t, and the fastest rate falls with it: the
        present rate of decay is taken for the slowest. Of other losses it is the slowest that the
        first directions of descent show.
        """
        state = self.start(network)
        levels = np.asarray(_levels(self, state))
        slowest = float(self.decay(state)) if self.separates else float(levels[0])
        return (slowest, float(levels[-1])) if np.isfinite(levels).all() else None

    @property
    @abc.abstractmethod
    def separates(self) -> bool:
        """Whether the loss is one of classification, which has no minimum where classes part."""

    @abc.abstractmethod
    def decay(self, state: Any) -> Float[Array, ""]:
        """Half the rate at which the excess loss decays here."""


@eqx.filter_jit
def _levels(form: DualFormulation, state: Any) -> Float[Array, " products"]:
    """Approximate eigenvalues of `J^T S J`, increasing, as `ritz_values` from `W'`."""
    weights = form.weights_of(state)
    outputs, pull = jax.vjp(form.predict, weights)

    def multiplier(f: Array) -> Array:
        return form.multiplier(f, lambda z: norm(pull(z)[0]) ** 2)

    z, felt = jax.linearize(multiplier, outputs)
    start, unravel = jax.flatten_util.ravel_pytree(pull(z)[0])

    def times(v: Array) -> Array:
        _, moved = jax.jvp(form.predict, (weights,), (unravel(v),))
        return jax.flatten_util.ravel_pytree(pull(-felt(moved))[0])[0]

    return ritz_values(times, start)
