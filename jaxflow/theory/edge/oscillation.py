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
from ...machine.arguments import integer, positive
from ...networks.complementarity import complementary
from ...networks.edge import Edge, network_edge


class Oscillation(eqx.Module):
    """The oscillation of descent around its central flow.

    **Attributes:** the `covariance` X (k, k) of the oscillation in the basis of the k leading
    eigenvectors of the Hessian, `vectors` U (P, k) in the flattened parameters, so that that of the
    weights is `Sigma = U X U^T`; its trace, the `variance`, zero below the edge; the averages over
    time of the `loss`, `L + tr Sigma / eta`, and of the squared norm of the `gradient`,
    `||grad L||^2 + 4 tr Sigma / eta^2`.
    """

    covariance: Float[Array, "k k"]
    vectors: Float[Array, "P k"]
    variance: Float[Array, ""]
    loss: Float[Array, ""]
    gradient: Float[Array, ""]


def oscillation(
    network: Network,
    data: Regression,
    learning_rate: ArrayLike,
    *,
    unstable: int = 4,
    loss: Any = None,
    within: float = 1e-3,
) -> Oscillation:
    r"""The covariance Sigma of descent's oscillation at the edge of stability, and its averages.

    Sigma lives in the span of the eigenvectors of the Hessian H whose eigenvalue is 2 / eta, and
    keeps all of them there. With `T_ij = grad u_i^T H u_j`, `Sigma = U X U^T` where

        `X >= 0,  A >= 0,  <X, A> = 0,  A_ij = <T_ij, grad L + 1/2 sum_kl X_kl T_kl>`,

    and A is minus the rate at which `U^T H U` changes. With one eigenvalue S there,
    `Sigma = 2 max(0, <-grad L, grad S>) / ||grad S||^2`.

    **Arguments:** a `network` of the central flow, the `data`, the `learning_rate` eta; how many
    eigenvalues may be `unstable` (default 4, or as many as there are parameters); the `loss`, as in
    `gradient_flow`; and the relative tolerance `within`: eigenvalues of at least
    `(1 - within) 2 / eta` count as at the edge.

    **Source:** Cohen, Damian, Talwalkar, Kolter, Lee (ICLR 2025), part I of the companion site; the
    averages are those of the authors' code.
    """
    value, edge = network_edge(network, data, integer("unstable", unstable), loss=loss)
    return _averages(value, edge, jnp.asarray(learning_rate, value.dtype), within)


@eqx.filter_jit
def _averages(value: Array, edge: Edge, learning_rate: Array, within: float) -> Oscillation:
    near = edge.values * learning_rate >= 2 * (1 - within)
    T = jnp.where((near[:, None] & near[None])[:, :, None], edge.third, 0)
    # In directions that are not at the edge A is positive, so that X is zero there.
    B = T @ edge.gradient + jnp.diag(jnp.where(near, 0, jnp.ones_like(edge.values)))
    X = complementary(B, 0.5 * jnp.einsum("ijp,klp->ijkl", T, T))
    variance = jnp.trace(X)
    return Oscillation(
        X,
        edge.vectors,
        variance,
        value + variance / learning_rate,
        edge.gradient @ edge.gradient + 4 * variance / learning_rate**2,
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

    **Source:** Damian, Nichani, Lee (ICLR 2023), as in the authors' code.
    """
    _, edge = network_edge(network, data, loss=loss)
    u, slope = edge.vectors[:, 0], edge.third[0, 0]
    across = slope - u * (u @ slope)
    alpha, beta = -(edge.gradient @ slope), across @ across
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

    **Source:** Damian, Nichani, Lee (ICLR 2023), as in the authors' code.
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

    **Source:** derived, for the map of Damian, Nichani, Lee (ICLR 2023).
    """
    for name, value in (("x0", abs(x0)), ("alpha", alpha), ("beta", beta)):
        positive(name, value)
    z = x0**2 * beta / (2 * alpha)
    return math.sqrt(alpha * (z - math.log(z) - 1))
