"""Step-size control that is relative, block by block, to what the formulation says matters."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, PyTree

# A step may err by this share of rtol: what accumulates, the drift of conserved quantities first,
# then stays below a tenth of rtol (measured).
STEP_SHARE = 0.2
# Of an implicit step the estimate is of order 4 and what is kept of order 5: it may be so many
# times rtol, and the error at the end is still below rtol (measured). Flows that carry a residual
# contract, and forget their errors; of others a step may err by rtol.
RESIDUAL_SHARE, IMPLICIT_SHARE = 7.0, 1.0
# The code that stands for it among Diffrax's own, where nothing else uses it.
STALLED = diffrax.RESULTS.max_steps_rejected


class BlockController(diffrax.AbstractAdaptiveStepSizeController):
    r"""A PI controller for the error `max over blocks ||error_b||_F / (rtol size_b)`.

    Entry by entry, a relative tolerance means nothing where an entry crosses zero, and an absolute
    one puts a floor under whatever decays. Block by block neither happens. An error that is not
    finite rejects the step; one below rounding of the time ends the solve instead of burning
    `max_steps`. (Not one below a share of the first time scale: a small start leaves it behind.)
    """

    rtol: Float[Array, ""]
    atol: Float[Array, ""]  # with `norm`: what an implicit solver's root finder is held to
    dtmin: Float[Array, ""]  # at time 0
    error_scales: Callable[[PyTree], PyTree]
    norm: Callable[[PyTree], Array]
    pcoeff: float
    icoeff: float
    # With `start(t, y)` and `after(accepted, t, y, state)`: ends a solve that gets nowhere.
    watch: Any = None

    def _pid(self, t: Any) -> diffrax.PIDController:
        least = self.dtmin + 4 * float(jnp.finfo(self.rtol.dtype).eps) * jnp.abs(t)
        # The error arrives already scaled: a scalar, to be held below 1.
        return diffrax.PIDController(
            rtol=0.0,
            atol=1.0,
            norm=lambda error: error,
            pcoeff=self.pcoeff,
            icoeff=self.icoeff,
            dtmin=least,
            force_dtmin=False,
        )

    def wrap(self, direction: Any) -> "BlockController":
        return self

    def init(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        dt0: Any,
        args: Any,
        func: Any,
        error_order: Any,
    ) -> tuple[Any, Any]:
        scalar = jnp.zeros((), self.rtol.dtype)
        t1, state = self._pid(t0).init(terms, t0, t1, scalar, dt0, args, func, error_order)
        return t1, (state, None if self.watch is None else self.watch.start(t0, y0))

    def moved(self, y0: PyTree, y1: PyTree) -> Float[Array, ""]:
        """The change between two states relative to their sizes, the largest over all blocks."""
        change = jax.tree.map(jnp.subtract, y1, y0)
        return self.rtol * self.scaled(self.error_scales(y0), self.error_scales(y1), change)

    def scaled(self, size0: PyTree, size1: PyTree, error: PyTree) -> Float[Array, ""]:
        """The error of a step in units of what is allowed, given the sizes before and after it."""

        def ratio(size0: Array, size1: Array, error: Array) -> Array:
            size = jnp.maximum(size0, jnp.where(jnp.isfinite(size1), size1, size0))
            square = jnp.sum(error**2)
            relative = square / jnp.where(size > 0, size, 1) ** 2
            return jnp.where(square == 0, 0, relative)  # and nan stays nan

        squares = jax.tree.map(ratio, size0, size1, error)
        worst = jnp.max(jnp.stack(jax.tree.leaves(squares)))
        scaled = jnp.sqrt(worst) / self.rtol
        return jnp.where(jnp.isfinite(scaled), scaled, jnp.inf)

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,
        error_order: Any,
        controller_state: Any,
    ) -> tuple[Any, Any, Any, Any, Any, Any]:
        scaled = self.scaled(self.error_scales(y0), self.error_scales(y1_candidate), y_error)
        t_start, zero, (state, window) = t0, jnp.zeros((), self.rtol.dtype), controller_state
        keep, t0, t1_next, jump, state, result = self._pid(t0).adapt_step_size(
            t0, t1, zero, zero, None, scaled, error_order, state
        )
        if self.watch is not None:
            window, stalled = self.watch.after(keep, t1 - t_start, t1, y1_candidate, window)
            result = diffrax.RESULTS.where(stalled, STALLED, result)
        return keep, t0, t1_next, jump, (state, window), result


def control(rtol: Array, scale: Array, error_scales: Callable[[PyTree], PyTree]) -> BlockController:
    """The controller of an explicit solve to this tolerance, whose fastest time scale is `scale`.

    Its proportional part keeps steps calm at the limit of stability.
    """
    return _controller(STEP_SHARE * rtol, scale, error_scales, pcoeff=0.3, icoeff=0.4)


def implicit_control(
    rtol: Array, scale: Array, error_scales: Callable[[PyTree], PyTree]
) -> BlockController:
    """As `control`, where no stability limits a step: it follows its error alone.

    `rtol` is what a step may err by.
    """
    return _controller(rtol, scale, error_scales, pcoeff=0.0, icoeff=1.0)


def _controller(
    allowed: Array, scale: Array, error_scales: Callable[[PyTree], PyTree], **coefficients: float
) -> BlockController:
    return BlockController(
        rtol=allowed,
        atol=allowed,
        dtmin=jnp.maximum(1e-30 * scale, float(jnp.finfo(scale.dtype).tiny)),
        error_scales=error_scales,
        norm=optx.max_norm,
        **coefficients,
    )
