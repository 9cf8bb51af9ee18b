"""The derivatives of a loss on which its edge of stability depends, and the oscillation there."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._types import Network
from ..data import Regression
from .complementarity import complementary
from .curvature import Eigenpairs, flat_loss, hessian_eigenpairs, third_derivative


class Edge(eqx.Module):
    """The derivatives of a loss at a point on which the edge of stability depends.

    **Attributes:** the `gradient` (P,); `values` (k,) and vectors U (P, k), the leading eigenpairs
    of the Hessian H; `third` (k, k, P), the gradients of `u_i^T H u_j` with U fixed, those of the
    eigenvalues among them; `memory`, from which the next search for eigenvectors starts; `next`,
    a lower bound of the eigenvalue after these, or -inf.
    """

    gradient: Float[Array, " P"]
    values: Float[Array, " k"]
    vectors: Float[Array, "P k"]
    third: Float[Array, "k k P"]
    memory: Float[Array, "P c"]
    next: Float[Array, ""]

    @classmethod
    def of(
        cls,
        loss: Callable[[Array], Array],
        at: Float[Array, " P"],
        pairs: Eigenpairs,
        k: int,
        *,
        beyond: Any = -np.inf,
    ) -> "Edge":
        """The derivatives of `loss` at a point, given its leading eigenpairs, at least k.

        What belongs to eigenvalues of at most `beyond` in `third` is not computed, and is zero.
        """
        k = min(k, len(pairs.values))
        U, values = pairs.vectors[:, :k], pairs.values[:k]
        i, j = (jnp.asarray(index) for index in np.tril_indices(k))  # those below m come first

        def add(n: Array, third: Array) -> Array:
            slope = third_derivative(loss, at, U[:, i[n]], U[:, j[n]])
            return third.at[i[n], j[n]].set(slope).at[j[n], i[n]].set(slope)

        m = jnp.sum(values > beyond)
        third = jax.lax.fori_loop(0, m * (m + 1) // 2, add, jnp.zeros((k, k, at.size), at.dtype))
        more = pairs.values[k] if len(pairs.values) > k else jnp.asarray(-jnp.inf, at.dtype)
        return cls(jax.grad(loss)(at), values, U, third, pairs.vectors, more)

    def damp(self, v: Float[Array, "... P"], dt: Any) -> Float[Array, "... P"]:
        """v with its part along each column of U times `min(1, 1 / (S dt))`, S its eigenvalue.

        A step of size dt along the result does not overshoot the minimum along U.
        """
        excess = 1 - 1 / jnp.maximum(dt * self.values, 1)
        return v - (v @ self.vectors) @ (self.vectors * excess[None]).T

    def pull(self, X: Float[Array, "k k"]) -> Float[Array, " P"]:
        """What an oscillation of covariance `U X U^T` adds to the average of the gradient."""
        return 0.5 * jnp.einsum("ij,ijp->p", X, self.third)

    def covariance(
        self,
        limit: Any,
        dt: Any,
        heading: Float[Array, " P"],
        *,
        ratio: Any = None,
        feedback: Any = 0.0,
    ) -> Float[Array, "k k"]:
        r"""X of the oscillation `U X U^T` that keeps `H <= limit` in a step of size dt.

        X >= 0 is complementary to `B + M[X]`, which is `limit` times the identity minus the Hessian
        after the step, restricted to U, with `limit` growing where a preconditioner does:

            `B_ij = limit <u_i, ratio u_j> - S_i delta_ij + dt <T_ij, D heading>`,
            `M_ijkl = dt / 2 <T_ij, D T_kl> + feedback_ijkl`,

        with T the `third` derivatives and D v as `damp` leaves v.

        **Arguments:** the `limit`, twice the inverse learning rate for descent, and the step `dt`;
        the `heading` (P,), minus the velocity without oscillation, for descent the gradient;
        `ratio` (P,), the preconditioner after the step without oscillation over that before it
        (default 1); and `feedback`, what X adds to the first term of B (default 0).
        """
        k = len(self.values)
        U, T = self.vectors, self.third
        top = jnp.eye(k, dtype=U.dtype) if ratio is None else U.T @ (U * ratio[:, None])
        flows = jnp.einsum("ijp,p->ij", T, self.damp(heading, dt))
        B = limit * top - jnp.diag(self.values) + dt * flows
        rows = T.reshape(k * k, -1)
        M = (0.5 * dt * (rows @ self.damp(rows, dt).T)).reshape(k, k, k, k) + feedback
        return complementary(0.5 * (B + B.T), M)


@eqx.filter_jit
def network_edge(
    network: Network, data: Regression, k: int = 1, *, loss: Any = None
) -> tuple[Float[Array, ""], Edge]:
    """The loss of a network, and its `Edge` with the k leading eigenpairs."""
    total, flat = flat_loss(network, data, loss)
    pairs = hessian_eigenpairs(network, data, min(k, flat.size), loss=loss)
    return total(flat), Edge.of(total, flat, pairs, k)
