"""Central flows, which follow the average of a method's oscillations, and stable flows."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..machine.arguments import instance, integer
from ..networks.edge import Edge
from .formulations import Parameters
from .methods import GradientDescent, Method, Progress
from .rules import Curved, Loss, flattened
from .status import Result

NEAR = 0.9  # of the edge: from there on an eigenvalue may reach it within a step
CROWDED = 0.01  # how far beyond the edge, relatively, an untracked eigenvalue may be


class Following(Progress):
    """What a flow carries: also leading eigenvectors, and whether it went beyond its bounds."""

    vectors: Float[Array, "P c"]
    beyond: Array


class Averages(eqx.Module):
    """What a central flow says of the oscillation around it.

    **Attributes:** the averages over time of the `loss`, `L + <H, Sigma> / 2`, and of the squared
    norm of the `gradient`, `||grad L||^2 + tr(H Sigma H)`; `X` (k, k) of `Sigma = U X U^T`; and
    the leading eigenvectors U of `P^-1 H`, `vectors` (P, k), with their `values` (k,).
    """

    loss: Float[Array, ""]
    gradient: Float[Array, ""]
    X: Float[Array, "k k"]
    vectors: Float[Array, "P k"]
    values: Float[Array, " k"]


class Flow(Curved):
    """A flow of a method: Euler steps, `substeps` of them or more per step of the method."""

    method: Any = GradientDescent()
    substeps: int = eqx.field(default=1, static=True, kw_only=True)

    def __check_init__(self):
        instance("method", self.method, Method, "a method such as jf.RMSProp()")
        integer("substeps", self.substeps)

    def start(self, form: Parameters, parameters: PyTree[Array], rate: Any) -> PyTree:
        loss, flat, _ = flattened(form, parameters)
        state = self.method.update(self.method.init(flat), jax.grad(loss)(flat))
        sizes = rate * self.method.scale(state)
        root = jnp.sqrt(sizes)
        vectors = self.directions(lambda z: loss(root * z), flat / root)
        return Following(state, sizes, vectors, jnp.asarray(False))

    def beyond(self, memory: Any) -> Any:
        return memory.beyond


class StableFlow(Flow):
    r"""The flow of a method that does not oscillate: `theta' = -P^-1 grad L`, `state' = velocity`.

    Time is per step of the method. Of gradient descent it is the gradient flow. Euler steps are
    made, at most half as long as the inverse of the largest eigenvalue of `P^-1 H`.

    **Arguments:** the `method`, default gradient descent; the least number of `substeps` per step
    (default 4), and the `most` (default 10,000): a run that would need more makes longer ones and
    ends as `Result.too_stiff`; `iterations` of LOBPCG per step (default 3).

    **Source:** Cohen, Damian, Talwalkar, Kolter, Lee (ICLR 2025), parts II and III of the companion
    site; the length of the steps is that of the authors' code.
    """

    substeps: int = eqx.field(default=4, static=True, kw_only=True)
    most: int = eqx.field(default=10_000, static=True, kw_only=True)
    failure: ClassVar[Result] = Result.too_stiff

    def __check_init__(self):
        integer("most", self.most, self.substeps)

    def step(
        self, form: Parameters, parameters: Any, state: Any, rate: Any, batch: Loss
    ) -> tuple[PyTree[Array], PyTree]:
        loss, flat, unravel = flattened(form, parameters)
        method = self.method
        root = jnp.sqrt(rate * method.scale(state.state))
        edge = self.look(lambda z: loss(root * z), flat / root, state.vectors, jnp.inf)
        count = jnp.maximum(jnp.ceil(2 * edge.values[0]), self.substeps)

        def substep(_: Any, carry: Any) -> Any:
            x, inner = carry
            gradient = jax.grad(loss)(x)
            step = rate * method.scale(inner) * method.heading(inner, gradient) / count
            return x - step, moved(inner, method.velocity(inner, gradient), 1 / count)

        many = jnp.where(jnp.isfinite(count), jnp.minimum(count, self.most), 1).astype(int)
        flat, inner = jax.lax.fori_loop(0, many, substep, (flat, state.state))
        sizes = rate * method.scale(inner)
        return unravel(flat), Following(
            inner, sizes, edge.memory, state.beyond | (count > self.most)
        )


class CentralFlow(Flow):
    r"""The central flow of a method: it follows the average of the method's oscillations.

        `theta' = -P^-1 (grad L + 1/2 grad <H, Sigma>)`,
        `state' = velocity(state, grad L) + 1/2 <velocity'' , H Sigma H>`

    per step of the method. H is the Hessian, P the preconditioner, for gradient descent one over
    the learning rate, and Sigma >= 0 the covariance of the oscillation: the least one that keeps
    `H <= 2 P`, in the span of the eigenvectors U of `P^-1 H` with eigenvalue 2, `U^T P U = 1`. (For
    methods with another `edge`, that stands for 2.) The second term of `state'` is what the
    oscillation `H delta` of the gradient adds to the average of the velocity.

    Euler steps of size `1 / substeps` are made, along U no longer than to the minimum there. Each
    of them solves, for `Sigma = U X U^T` and A = `U^T (2 P - H) U` after the step,

        `X >= 0,  A(X) >= 0,  <X, A(X)> = 0`.

    For gradient descent with one eigenvalue S and learning rate eta,
    `Sigma = 2 max(0, <-grad L, grad S> + (S - 2/eta) / dt) / ||grad S||^2`, dt = eta / substeps.

    Time is that of the method: the sum of learning rates, which may change from step to step. One
    substep is nearest to the method: across U the step is the method's own, with the same error of
    first order. Many substeps tend to the flow.

    **Arguments:** the `method`, default gradient descent; `unstable` (default 4), how many
    eigenvalues may reach the edge: only those near it cost more than a Hessian product, and a run
    in which more get beyond it ends as `Result.crowded`; `iterations` of LOBPCG per substep
    (default 3); `substeps` per step (default 1).

    **Source:** Cohen, Damian, Talwalkar, Kolter, Lee (ICLR 2025), parts I to III of the companion
    site and the authors' code, which also linearizes A and solves for X.
    """

    unstable: int = eqx.field(default=4, static=True, kw_only=True)

    def step(
        self, form: Parameters, parameters: Any, state: Any, rate: Any, batch: Loss
    ) -> tuple[PyTree[Array], PyTree]:
        loss, flat, unravel = flattened(form, parameters)
        dt = 1 / self.substeps

        def substep(_: Any, carry: Any) -> Any:
            x, inner, vectors, beyond = carry
            root = jnp.sqrt(rate * self.method.scale(inner))
            edge, X, drift = self.oscillation(loss, x, inner, vectors, root)
            heading = root * self.method.heading(inner, edge.gradient / root) + edge.pull(X)
            over = edge.next > self.method.edge * (1 + CROWDED)
            x = x - dt * root * edge.damp(heading, dt)
            return x, moved(inner, drift, dt), edge.memory, beyond | over

        carry = (flat, state.state, state.vectors, state.beyond)
        flat, inner, *rest = jax.lax.fori_loop(0, self.substeps, substep, carry)
        return unravel(flat), Following(inner, rate * self.method.scale(inner), *rest)

    def oscillation(
        self, loss: Loss, x: Float[Array, " P"], state: Any, vectors: Any, root: Array
    ) -> tuple[Edge, Float[Array, "k k"], PyTree]:
        """The edge, the covariance X, and the average velocity of the state.

        The edge is that of the loss in the coordinates `z = x / root`, `root = P^-1/2`, in which
        the preconditioned Hessian `P^-1/2 H P^-1/2` is the Hessian, and U is orthonormal.
        """
        method, dt, limit = self.method, 1 / self.substeps, self.method.edge
        edge = self.look(lambda z: loss(root * z), x / root, vectors, NEAR * limit)
        gradient = edge.gradient / root
        drift = method.velocity(state, gradient)
        heading = root * method.heading(state, gradient)
        k, U = len(edge.values), edge.vectors
        if not jax.tree.leaves(state):
            return edge, edge.covariance(limit, dt, heading), drift
        i, j = np.tril_indices(k)
        HU = limit * U / jnp.broadcast_to(root, x.shape)[:, None]  # at the edge

        def bent(u: Array, v: Array) -> PyTree:
            """Half the second derivative of the velocity along the gradients u and v."""

            def along(g: Array) -> PyTree:
                return jax.jvp(lambda g: method.velocity(state, g), (g,), (u,))[1]

            return jax.tree.map(lambda y: 0.5 * y, jax.jvp(along, (gradient,), (v,))[1])

        def ratio(later: Any) -> Array:
            """The preconditioner of a later state over that of this one."""
            return jnp.broadcast_to(method.scale(state) / method.scale(later), x.shape)

        bends = jax.vmap(bent)(HU.T[i], HU.T[j])
        after = moved(state, drift, dt)
        grown, rise = jax.linearize(ratio, after)
        rises = dt * limit * jnp.einsum("pi,pj,np->ijn", U, U, jax.vmap(rise)(bends))
        feedback = jnp.zeros((k, k, k, k), x.dtype).at[:, :, i, j].set(rises)
        feedback = feedback.at[:, :, j, i].set(rises)
        X = edge.covariance(limit, dt, heading, ratio=grown, feedback=feedback)
        weights = X[i, j] * np.where(i == j, 1.0, 2.0)
        more = jax.tree.map(lambda y: jnp.tensordot(weights, y, 1), bends)
        return edge, X, jax.tree.map(jnp.add, drift, more)

    def averages(self, form: Parameters, parameters: Any, memory: Any) -> Averages:
        """What the flow at these parameters says of the oscillation around it."""
        loss, flat, _ = flattened(form, parameters)
        root = jnp.sqrt(memory.sizes)
        edge, X, _ = self.oscillation(loss, flat, memory.state, memory.vectors, root)
        each = jnp.broadcast_to(root, flat.shape)[:, None]
        HU, gradient = edge.vectors * edge.values[None] / each, edge.gradient / root
        return Averages(
            form.loss(parameters) + 0.5 * jnp.diag(X) @ edge.values,
            gradient @ gradient + jnp.sum(X * (HU.T @ HU)),
            X,
            each * edge.vectors,
            edge.values,
        )


def moved(state: PyTree, velocity: PyTree, dt: Any) -> PyTree:
    """The state after a step of size dt."""
    return jax.tree.map(lambda a, b: a + dt * b, state, velocity)
