"""Step-size control that is relative, block by block, to what the formulation says matters."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


class BlockController(diffrax.AbstractStepSizeController):
    r"""A PI controller for the error `max over blocks ||error_b||_F / (rtol size_b)`.

    Entry by entry, a relative tolerance means nothing where an entry crosses zero, and an absolute
    one puts a floor under whatever decays. Block by block neither happens. An error that is not
    finite rejects the step; a step below `dtmin` ends the solve instead of burning `max_steps`.
    """

    rtol: Float[Array, ""]
    dtmin: Float[Array, ""]
    sizes: Callable[[PyTree], PyTree]

    def _pid(self) -> diffrax.PIDController:
        # The error arrives already scaled: a scalar, to be held below 1.
        return diffrax.PIDController(
            rtol=0.0,
            atol=1.0,
            norm=lambda error: error,
            pcoeff=0.3,
            icoeff=0.4,
            dtmin=self.dtmin,
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
        return self._pid().init(terms, t0, t1, scalar, dt0, args, func, error_order)

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
        def ratio(size0: Array, size1: Array, error: Array) -> Array:
            size = jnp.maximum(size0, jnp.where(jnp.isfinite(size1), size1, size0))
            square = jnp.sum(error**2)
            return jnp.where(square > 0, square / jnp.where(size > 0, size, 1) ** 2, 0)

        squares = jax.tree.map(ratio, self.sizes(y0), self.sizes(y1_candidate), y_error)
        worst = jnp.max(jnp.stack(jax.tree.leaves(squares)))
        error = jnp.sqrt(worst) / self.rtol
        error = jnp.where(jnp.isfinite(error), error, jnp.inf)
        zero = jnp.zeros((), self.rtol.dtype)
        return self._pid().adapt_step_size(
            t0, t1, zero, zero, args, error, error_order, controller_state
        )
