"""What a trajectory comes back as."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Result(eqx.Enumeration):
    """How a trajectory ended."""

    finished: Any = "The last requested time was reached."
    stopped: Any = "The stopping rule was met."
    max_steps_reached: Any = (
        "The maximum number of steps was reached first: raise max_steps, loosen rtol, or shorten "
        "the horizon; under the squared loss, solver='implicit' takes few steps on stiff data."
    )
    not_finite: Any = (
        "The trajectory stopped being finite, or needed steps below rounding: lower the learning "
        "rate, or check the initialization for overflow."
    )
    not_stopped: Any = (
        "The last requested time was reached before the stopping rule was met: extend ts or t1, "
        "or drop them."
    )

    diverged: Any = (
        "Descent diverged: lower the learning rate. The step at which the weights stopped being "
        "finite is stats['steps']."
    )


# The integer codes of sweeps are positions in this list; -1 stands for "not run".
RESULT_NAMES = ["finished", "stopped", "max_steps_reached", "not_finite", "not_stopped", "diverged"]
RESULTS = [getattr(Result, name) for name in RESULT_NAMES]


def result_code(result: Any) -> Array:
    """The integer code of a result, traced or not."""
    code = jnp.asarray(-1, jnp.int32)
    for i, item in enumerate(RESULTS):
        code = jnp.where(result == item, jnp.asarray(i, jnp.int32), code)
    return code


class Solution(eqx.Module):
    r"""One trajectory, of a flow or of a descent.

    A trajectory that ends early stays where it ended: every later entry of `ts` reads the time it
    ended at, and every value saved there the final one.

    **Attributes:**

    - `ts`: saved times, shape `(times,)`; flow time, or cumulative learning rate for descent.
    - `log_excess`: `log(L - L*)` at `ts`. `excess` and `loss` follow from it.
    - `optimal_loss`: L*, what the excess is counted from.
    - `t1`, `log_excess1`, `network`: the time at the end, `log(L - L*)` and the network there.
    - `product`: the end-to-end predictor at the end, from the residual where one is carried; None
      for networks that have none.
    - `measures`: what each measure made of the trajectory, by name.
    - `result`: how it ended, a `Result`. The solve never raises; `check()` does.
    - `stats`: `steps`, `accepted`, `rejected`, `initial_log_excess`, and `discrepancy`: how far the
      residual and the weights disagree at the end, relative to the targets; `implicit`: whether
      the implicit solver was used.
    """

    ts: Float[Array, " times"]
    log_excess: Float[Array, " times"]
    optimal_loss: Float[Array, ""]
    t1: Float[Array, ""]
    log_excess1: Float[Array, ""]
    network: Any
    product: Float[Array, "D m"] | None
    measures: dict[str, Any]
    result: Any
    stats: dict[str, Array]

    @property
    def excess(self) -> Float[Array, " times"]:
        """`L - L*` at `ts`."""
        return jnp.exp(self.log_excess)

    @property
    def loss(self) -> Float[Array, " times"]:
        """`L = L* + (L - L*)` at `ts`."""
        return self.optimal_loss + self.excess

    def check(self) -> "Solution":
        """Return the solution, or raise `RuntimeError` if any of its trajectories failed."""
        one: Any = result_code
        for _ in range(jnp.ndim(self.t1)):  # one axis for every vmap around the solve
            one = jax.vmap(one)
        codes = np.asarray(one(self.result))
        failed = codes[codes > 1]
        if failed.size:
            code = int(np.bincount(failed).argmax())
            messages: Any = Result
            many = "" if codes.ndim == 0 else f"{failed.size} of {codes.size} trajectories failed. "
            raise RuntimeError(many + messages[RESULTS[code]])
        return self
