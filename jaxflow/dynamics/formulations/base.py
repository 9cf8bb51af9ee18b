"""Formulations: exact coordinates in which one and the same flow is integrated."""

import abc
import functools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..._types import Network
from ...data import Regression
from ...networks import span_factors, trainable
from ...networks.adopt import bare
from ...networks.base import WrongNetwork
from ...networks.losses import SquaredLoss, least


class Formulation(eqx.Module):
    """Exact coordinates of a gradient flow, for one network on one data set.

    A formulation holds what stays fixed along the flow; its state is what moves. It is written
    for one trajectory; `vmap` stays outside.
    """

    name: ClassVar[str]
    # The name under which the first formulation that applies is chosen. All that share a group have
    # one time variable: flow time, or in "log_loss" the value of -log L.
    group: ClassVar[str] = "auto"
    # Whether the flow is so stiff, and its state so small, that implicit steps are always cheaper.
    stiff: ClassVar[bool] = False
    data: eqx.AbstractVar[Regression]

    @classmethod
    @abc.abstractmethod
    def applies(cls, network: Any, data: Regression, loss: Any) -> bool:
        """Whether these coordinates describe the flow of this network under this loss."""

    @classmethod
    @abc.abstractmethod
    def build(cls, network: Any, data: Regression, loss: Any) -> "Formulation":
        """The formulation of this network's flow."""

    @abc.abstractmethod
    def start(self, network: Any) -> PyTree[Array]:
        """The state that stands for `network`."""

    def begin(self, state: Any) -> Float[Array, ""]:
        """The value of the time variable at the state that the flow starts from."""
        return jnp.zeros((), self.data.X.dtype)

    @abc.abstractmethod
    def field(self, t: Any, state: Any, args: Any) -> PyTree[Array]:
        """The time derivative of the state."""

    @abc.abstractmethod
    def error_scales(self, state: Any) -> PyTree[Array]:
        """For every leaf of the state, the size (a scalar) to which its error is relative."""

    @abc.abstractmethod
    def log_excess(self, state: Any) -> Float[Array, ""]:
        """`log(L - L*)`, never by subtraction where the coordinates allow it."""

    @abc.abstractmethod
    def lift(self, state: Any, network: Any) -> Any:
        """The network of the original class that this state stands for.

        `network` is the one the flow started from: it supplies what the state left out.
        """

    @abc.abstractmethod
    def fastest_rate(self, state: Any) -> Float[Array, ""]:
        """An upper estimate of the fastest rate of the flow near this state, in 1/time."""

    def log_time(self, t: Any, state: Any) -> Float[Array, ""]:
        """The logarithm of the flow time."""
        return jnp.log(t)

    def log_speed(self, state: Any) -> Float[Array, ""]:
        """`log ||grad L||_F`; here for a state that is the weights and nothing else."""
        return jnp.log(norm(self.field(0.0, state, None)))

    def factors(self, state: Any, network: Any) -> tuple[Float[Array, "m h"], Float[Array, "r h"]]:
        """`(V, U1)` of a two-layer linear network."""
        return span_factors(bare(self.lift(state, network)), self.data)

    def product(self, state: Any, network: Any) -> Float[Array, "D m"]:
        """The end-to-end linear predictor."""
        lifted = bare(self.lift(state, network))
        if not has_product(lifted):
            raise WrongNetwork("a network with an end-to-end predictor, `product`", lifted)
        return lifted.product

    def span_error(self, state: Any, network: Any) -> Float[Array, "r m"]:
        """`Phi^T Theta - S^-1 W^T Y`: how far the predictor is from every minimum."""
        return self.data.right.T @ self.product(state, network) - self.data.span_solution

    def discrepancy(self, state: Any) -> Float[Array, ""]:
        """How far redundant coordinates have drifted apart, relative to the targets."""
        return jnp.zeros((), self.data.X.dtype)


@functools.singledispatch
def formulations(network: Any) -> tuple[type[Formulation], ...]:
    """The formulations of this kind of network, the most reduced first. Families register here."""
    raise NotImplementedError  # replaced by the general answer in `general.py`


def has_product(network: Network) -> bool:
    """Whether a network is linear in x, with the property `product`, the end-to-end predictor."""
    return isinstance(getattr(type(network), "product", None), property)


def split(network: Network) -> tuple[PyTree[Array], PyTree]:
    """The parameters that the flow moves, and everything else of a network."""
    parameters, frozen = eqx.partition(network, trainable(network))
    if not jax.tree.leaves(parameters):
        raise ValueError("The network has no trainable arrays: there is nothing to integrate.")
    return parameters, frozen


def norm(tree: PyTree[Array]) -> Float[Array, ""]:
    """Frobenius norm over all leaves, with a zero gradient at zero."""
    leaves = jax.tree.leaves(tree)
    # Scaled by the largest entry, so that squares neither overflow nor underflow.
    top = jax.lax.stop_gradient(
        functools.reduce(jnp.maximum, [jnp.max(jnp.abs(leaf), initial=0) for leaf in leaves])
    )
    usable = (top > 0) & jnp.isfinite(top)
    unit = jnp.where(usable, top, 1)
    total = sum(jnp.sum((leaf / unit) ** 2) for leaf in leaves)
    positive = total > 0
    return jnp.where(positive, unit * jnp.sqrt(jnp.where(positive, total, 1)), 0)


def all_finite(tree: PyTree[Array]) -> Bool[Array, ""]:
    """Whether every entry of every leaf is finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def like(tree: PyTree[Array], value: Array) -> PyTree[Array]:
    """The structure of `tree` with every leaf replaced by `value`."""
    return jax.tree.map(lambda _: value, tree)


def optimal_loss(loss: Any, form: Formulation) -> Float[Array, ""]:
    """What the excess loss is counted from: L*, in the loss's own units."""
    if isinstance(loss, SquaredLoss):
        return loss(getattr(form, "goal", form.data.best_fit), form.data.Y)
    return least(loss, form.data)
