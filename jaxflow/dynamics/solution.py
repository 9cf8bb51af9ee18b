"""What a trajectory comes back as, and the one place where it is put together."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from .._types import Network, State, Time
from ..networks.base import WrongNetwork
from .formulations import Formulation
from .formulations.base import all_finite, has_product, optimal_loss
from .measure import Measure
from .status import Call, Result, explained, failed
from .view import View


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
    network: Network
    product: Float[Array, "D m"] | None
    measures: dict[str, Any]
    status: Int[Array, ""]
    stats: dict[str, Array]
    call: Call = eqx.field(static=True)  # what was called, for messages

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
            implicit = bool(np.any(np.asarray(self.stats["implicit"])))
            most = explained(Result(int(np.bincount(bad).argmax())), self.call, implicit)
            many = "" if codes.ndim == 0 else f"{bad.size} of {codes.size} trajectories failed. "
            raise RuntimeError(many + most)
        return self

    def __repr__(self) -> str:
        result: Any = self.result if eqx.is_array(self.status) else None
        if not isinstance(result, Result):
            return f"Solution(trajectories of shape {jnp.shape(self.status)})"
        return (
            f"Solution({result.name} at t = {float(self.t1):.6g} after "
            f"{int(self.stats['steps'])} steps: log(L - L*) = {float(self.log_excess1):.6g}, "
            f"L* = {float(self.optimal_loss):.6g}; {len(self.ts)} saved times"
            + "".join(f", {name}" for name in self.measures)
            + ")"
        )


class Record:
    """Reads measures off one trajectory, and puts its `Solution` together at the end.

    Flow, descent and the loop of sweeps share it. It holds the trajectory's first moment.
    """

    def __init__(
        self,
        form: Formulation,
        network: Network,
        state: State,
        measures: Sequence[Measure],
        loss: Any,
        ruled: Any = None,
    ):
        self.form, self.network, self.measures, self.loss = form, network, measures, loss
        self.first = self.view(state, ruled)
        self.fixed = [_asked(m, m.start, self.first) for m in measures]

    def view(self, state: State, ruled: Any = None) -> View:
        """The trajectory at one moment; `ruled` is the rule of a descent and what it carries."""
        return View(self.form, state, self.network, self.loss, ruled)

    def read(self, t: Time, state: State, ruled: Any = None) -> tuple[Array, list[PyTree]]:
        """What is saved of one moment: `log(L - L*)`, and what each measure wants."""
        view = self.view(state, ruled)
        parts = zip(self.measures, self.fixed, strict=True)
        saved = [_asked(m, m.update, t, view, f) for m, f in parts]
        return view.log_excess, saved

    def solution(
        self,
        ts: Float[Array, " times"],
        saved: Any,
        t1: Float[Array, ""],
        state: State,
        *,
        call: Call,
        status: Array,
        steps: Array,
        accepted: Array,
        rejected: Array,
        beyond: Array | None = None,
        broken: Result = Result.not_finite,
        implicit: bool = False,
        ruled: Any = None,
    ) -> Solution:
        """The solution, from what `read` gave at `ts` and the state at the end, t1.

        `beyond` marks the saved times that were not reached: there the final values hold. `broken`
        is the status of a state that is not finite.
        """
        last = self.view(state, ruled)
        log_excess1, saved1 = self.read(t1, state, ruled)
        if beyond is not None:
            ts, saved = jax.tree.map(
                lambda v, end: jnp.where(beyond.reshape(-1, *[1] * end.ndim), end[None], v),
                (ts, saved),
                (t1, (log_excess1, saved1)),
            )
        log_excess, values = saved
        parts = zip(self.measures, values, self.fixed, strict=True)
        end = last.network
        return Solution(
            ts=ts,
            log_excess=log_excess,
            optimal_loss=optimal_loss(self.loss, self.form),
            t1=t1,
            log_excess1=log_excess1,
            network=end,
            product=last.product if has_product(end) else None,
            measures={m.name: _asked(m, m.finish, ts, v, last, fixed) for m, v, fixed in parts},
            status=jnp.where(all_finite(state) & (log_excess1 < jnp.inf), status, broken).astype(
                jnp.int8
            ),
            stats={
                "steps": steps,
                "accepted": accepted,
                "rejected": rejected,
                "initial_log_excess": self.first.log_excess,
                "discrepancy": last.discrepancy,
                "implicit": jnp.asarray(implicit),
            },
            call=call,
        )


def _asked(measure: Measure, part: Callable[..., Any], *args: Any) -> Any:
    """A part of a measure; the error about a network that does not have it names the measure."""
    try:
        return part(*args)
    except WrongNetwork as error:
        raise ValueError(f"{type(measure).__name__} {error.said}") from None


def summary(solution: Solution) -> dict[str, Array]:
    """What a sweep keeps of a trajectory."""
    return {
        "status": solution.status,
        "t_end": solution.t1,
        "log_excess_start": solution.stats["initial_log_excess"],
        "log_excess_end": solution.log_excess1,
        "steps": solution.stats["steps"].astype(jnp.int32),
        "discrepancy": solution.stats["discrepancy"],
        "implicit": solution.stats["implicit"].astype(jnp.int8),
        **solution.measures,
    }
