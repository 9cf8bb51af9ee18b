"""The rules by which `gradient_descent` makes a step: an optimizer, and three models of descent."""

import abc
import functools
import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from ..machine.arguments import integer, shown
from ..machine.user_files import sentence
from ..networks.curvature import (
    leading_eigenpairs,
    product,
    starting_directions,
    third_derivative,
)
from .formulations import Parameters

Loss = Callable[[PyTree[Array]], Array]  # of the parameters


class Rule(eqx.Module):
    """A rule makes steps, each of which takes the time `rate`, and may carry a state along."""

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
        """The parameters and the state after a step.

        `batch` is the loss of this step's batch; `form.excess` is the whole loss.
        """


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

    **Attributes:** `unstable`, how many eigenvalues may reach 2 / eta, with eta the learning rate;
    `iterations`, of LOBPCG per step, which starts at the last eigenvectors and one direction more.
    """

    unstable: int = eqx.field(default=1, static=True)
    iterations: int = eqx.field(default=3, static=True)

    def __check_init__(self):
        integer("unstable", self.unstable)
        integer("iterations", self.iterations)

    def start(self, form: Parameters, parameters: PyTree[Array], rate: Any) -> PyTree:
        loss, flat, _ = flattened(form, parameters)
        columns = min(self.unstable + 1, flat.size)
        start = starting_directions(flat.size, columns, flat.dtype)
        return leading_eigenpairs(functools.partial(product, loss, flat), start).vectors

    def look(self, loss: Callable[[Array], Array], at: Array, start: Array) -> "Edge":
        """Gradient, leading eigenpairs, and the derivatives of the eigenvalues."""
        times = functools.partial(product, loss, at)
        pairs = leading_eigenpairs(times, start, steps=self.iterations)
        k = min(self.unstable, len(pairs.values))
        U = pairs.vectors[:, :k]
        rows = [jnp.stack([third_derivative(loss, at, u, v) for v in U.T]) for u in U.T]
        return Edge(jax.grad(loss)(at), pairs.values[:k], U, jnp.stack(rows), pairs.vectors)


class Edge(eqx.Module):
    """The derivatives of the loss at a point on which the edge of stability depends.

    **Attributes:** the `gradient` (P,); `values` (k,) and vectors U (P, k), the leading eigenpairs
    of the Hessian H; `third` (k, k, P), the gradients of `u_i^T H u_j` with U fixed, those of the
    eigenvalues among them; `memory`, from which the next search for eigenvectors starts.
    """

    gradient: Float[Array, " P"]
    values: Float[Array, " k"]
    vectors: Float[Array, "P k"]
    third: Float[Array, "k k P"]
    memory: Float[Array, "P c"]

    def damp(self, v: Float[Array, "... P"], dt: Float[Array, ""]) -> Float[Array, "... P"]:
        """v with its part along each column of U times `min(1, 1 / (S dt))`, S its eigenvalue.

        A step of size dt along the result does not overshoot the minimum along U.
        """
        excess = 1 - 1 / jnp.maximum(dt * self.values, 1)
        return v - (v @ self.vectors) @ (self.vectors * excess[None]).T


class CentralFlow(Curved):
    r"""The central flow: it follows the average of descent's oscillations. With learning rate eta,

        `theta' = -(grad L + 1/2 grad <H, Sigma>)`,

    where H is the Hessian, and Sigma >= 0 the covariance of the oscillation: the least one, in the
    span of the eigenvectors U of H with eigenvalue 2 / eta, that keeps `H <= 2 / eta`. Euler steps
    of size `eta / substeps` are made, along U no longer than to the minimum there. Each of them
    solves, for `Sigma = U X U^T` and A = `2 / eta - U^T H U` after the step,

        `X >= 0,  A(X) >= 0,  <X, A(X)> = 0`.

    With one eigenvalue S, `X = 2 max(0, <-grad L, grad S> + (S - 2/eta) / dt) / ||grad S||^2`.
    Time is flow time, as for the descent that it models. One substep is nearest to descent: across
    U the step is descent's own, with the same error of first order. Many substeps tend to the flow.

    **Arguments:** `unstable` (default 1), how many eigenvalues may reach 2 / eta; `iterations` of
    LOBPCG per substep (default 3); `substeps` per step of descent (default 1).

    **Source:** Cohen, Damian, Talwalkar, Kolter, Lee (ICLR 2025), section 3.
    """

    substeps: int = eqx.field(default=1, static=True)

    def __check_init__(self):
        integer("substeps", self.substeps)

    def step(
        self, form: Parameters, parameters: Any, state: PyTree, rate: Any, batch: Loss
    ) -> tuple[PyTree[Array], PyTree]:
        loss, flat, unravel = flattened(form, parameters)
        dt = rate / self.substeps

        def substep(_: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            x, memory = carry
            edge = self.look(loss, x, memory)
            force = edge.gradient + 0.5 * jnp.einsum(
                "ij,ijp->p", covariance(edge, rate, dt), edge.third
            )
            return x - dt * edge.damp(force, dt), edge.memory

        flat, state = jax.lax.fori_loop(0, self.substeps, substep, (flat, state))
        return unravel(flat), state


def covariance(
    edge: Edge, rate: Float[Array, ""], dt: Float[Array, ""], *, iterations: int = 200
) -> Float[Array, "k k"]:
    r"""X of the oscillation `U X U^T`: the complementarity problem of a step of size dt.

    It says that X minimizes `<B, X> + dt/4 ||sum_ij X_ij T_ij||^2` over X >= 0, with T the `third`
    derivatives and `B_ij = 2/eta I - U^T H U + dt <T_ij, grad L>`, products as `damp` leaves them:
    in closed form for one eigenvalue, else by accelerated projected gradients.
    """
    k = len(edge.values)
    flows = jnp.einsum("ijp,p->ij", edge.third, edge.damp(edge.gradient, dt))
    B = (2 / rate) * jnp.eye(k, dtype=edge.values.dtype) - jnp.diag(edge.values) + dt * flows
    T = edge.third.reshape(k * k, -1)
    M = 0.5 * dt * (T @ edge.damp(T, dt).T)
    if k == 1:
        return jnp.where(M > 0, jax.nn.relu(-B) / jnp.where(M > 0, M, 1), 0)
    size = jnp.linalg.norm(M)
    size = jnp.where(size > 0, size, 1)

    def project(X: Array) -> Array:
        values, vectors = jnp.linalg.eigh(0.5 * (X + X.T))
        return (vectors * jax.nn.relu(values)[None]) @ vectors.T

    def improve(_: Any, carry: Any) -> Any:
        X, Z, t = carry
        new = project(Z - ((M @ Z.reshape(-1)).reshape(k, k) + B) / size)
        # Momentum starts anew where it points uphill.
        t = jnp.where(jnp.sum((Z - new) * (new - X)) > 0, 1, t)
        after = 0.5 * (1 + jnp.sqrt(1 + 4 * t**2))
        return new, new + (t - 1) / after * (new - X), after

    zero = jnp.zeros((k, k), M.dtype)
    return jax.lax.fori_loop(0, iterations, improve, (zero, zero, jnp.ones((), M.dtype)))[0]


class ConstrainedTrajectory(Curved):
    r"""Descent projected onto `{S <= 2 / eta, <grad L, u> = 0}`, u the leading eigenvector.

    Each step is one of descent and then a few linearized projections,

        `- max(0, S - 2/eta) grad S_perp / ||grad S_perp||^2 - u <u, grad L> / S`,

    where S is the leading eigenvalue of the Hessian, and grad S_perp its gradient without the part
    along u.

    **Arguments:** `iterations` of LOBPCG per projection (default 3); `projections` per step
    (default 3).

    **Source:** Damian, Nichani, Lee (ICLR 2023), definition 3 and appendix; the projections are
    those of the authors' code.
    """

    projections: int = eqx.field(default=3, static=True)

    def __check_init__(self):
        integer("projections", self.projections)
        if self.unstable != 1:
            raise ValueError(f"unstable must be 1 here, got {shown(self.unstable)}.")

    def step(
        self, form: Parameters, parameters: Any, state: PyTree, rate: Any, batch: Loss
    ) -> tuple[PyTree[Array], PyTree]:
        loss, flat, unravel = flattened(form, parameters)
        start = flat - rate * jax.grad(loss)(flat)
        flat, state = self.project(loss, start, state, rate)
        return unravel(flat), state

    def project(
        self, loss: Callable[[Array], Array], x: Array, memory: Array, rate: Any
    ) -> tuple[Array, Array]:
        """The projection of the weights x, and the eigenvectors there."""

        def once(_: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            x, memory = carry
            edge = self.look(loss, x, memory)
            u, S = edge.vectors[:, 0], edge.values[0]
            slope = across(edge)
            size = slope @ slope
            excess = jax.nn.relu(S - 2 / rate)
            x = x - excess * jnp.where(size > 0, slope / jnp.where(size > 0, size, 1), 0)
            # Where S <= 0 there is no minimum along u to go to.
            along = jnp.where(S > 0, (u @ edge.gradient) / jnp.where(S > 0, S, 1), 0)
            return x - u * along, edge.memory

        return jax.lax.fori_loop(0, self.projections, once, (x, memory))


def across(edge: Edge) -> Float[Array, " P"]:
    """grad S without its part along the leading eigenvector u; S is the leading eigenvalue."""
    u, slope = edge.vectors[:, 0], edge.third[0, 0]
    return slope - u * (u @ slope)


class PredictedDynamics(ConstrainedTrajectory):
    r"""Damian, Nichani and Lee's prediction of descent, `theta = theta_+ + v`.

    theta_+ is the constrained trajectory, and v obeys, with x = <u, v>, y = <grad S_perp, v>,
    everything at theta_+, and p what the projection of this step takes off,

        `v <- v - eta (H v + u x y + x^2 / 2 grad S_perp) + p`;

    to first order `p = eta delta^2 / 2 grad S_perp`,
    `delta^2 = 2 <-grad L, grad S> / ||grad S_perp||^2`, while theta_+ is on the constraint. Start
    it where S first reaches 2 / eta: theta_+ begins at the projection of that point.

    **Source:** Damian, Nichani, Lee (ICLR 2023), equations 5 and 6; as in the authors' code.
    """

    def start(self, form: Parameters, parameters: PyTree[Array], rate: Any) -> PyTree:
        memory = super().start(form, parameters, rate)
        loss, flat, _ = flattened(form, parameters)
        return self.project(loss, flat, memory, rate)

    def step(
        self, form: Parameters, parameters: Any, state: PyTree, rate: Any, batch: Loss
    ) -> tuple[PyTree[Array], PyTree]:
        loss, flat, unravel = flattened(form, parameters)
        at, memory = state
        edge = self.look(loss, at, memory)
        u, slope, v = edge.vectors[:, 0], across(edge), flat - at
        x, y = u @ v, slope @ v
        free = at - rate * edge.gradient
        after, memory = self.project(loss, free, edge.memory, rate)
        v = v - rate * (product(loss, at, v) + u * x * y + 0.5 * x**2 * slope) + free - after
        return unravel(after + v), (after, memory)
