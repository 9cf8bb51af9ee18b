r"""An implicit solver for stiff flows of a squared loss, whose stages cost a few explicit ones.

Of the Jacobian of `W' = N(E) W`, `E' = -T(W) E` only the block -T is stiff, and formulations know
its inverse: everything else is solved by substitution. Within a step the residual is
`E(t0 + tau) = exp(log_size - q tau) G(tau)` with q the Rayleigh quotient of T where the step
begins, so that G' = -(T - q) G stands still where one mode is left, and steps grow with time.
"""

from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import gmres
from jaxtyping import Array, Float, PyTree

from ..formulations.residual import LogResidual, ResidualFormulation, ResidualState
from . import tableau
from .control import IMPLICIT_SHARE

# Share of what a step may err by that the equations of a stage are solved to.
NEWTON_SHARE = 5e-3
NEWTON_STEPS = 10
# At a kink the iteration may go back and forth between two sides of it: where these differ by less
# than this share of what a step may err by, either is as good.
KINK_SHARE = 0.3

ON, FOUND, LOST = range(3)

Moving = tuple[PyTree[Array], Array]  # (W, G), or a change of it


class DenseOutput(diffrax.AbstractLocalInterpolation):
    """The state within a step, of order 4."""

    t0: Any  # type: ignore[misc]
    t1: Any  # type: ignore[misc]
    y0: ResidualState
    k: Moving  # (stages, ...) each
    q: Any

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        h = self.t1 - self.t0
        share = (t0 - self.t0) / h
        powers = share ** jnp.arange(1, 6, dtype=h.dtype)
        weights = powers @ jnp.asarray(tableau.DENSE, h.dtype)
        start = self.y0.weights, self.y0.E.direction
        W, G = _add(start, h, _combine(weights, self.k))
        return ResidualState(W, LogResidual.of(G, self.y0.E.log_size - self.q * (t0 - self.t0)))


class Implicit(diffrax.AbstractAdaptiveSolver):
    r"""ESDIRK5(4)7L[2]SA2 with structured stages: for stiff flows under the squared loss.

    L-stable, stiffly accurate, of order 5. The equations of a stage, `W = W_0 + c N(E) W` and
    `(1 - c q) G + c T(W) G = G_0` with c = gamma h, are solved in turn: the second one by the
    inverse of `I + c (T - q)` at the beginning of the step, then the first one by substitution. No
    matrix of the size of the state is made. At a kink (ReLU) the iteration may go back and forth:
    it is accepted where that is by less than the tolerance, and the step is made shorter elsewhere.

    A mode of the residual that is slower than its mean may be too small to be seen, and becomes
    all that is left: so the error estimate contains that of the slowest mode of T, at full size.

    Derivatives are those of the solution of the stages, by the same inverse.

    **Source:** Kennedy and Carpenter, NASA/TM-2016-219173 (2016), for the method; the splitting of
    the stages is our own.
    """

    form: Any = None  # filled in by the flow
    tolerance: Any = None

    term_structure: ClassVar[Any] = diffrax.ODETerm
    interpolation_cls: ClassVar[Any] = DenseOutput

    def bind(self, form: Any, rtol: Array) -> "Implicit":
        """The solver for this formulation, to this tolerance."""
        if not isinstance(form, ResidualFormulation):
            raise ValueError(
                f"The implicit solver needs the residual as a state, which formulation "
                f"{form.name!r} does not have: use the squared loss and formulation='auto', or "
                "solver='explicit'."
            )
        return Implicit(form, IMPLICIT_SHARE * rtol)

    def order(self, terms: Any) -> int:
        return 5

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        return None

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: ResidualState,
        args: Any,
        solver_state: None,
        made_jump: Any,
    ) -> tuple[ResidualState, ResidualState, dict[str, Any], None, Any]:
        y1, error, dense = self._step(y0, t1 - t0)
        return y1, error, dense, None, diffrax.RESULTS.successful

    # Compiled as one, so that it is traced once: Diffrax asks for a step several times.
    @eqx.filter_jit
    def _step(
        self, y0: ResidualState, h: Array
    ) -> tuple[ResidualState, ResidualState, dict[str, Any]]:
        form, dtype = self.form, y0.E.direction.dtype
        c = tableau.GAMMA * h
        start = y0.weights, y0.E.direction
        velocity, decay = form.velocity_and_decay(*start)
        # Any q and any approximate inverse give the same solution: neither has a derivative.
        kernel, q = still(form).kernel(still(y0.weights)), still(y0.E.rate(decay))
        inverse = kernel.inverse(still(c), q)
        first = (
            jax.tree.map(lambda v: jnp.exp(y0.E.log_size) * v, velocity),
            q * y0.E.direction - decay,
        )
        k = jax.tree.map(lambda v: jnp.zeros((tableau.STAGES, *v.shape), dtype).at[0].set(v), first)
        z = h * (q - kernel.slowest)
        slow = jnp.zeros(tableau.STAGES, dtype).at[0].set(z)

        def advance(carry: Any, row: Any) -> Any:
            k, slow, good = carry
            i, a, expected, node = row
            known = _add(start, h, _combine(a, k))
            guess = _add(known, c, _combine(expected, k))
            size = jnp.exp(y0.E.log_size - q * node * h)
            stage = Stage(form, y0.weights, known, c, q, size, inverse)
            x, converged = stage.solved(guess, self.tolerance)
            k = jax.tree.map(lambda k, x, y: k.at[i].set((x - y) / c), k, x, known)
            slow = slow.at[i].set(z * (1 + a @ slow) / (1 - tableau.GAMMA * z))
            return (k, slow, good & (converged > 0)), None

        # What is known of a stage leaves out its own share.
        lower = tableau.A - np.diag(np.diag(tableau.A))
        rows = (
            jnp.arange(1, tableau.STAGES, dtype=jnp.int32),
            *(jnp.asarray(x[1:], dtype) for x in (lower, tableau.PREDICTOR, tableau.C)),
        )
        (k, slow, good), _ = jax.lax.scan(advance, (k, slow, jnp.asarray(True)), rows)
        W1, G1 = _add(start, h, _combine(jnp.asarray(tableau.B, dtype), k))
        y1 = ResidualState(W1, LogResidual.of(G1, y0.E.log_size - q * h))
        weights = jnp.asarray(tableau.B_ERROR, dtype)
        eW, eG = _combine(weights, k)
        end = 1 + jnp.asarray(tableau.B, dtype) @ slow
        unseen = jnp.where(good & (end > 0), (weights @ slow) / end, jnp.inf)
        error = ResidualState(
            jax.tree.map(lambda e: h * e, eW),
            LogResidual(still(unseen), h * eG / _length(G1)),
        )
        return y1, error, {"y0": y0, "k": k, "q": q}


class Stage:
    """The equations of one stage: `W = W_0 + c size N(G) W`, `G = G_0 - c (T(W) - q) G`."""

    def __init__(
        self,
        form: ResidualFormulation,
        weights: PyTree[Array],  # at the beginning of the step
        known: Moving,
        c: Array,
        q: Array,
        size: Array,
        inverse: Any,
    ):
        self.form, self.weights, self.known = form, weights, known
        self.c, self.q, self.size, self.inverse = c, q, size, inverse

    def solved(self, guess: Moving, tolerance: Array) -> tuple[Moving, Array]:
        """The solution, and whether it was found. It can be differentiated."""
        return jax.lax.custom_root(
            self.gap, guess, lambda _, x: self.iterate(x, tolerance), self.tangent, has_aux=True
        )

    def gap(self, x: Moving) -> Moving:
        """By how much the equations are missed."""
        (W, G), (W0, G0) = x, self.known
        velocity, decay = self.form.velocity_and_decay(W, G)
        return _add(_add(W, -1, W0), -self.c * self.size, velocity), self.rest(G, G0, decay)

    def rest(self, G: Array, G0: Array, decay: Array) -> Array:
        """By how much the stiff equation is missed."""
        return G - G0 + self.c * (decay - self.q * G)

    def iterate(self, x: Moving, tolerance: Array) -> tuple[Moving, Array]:
        """Simplified Newton in the residual, substitution in the weights."""
        W0, G0 = self.known
        scale, dtype = _length(self.weights), self.q.dtype
        floor = 100 * float(jnp.finfo(dtype).eps)
        target = jnp.maximum(NEWTON_SHARE * tolerance, floor)

        def improve(carry: Any) -> Any:
            (W, G), last, _, n = carry
            change = self.inverse(self.rest(G, G0, self.form.velocity_and_decay(W, G)[1]))
            G = G - change
            # With the new G at once: its stiff part is what these very weights ask for.
            new = _add(W0, self.c * self.size, self.form.velocity_and_decay(W, G)[0])
            # Relative to the weights at the beginning, or, if those are zero, to the new ones.
            size = jnp.maximum(scale, _length(new))
            moved = jnp.maximum(_length(change), _length(_add(new, -1, W)) / size)
            rate = moved / last
            left = jnp.where(rate < 1, moved * rate / (1 - rate), jnp.inf)
            around = (n == NEWTON_STEPS - 1) & (moved <= KINK_SHARE * tolerance)
            found = ((n > 0) & (left <= target)) | (moved <= floor) | around
            lost = ~jnp.isfinite(moved) | ((n > 0) & (rate > 2) & (moved > KINK_SHARE * tolerance))
            state = jnp.where(found, FOUND, jnp.where(lost, LOST, ON)).astype(n.dtype)
            return (new, G), moved, state, n + 1

        def going(carry: Any) -> Array:
            return (carry[2] == ON) & (carry[3] < NEWTON_STEPS)

        n = jnp.zeros((), jnp.int32)
        x, _, state, _ = jax.lax.while_loop(going, improve, (x, jnp.ones((), dtype), n + ON, n))
        # As a real number: what comes beside a root must have a tangent.
        return x, (state == FOUND).astype(dtype)

    def tangent(self, linear: Any, b: Moving) -> Moving:
        """The solution of the linearized equations: by Krylov steps on the same inverse."""

        def nearly(b: Moving) -> Moving:
            W, G = b
            G = self.inverse(G)
            velocity, _ = still(self.form).velocity_and_decay(still(self.weights), G)
            return _add(W, still(self.c * self.size), velocity), G

        def krylov(precondition: Any) -> Any:
            return lambda A, b: gmres(A, b, M=precondition, tol=1e-13, maxiter=5)[0]

        back = jax.linear_transpose(nearly, b)
        return jax.lax.custom_linear_solve(
            linear, b, solve=krylov(nearly), transpose_solve=krylov(lambda b: back(b)[0])
        )


def still(tree: Any) -> Any:
    """The same values without derivatives."""
    return jax.tree.map(lambda x: jax.lax.stop_gradient(x) if eqx.is_array(x) else x, tree)


def _length(tree: PyTree[Array]) -> Array:
    """Frobenius norm, never zero."""
    square = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 1e-300)


def _combine(weights: Float[Array, " stages"], k: PyTree[Array]) -> Any:
    return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, axes=1), k)


def _add(y: Any, h: Any, change: Any) -> Any:
    return jax.tree.map(lambda a, b: a + h * b, y, change)
