"""What a trajectory comes back as."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .status import Result, explained, failed


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
    - `status`: how it ended, as an integer; `result` is the `Result` that it stands for. The solve
      never raises; `check()` does.
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
    status: Int[Array, ""]
    stats: dict[str, Array]
    call: str = eqx.field(static=True)  # what was called, for messages

    @property
    def result(self) -> Any:
        """How it ended: a `Result`, or, under `jit` and `vmap`, an array of their integers."""
        known = not isinstance(self.status, jax.core.Tracer) and jnp.ndim(self.status) == 0
        return Result(int(self.status)) if known else self.status

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
        codes = np.asarray(self.status)
        bad = codes[failed(codes)]
        if bad.size:
            most = explained(Result(np.bincount(bad).argmax()), self.call)
            many = "" if codes.ndim == 0 else f"{bad.size} of {codes.size} trajectories failed. "
            raise RuntimeError(many + most)
        return self
