r"""An implicit solver for stiff flows of any module under any loss, with cheap stages.

What is stiff about a flow lives in its predictions, and formulations know it: of the Jacobian of a
flow of many parameters only a block of samples times outputs is inverted, and everything else is
solved by substitution (`stages.py`). For flows of few parameters the whole Jacobian is.

Under the squared loss the residual is, within a step, `E(t0 + tau) = exp(log_size - q tau) G(tau)`
with q the Rayleigh quotient of the tangent kernel T where the step begins, so that
G' = -(T - q) G stands still where one mode is left, and steps grow with time.
"""

from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..formulations.residual import LogResidual, ResidualFormulation, ResidualState
from . import tableau
from .control import IMPLICIT_SHARE, RESIDUAL_SHARE
from .iteration import add
from .stages import combine, relative, stages


class DenseOutput(diffrax.AbstractLocalInterpolation):
    """The state within a step, of order 4."""

    t0: Any  # type: ignore[misc]
    t1: Any  # type: ignore[misc]
    y0: Any
    start: PyTree[Array]  # what moves within the step
    k: PyTree[Array]  # (stages, ...) each
    q: Any

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        h = self.t1 - self.t0
        share = (t0 - self.t0) / h
        powers = share ** jnp.arange(1, 6, dtype=h.dtype)
        weights = powers @ jnp.asarray(tableau.DENSE, h.dtype)
        moved = add(self.start, h, combine(weights, self.k))
        if self.q is None:
            return moved
        W, G = moved
        return ResidualState(W, LogResidual.of(G, self.y0.E.log_size - self.q * (t0 - self.t0)))


class Implicit(diffrax.AbstractAdaptiveSolver):
    r"""ESDIRK5(4)7L[2]SA2 with structured stages: for stiff flows.

    L-stable, stiffly accurate, of order 5. With J the Jacobian of the predictions of n samples in
    the parameters, and H the Hessian of the loss in the predictions, the Jacobian of the flow is
    `-J^T H J` and a part that vanishes with the gradient of the loss. A stage is solved in one of
    two systems:

    - n m equations, one for every sample and output, by simplified Newton steps with the inverse of
      `I + c H J J^T` at the beginning of the step; the weights follow by substitution. Where the
      part that is left out is as stiff as the rest, steps are as short as explicit ones;
    - P equations, one for every parameter, where these are fewer or at most 128, by Newton's method
      with the whole Jacobian. (Flows that carry their residual always take the first.)

    Derivatives are those of the solution of the stages, by the same inverse.

    **Source:** Kennedy and Carpenter, NASA/TM-2016-219173 (2016), for the method; the splitting of
    the stages is our own.
    """

    form: Any = None  # filled in by the flow
    tolerance: Any = None

    term_structure: ClassVar[Any] = diffrax.ODETerm
    interpolation_cls: ClassVar[Any] = DenseOutput

    def bind(self, form: Any, rtol: Array) -> "Implicit":
        """The solver for this formulation, to this tolerance; its own is what a step may err by."""
        residual = isinstance(form, ResidualFormulation)
        return Implicit(form, (RESIDUAL_SHARE if residual else IMPLICIT_SHARE) * rtol)

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
        y0: Any,
        args: Any,
        solver_state: None,
        made_jump: Any,
    ) -> tuple[Any, Any, dict[str, Any], None, Any]:
        y1, error, dense = self._step(y0, t1 - t0)
        return y1, error, dense, None, diffrax.RESULTS.successful

    # Compiled as one, so that it is traced once: Diffrax asks for a step several times.
    @eqx.filter_jit
    def _step(self, y0: Any, h: Array) -> tuple[Any, Any, dict[str, Any]]:
        at = stages(self.form, y0, h)
        dtype = h.dtype
        k = jax.tree.map(
            lambda v: jnp.zeros((tableau.STAGES, *v.shape), v.dtype).at[0].set(v), at.first
        )

        def advance(carry: Any, row: Any) -> Any:
            k, strain = carry
            i, a, expected, node = row
            known = add(at.start, h, combine(a, k))
            guess = add(known, at.c, combine(expected, k))
            x, here = at.solved(guess, known, node, self.tolerance)
            k = jax.tree.map(lambda k, x, y: k.at[i].set((x - y) / at.c), k, x, known)
            return (k, jnp.maximum(strain, here)), None

        rows = (
            jnp.arange(1, tableau.STAGES, dtype=jnp.int32),
            *(jnp.asarray(x[1:], dtype) for x in (tableau.LOWER, tableau.PREDICTOR, tableau.C)),
        )
        (k, strain), _ = jax.lax.scan(advance, (k, jnp.zeros((), dtype)), rows)
        y1, error = at.ended(k)
        # Where the stages are hard to solve, an error that asks for steps in which they are not.
        size = relative(error, self.form.error_scales(y0)) / self.tolerance
        factor = jnp.maximum(1, strain**5 / jnp.where(size > 0, size, 1))
        error = jax.tree.map(lambda e: factor * e, error)
        return y1, error, {"y0": y0, "start": at.start, "k": k, "q": at.q}
