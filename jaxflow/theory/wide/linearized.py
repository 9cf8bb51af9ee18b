"""The flow of a network with its tangent kernel held constant, in closed form."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._types import Network, Time
from ...data import Regression
from ...networks import best_fit, cross_kernel, trainable
from ...networks.adopt import adopt
from ...networks.base import predictions


class LinearizedFlow(eqx.Module):
    r"""The gradient flow of a network that is linearized in its parameters at the start.

    With f_0 the network at the start, T its tangent kernel and `r = y - f_0(X)`,

        `f_t(x) = f_0(x) + T(x, X) T^-1 (I - exp(-T t)) r`,

    at any t, by one eigendecomposition. If only the output layer moves
    (`ShallowNetwork.output_only`) this is the flow of the network itself. Directions in which the
    eigenvalue of T is below n m eps of the largest, that is rounding, do not move.

    **Arguments:** the `network` at the start, and the `data`. `vmap` over networks is fine.

    **Source:** Jacot, Gabriel, Hongler (2018); Jin and Montufar (JMLR 2023), section 4.
    """

    network: Network
    X: Float[Array, "n D"]
    levels: Float[Array, " nm"]  # eigenvalues of T, increasing; 1/time
    basis: Float[Array, "nm nm"]
    modes: Float[Array, " nm"]  # of the residual at the start

    def __init__(self, network: Network, data: Regression):
        adopt(network, data)  # which says what is wrong with either
        self.network, self.X = network, data.X
        levels, self.basis = jnp.linalg.eigh(cross_kernel(network, data.X))
        floor = len(levels) * float(jnp.finfo(levels.dtype).eps) * levels[-1]
        self.levels = jnp.where(levels > floor, levels, 0)
        start = predictions(network, data.X)
        self.modes = self.basis.T @ (best_fit(network, data) - start).reshape(-1)

    def coefficients(self, t: Time) -> Float[Array, " nm"]:
        """`T^-1 (I - exp(-T t)) r`; `t = inf` is fine."""
        known = self.levels > 0
        safe = jnp.where(known, self.levels, 1)
        return self.basis @ jnp.where(known, -jnp.expm1(-safe * t) / safe * self.modes, 0)

    def __call__(self, X: Float[Array, "k D"], t: Time = jnp.inf) -> Float[Array, "k m"]:
        """The predictions at points X and time t, default the limit."""
        start = predictions(self.network, X)
        moved = cross_kernel(self.network, X, self.X) @ self.coefficients(t)
        return start + moved.reshape(start.shape)

    def at(self, t: Time = jnp.inf) -> Network:
        """The network with the weights that the linearized flow reaches at the time t."""
        parameters, rest = eqx.partition(self.network, trainable(self.network))

        def predict(parameters: Any) -> Array:
            return predictions(eqx.combine(parameters, rest), self.X)

        start, pull = jax.vjp(predict, parameters)
        (change,) = pull(self.coefficients(t).reshape(start.shape))
        return eqx.combine(jax.tree.map(jnp.add, parameters, change), rest)
