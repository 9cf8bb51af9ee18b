"""The equations of the stages of an implicit step, and how each kind of flow solves them.

A stage asks for `y = known + c y'`. What is stiff about a flow lives in the predictions: a matrix
of the size of the state is made only where the state is small.
"""

import abc
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.flatten_util
import jax.numpy as jnp
from jax.scipy.linalg import lu_factor, lu_solve
from jax.scipy.sparse.linalg import gmres
from jaxtyping import Array, Float, PyTree

from ...networks.base import entries
from ..formulations import Formulation
from ..formulations.base import norm
from ..formulations.dual import DualFormulation
from ..formulations.residual import LogResidual, ResidualFormulation, ResidualState
from . import tableau
from .iteration import LOST, add, iterate, still

SMALL = 128  # so many numbers are few, whatever the number of predictions

Moving: TypeAlias = Any  # what moves within a step, or a change of it: a tree of arrays


class Stages(abc.ABC):
    """The stages of one step of length h from y0.

    **Attributes:** what moves at the `start`, its derivative there, `first`; c, the step times the
    diagonal coefficient of the method; and `q`, the rate at which the frame of the step decays, or
    None where the state itself moves.
    """

    form: Any
    start: Any
    first: Any
    c: Any
    q: Any = None

    @abc.abstractmethod
    def gap(self, x: Moving, known: Moving, node: Array) -> Moving:
        """By how much x misses the equations of the stage at this share of the step."""

    @abc.abstractmethod
    def iterated(
        self, guess: Moving, known: Moving, node: Array, tolerance: Array
    ) -> tuple[Moving, Array]:
        """The solution by iteration from a guess, and its strain."""

    @abc.abstractmethod
    def nearly(self, b: Moving, node: Array) -> Moving:
        """About the solution of the equations, linearized at the start, with right side b."""

    @abc.abstractmethod
    def ended(self, k: Moving) -> tuple[Any, Any]:
        """The state after the step and the estimate of its error, from the derivatives k."""

    def solved(
        self, guess: Moving, known: Moving, node: Array, tolerance: Array
    ) -> tuple[Moving, Array]:
        """The solution, and its strain. It can be differentiated."""

        def solve(_: Any, x: Moving) -> tuple[Moving, Array]:
            return self.iterated(x, known, node, tolerance)

        def tangent(linear: Any, b: Moving) -> Moving:
            return _linear_solve(lambda b: self.nearly(b, node), linear, b)

        return jax.lax.custom_root(
            lambda x: self.gap(x, known, node), guess, solve, tangent, has_aux=True
        )


def stages(form: Formulation, y0: Any, h: Array) -> Stages:
    """The stages of a step of this flow, in the smaller of its systems of equations."""
    if isinstance(form, ResidualFormulation):
        return ResidualStages(form, y0, h)
    if isinstance(form, DualFormulation) and not few(form, y0):
        return DualStages(form, y0, h)
    return DenseStages(form, y0, h)


def few(form: Formulation, state: Any) -> bool:
    """Whether a state has so few numbers that its whole Jacobian is the smaller system."""
    return entries(state) <= max(form.data.Y.size, SMALL)


class ResidualStages(Stages):
    r"""`W = W_0 + c N(E) W`, `(1 - c q) G + c T(W) G = G_0`, of a flow that carries its residual.

    They are solved in turn: the second one by the inverse of `I + c (T - q)` at the beginning of
    the step, then the first one by substitution. At a kink (ReLU) the iteration may go back and
    forth: it is accepted where that is by less than the tolerance.

    A mode of the residual that is slower than its mean may be too small to be seen, and becomes
    all that is left: so the error estimate contains that of the slowest mode of T, at full size.
    """

    def __init__(self, form: ResidualFormulation, y0: ResidualState, h: Array):
        self.form, self.y0, self.h, self.c = form, y0, h, tableau.GAMMA * h
        self.start = y0.weights, y0.E.direction
        velocity, decay = form.velocity_and_decay(*self.start)
        # Any q and any approximate inverse give the same solution: neither has a derivative.
        kernel, self.q = still(form).kernel(still(y0.weights)), still(y0.E.rate(decay))
        self.inverse, self.slowest = kernel.inverse(still(self.c), self.q), kernel.slowest
        velocity = jax.tree.map(lambda v: jnp.exp(y0.E.log_size) * v, velocity)
        self.first = velocity, self.q * y0.E.direction - decay

    def size(self, node: Array) -> Array:
        return jnp.exp(self.y0.E.log_size - self.q * node * self.h)

    def gap(self, x: Moving, known: Moving, node: Array) -> Moving:
        (W, G), (W0, G0) = x, known
        velocity, decay = self.form.velocity_and_decay(W, G)
        moved = add(add(W, -1, W0), -self.c * self.size(node), velocity)
        return moved, self.rest(G, G0, decay)

    def rest(self, G: Array, G0: Array, decay: Array) -> Array:
        """By how much the stiff equation is missed."""
        return G - G0 + self.c * (decay - self.q * G)

    def iterated(
        self, guess: Moving, known: Moving, node: Array, tolerance: Array
    ) -> tuple[Moving, Array]:
        W0, G0 = known
        scale, size = length(self.y0.weights), self.size(node)

        def improve(x: Moving) -> tuple[Moving, Array]:
            W, G = x
            change = self.inverse(self.rest(G, G0, self.form.velocity_and_decay(W, G)[1]))
            G = G - change
            # With the new G at once: its stiff part is what these very weights ask for.
            new = add(W0, self.c * size, self.form.velocity_and_decay(W, G)[0])
            # Relative to the weights at the beginning, or, if those are zero, to the new ones.
            largest = jnp.maximum(scale, length(new))
            moved = jnp.maximum(length(change), length(add(new, -1, W)) / largest)
            return (new, G), moved

        return iterate(improve, guess, tolerance)

    def nearly(self, b: Moving, node: Array) -> Moving:
        W, G = b
        G = self.inverse(G)
        velocity, _ = still(self.form).velocity_and_decay(still(self.y0.weights), G)
        return add(W, still(self.c * self.size(node)), velocity), G

    def ended(self, k: Moving) -> tuple[ResidualState, ResidualState]:
        y0, h = self.y0, self.h
        W1, G1 = add(self.start, h, combine(tableau.B, k))
        eW, eG = combine(tableau.B_ERROR, k)
        return (
            ResidualState(W1, LogResidual.of(G1, y0.E.log_size - self.q * h)),
            ResidualState(
                jax.tree.map(lambda e: h * e, eW),
                LogResidual(still(self.unseen()), h * eG / length(G1)),
            ),
        )

    def unseen(self) -> Array:
        """The error of this step in the slowest mode of T, relative to that mode."""
        z = self.h * (self.q - self.slowest)

        def advance(slow: Array, row: Any) -> tuple[Array, None]:
            i, a = row
            return slow.at[i].set(z * (1 + a @ slow) / (1 - tableau.GAMMA * z)), None

        lower = jnp.asarray(tableau.LOWER[1:], z.dtype)
        first = jnp.zeros(tableau.STAGES, z.dtype).at[0].set(z)
        slow, _ = jax.lax.scan(advance, first, (jnp.arange(1, tableau.STAGES), lower))
        end = 1 + jnp.asarray(tableau.B, z.dtype) @ slow
        error = (jnp.asarray(tableau.B_ERROR, z.dtype) @ slow) / end
        return jnp.where(end > 0, error, jnp.inf)


class StateStages(Stages):
    """`y = known + c y'` for the state y itself."""

    def __init__(self, form: Formulation, y0: Any, h: Array):
        self.form, self.start, self.h, self.c = form, y0, h, tableau.GAMMA * h
        self.first = form.field(0.0, y0, None)

    def gap(self, x: Moving, known: Moving, node: Array) -> Moving:
        return add(add(x, -1, known), -self.c, self.form.field(0.0, x, None))

    def ended(self, k: Moving) -> tuple[Any, Any]:
        error = jax.tree.map(lambda e: self.h * e, combine(tableau.B_ERROR, k))
        return add(self.start, self.h, combine(tableau.B, k)), error


class DenseStages(StateStages):
    """The equations of a state of few numbers, by Newton's method with the whole Jacobian.

    All of the Hessian of the loss counts: so it holds at minima of positive loss, too, and where
    narrow valleys turn.
    """

    def inverse(self, at: Moving) -> Callable[[Moving], Moving]:
        """The inverse of the equations linearized at this state."""
        form, (flat, unravel) = still(self.form), jax.flatten_util.ravel_pytree(still(at))

        def field(flat: Array) -> Array:
            return jax.flatten_util.ravel_pytree(form.field(0.0, unravel(flat), None))[0]

        eye = jnp.eye(flat.size, dtype=flat.dtype)
        factors = lu_factor(eye - still(self.c) * jax.jacfwd(field)(flat))
        return lambda b: unravel(lu_solve(factors, jax.flatten_util.ravel_pytree(b)[0]))

    def iterated(
        self, guess: Moving, known: Moving, node: Array, tolerance: Array
    ) -> tuple[Moving, Array]:
        sizes = self.form.error_scales(self.start)

        def improve(x: Moving) -> tuple[Moving, Array]:
            change = self.inverse(x)(self.gap(x, known, node))
            return add(x, -1, change), relative(change, sizes)

        # A state may be far larger than what its errors are relative to: no iterate can be better
        # than its own rounding.
        rounding = 8 * float(jnp.finfo(tolerance.dtype).eps) * relative(self.start, sizes)
        x, strain = iterate(improve, guess, tolerance, rounding)
        return x, jnp.where(strain < LOST, 0, strain)  # its convergence is not linear

    def nearly(self, b: Moving, node: Array) -> Moving:
        return self.inverse(self.start)(b)


class DualStages(StateStages):
    """The equations of many parameters, solved for the multipliers of the samples.

    With `W' = J^T z(f)` a stage is `W = W_0 + c J(W)^T z`, `z = z(f(W))`: the second equation is
    solved by the inverse of `I + c S K` at the beginning of the step, the first by substitution.
    That leaves out the curvature of the network, which Anderson's mixing finds out.
    """

    def __init__(self, form: DualFormulation, y0: Any, h: Array):
        super().__init__(form, y0, h)
        S, K = still(form).system(still(form.weights_of(y0)))
        c = still(self.c)
        self.sensitivity = S
        self.factors = lu_factor(jnp.eye(len(K), dtype=K.dtype) + c * (S @ K))

    def inverse(self, z: Float[Array, "n m"]) -> Float[Array, "n m"]:
        return lu_solve(self.factors, z.reshape(-1)).reshape(z.shape)

    def felt(self, weights: PyTree[Array], change: PyTree[Array]) -> Float[Array, "n m"]:
        """`S J change`: minus what a change of the weights does to z."""
        _, moved = jax.jvp(self.form.predict, (weights,), (change,))
        return (self.sensitivity @ moved.reshape(-1)).reshape(moved.shape)

    def iterated(
        self, guess: Moving, known: Moving, node: Array, tolerance: Array
    ) -> tuple[Moving, Array]:
        form = self.form
        W0, W = form.weights_of(known), form.weights_of(guess)
        sizes = form.weights_of(form.error_scales(self.start))

        def improve(x: Any) -> tuple[Any, Array]:
            W, z = x
            found, pull = form.pulled(W)
            z = z - self.inverse(z - found)
            new = add(W0, self.c, pull(z))
            return (new, z), relative(add(new, -1, W), sizes)

        # The multipliers that the guess itself stands for.
        z = self.inverse(form.pulled(W)[0] + self.felt(W, add(W, -1, W0)))
        # The multipliers in units of what they move the weights by.
        moved = relative(jax.tree.map(lambda v: self.c * v, form.pulled(W)[1](z)), sizes)
        units = sizes, length(z) / jnp.where(moved > 0, moved, 1)
        (W, _), found = iterate(improve, (W, z), tolerance, units=units)
        return form.completed(known, self.c, W), found

    def nearly(self, b: Moving, node: Array) -> Moving:
        form, start, c = still(self.form), still(self.start), still(self.c)
        W0, W = form.weights_of(start), form.weights_of(b)
        _, pull = jax.vjp(form.predict, W0)
        W = add(W, -c, pull(self.inverse(self.felt(W0, W)))[0])

        def completed(known: Any, weights: Any) -> Any:
            return form.completed(known, c, weights)

        return jax.jvp(completed, (start, W0), (b, W))[1]


def _linear_solve(nearly: Callable[[Any], Any], linear: Any, b: Any) -> Any:
    """The solution of `linear(x) = b`: by Krylov steps on an approximate inverse."""

    def krylov(precondition: Any) -> Any:
        return lambda A, b: gmres(A, b, M=precondition, tol=1e-13, maxiter=5)[0]

    back = jax.linear_transpose(nearly, b)
    return jax.lax.custom_linear_solve(
        linear, b, solve=krylov(nearly), transpose_solve=krylov(lambda b: back(b)[0])
    )


def relative(change: Any, sizes: Any) -> Array:
    """The largest change of a leaf, relative to these sizes."""
    ratios = jax.tree.map(lambda v, size: norm(v) / jnp.where(size > 0, size, 1), change, sizes)
    return jnp.max(jnp.stack(jax.tree.leaves(ratios)))


def length(tree: PyTree[Array]) -> Array:
    """Frobenius norm, never zero."""
    square = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 1e-300)


def combine(weights: Any, k: PyTree[Array]) -> Any:
    """The sum of the stages of k with these weights."""
    return jax.tree.map(
        lambda leaf: jnp.tensordot(jnp.asarray(weights, leaf.dtype), leaf, axes=1), k
    )
