"""Oscillations of gradient descent at the edge of stability, and the reduced map."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ..._types import Network
from ...data import Regression
from ...machine.arguments import positive
from ...networks.curvature import slopes


class Oscillation(eqx.Module):
    """The oscillation of descent around its central flow.

    **Attributes:** the `variance` sigma^2 of the weights along the leading eigenvector of the
    Hessian, zero below the edge; the averages over time of the `loss`, `L + sigma^2 / eta`, and of
    the squared norm of the `gradient`, `||grad L||^2 + 4 sigma^2 / eta^2`.
    """

    variance: Float[Array, ""]
    loss: Float[Array, ""]
    gradient: Float[Array, ""]


def oscillation(
    network: Network,
    data: Regression,
    learning_rate: ArrayLike,
    *,
    loss: Any = None,
    within: float = 1e-3,
) -> Oscillation:
    r"""`sigma^2 = 2 max(0, <-grad L, grad S>) / ||grad S||^2` at the edge of stability.

    S is the sharpness. A network with `S >= (1 - within) 2 / eta` counts as at the edge; below it
    sigma^2 is 0.

    **Arguments:** a `network` of the central flow, the `data`, the `learning_rate` eta, the `loss`,
    as in `gradient_flow`, and the relative tolerance `within`.

    **Source:** Cohen, Damian, Talwalkar, Kolter, Lee (ICLR 2025), section 3.
    """
    found = slopes(network, data, loss=loss)
    gradient, slope = found.gradient, found.slope
    size = slope @ slope
    variance = 2 * jax.nn.relu(-(gradient @ slope)) / jnp.where(size > 0, size, 1)
    variance = jnp.where(found.sharpness * learning_rate >= 2 * (1 - within), variance, 0)
    return Oscillation(
        variance,
        found.loss + variance / learning_rate,
        gradient @ gradient + 4 * variance / learning_rate**2,
    )


class SelfStabilization(eqx.Module):
    """The constants of the oscillation of descent around sharpness S = 2 / eta.

    **Attributes:** `alpha = -<grad L, grad S>`, the rate of progressive sharpening;
    `beta = ||grad S_perp||^2`, where grad S_perp is grad S without its part along u; the amplitude
    `delta = sqrt(2 alpha / beta)` of the oscillation; `epsilon = eta sqrt(alpha)`, the inverse of
    its duration in steps; and u, the leading eigenvector of the Hessian in the flattened
    parameters, `vector` (P,). delta and epsilon are 0 where alpha < 0.
    """

    alpha: Float[Array, ""]
    beta: Float[Array, ""]
    delta: Float[Array, ""]
    epsilon: Float[Array, ""]
    vector: Float[Array, " P"]


def self_stabilization(
    network: Network, data: Regression, learning_rate: ArrayLike, *, loss: Any = None
) -> SelfStabilization:
    """The constants of the reduced map (`reduced_step`) at a network, under a `loss`.

    **Source:** Damian, Nichani, Lee (ICLR 2023), section 4.
    """
    found = slopes(network, data, loss=loss)
    u, slope = found.vector, found.slope
    across = slope - u * (u @ slope)
    alpha, beta = -(found.gradient @ slope), across @ across
    rising = jax.nn.relu(alpha)
    return SelfStabilization(
        alpha,
        beta,
        jnp.sqrt(2 * rising / jnp.where(beta > 0, beta, 1)),
        jnp.multiply(learning_rate, jnp.sqrt(rising)),
        u,
    )


def reduced_step(
    x: ArrayLike, y: ArrayLike, eta: ArrayLike, alpha: ArrayLike, beta: ArrayLike
) -> tuple[Any, Any]:
    """The map `x -> -(1 + eta y) x`, `y -> y + eta (alpha - beta x^2 / 2)`, a step of descent.

    x is the displacement along the leading eigenvector of the Hessian, and y the excess
    `S - 2 / eta` of the sharpness; alpha and beta are those of `self_stabilization`.

    **Source:** Damian, Nichani, Lee (ICLR 2023), section 4.
    """
    return -(1 + eta * y) * x, y + eta * (alpha - 0.5 * beta * x**2)


def reduced_energy(x: ArrayLike, y: ArrayLike, alpha: ArrayLike, beta: ArrayLike) -> Any:
    """`(Y^2 + X^2 - log X^2) / 2`, `X = x sqrt(beta / (2 alpha))`, `Y = y / sqrt(alpha)`.

    The map `reduced_step` conserves it in the limit `eta sqrt(alpha) -> 0`.
    """
    X2 = x**2 * beta / (2 * alpha)
    return 0.5 * (y**2 / alpha + X2 - jnp.log(X2))


def spike_height(x0: float, alpha: float, beta: float) -> float:
    """The largest y that `reduced_step` reaches from `(x0, 0)`, as `eta sqrt(alpha) -> 0`.

    `sqrt(alpha (z - log z - 1))`, `z = x0^2 beta / (2 alpha)`.

    **Source:** Damian, Nichani, Lee (ICLR 2023), section 4.
    """
    for name, value in (("x0", abs(x0)), ("alpha", alpha), ("beta", beta)):
        positive(name, value)
    z = x0**2 * beta / (2 * alpha)
    return math.sqrt(alpha * (z - math.log(z) - 1))
