"""How a trajectory ended: the one list of outcomes, of single solves and of sweeps."""

import dataclasses
import enum
import functools
import operator
from typing import Any


class Result(enum.IntEnum):
    """How a trajectory ended. Sweeps store these integers as `status`, and -1 for "not run"."""

    finished = 0, "The last requested time was reached."
    stopped = 1, "The stopping rule was met."
    max_steps_reached = 2, "The maximum number of steps was reached before the end."
    not_finite = 3, "The trajectory stopped being finite, or needed steps below rounding."
    not_stopped = 4, "The end was reached before the stopping rule was met."
    diverged = 5, "Descent diverged: the weights or the loss stopped being finite."
    stalled = 6, "The solver stalled: the flow slides along a kink of the network (relu, max, abs)."
    crowded = 7, "More eigenvalues reached the edge of stability than the flow follows."
    too_stiff = 8, "The stable flow needed more substeps in a step than it may make."

    message: str

    def __new__(cls, code: int, message: str = "") -> "Result":
        self = int.__new__(cls, code)
        self._value_, self.message = code, message
        return self


Result.__doc__ = f"{Result.__doc__}\n\n" + "\n".join(
    f"- {r.value}, `{r.name}`: {r.message}" for r in Result
)

NOT_RUN = -1


def failed(status: Any) -> Any:
    """Whether a trajectory was run and did not get to its end. On numbers or arrays of them."""
    return status > Result.stopped


def retryable(status: Any) -> Any:
    """Whether another solver, or a tighter tolerance, may bring a trajectory to its end."""
    again = Result.max_steps_reached, Result.not_finite, Result.stalled
    return functools.reduce(operator.or_, [status == code for code in again])


def flags() -> dict[str, Any]:
    """The attributes, by the CF conventions, that explain `status` in a dataset."""
    return {
        "flag_values": [NOT_RUN, *(r.value for r in Result)],
        "flag_meanings": " ".join(["not_run", *(r.name for r in Result)]),
    }


ROADS = (
    "round the kinks off, jf.smoothed(network, 1e-3), or, for one hidden layer under the squared "
    "loss, follow the exact flow by formulation='filippov'."
)


@dataclasses.dataclass(frozen=True)
class Call:
    """What a message has to know of the call that was made.

    **Attributes:** its `name`; the argument that set its `end`, "" if only the stop did; whether
    `loss` is squared; whether the network has `kinks`; and whether the stop is about a loss whose
    least value is only bounded from below (`bounded`).
    """

    name: str
    end: str = ""
    squared: bool = False
    kinks: bool = False
    bounded: bool = False


def explained(result: Result, call: Call, implicit: bool = False) -> str:
    """What happened and what to do about it, in a few sentences."""
    return " ".join([result.message, *_advice(result, call, implicit)])


def _advice(result: Result, call: Call, implicit: bool) -> list[str]:
    own = []
    if call.name in ("gradient_flow", "gradient_descent") and not call.squared:
        own = [
            "The loss must be a number, and not fall below its attribute `optimum`, by default 0."
        ]
    if result == Result.diverged:
        return [
            "Lower the learning rate; stats['steps'] is the step at which the weights stopped "
            "being finite.",
            *own,
        ]
    if result == Result.crowded:
        return ["Raise `unstable` of the flow."]
    if result == Result.too_stiff:
        return ["Raise `most` of the flow, or lower the learning rate."]
    said = own if result == Result.not_finite else []
    if result == Result.not_stopped:
        if call.end:
            more = " or drop it" if call.end in ("ts", "t1") else ""
            said.append(f"{call.end} ended first: extend it{more}.")
        else:
            said.append("The loss no longer falls.")
    if result == Result.max_steps_reached:
        shorter = f", or shorten {call.end}" if call.end else ""
        said.append(f"Raise max_steps or loosen rtol{shorter}.")
        if call.name.endswith("flow") and not (implicit or call.kinks):
            said.append("On stiff data solver='implicit' takes few steps.")
    if result == Result.not_finite:
        said.append("Check the initialization for overflow, or lower rtol.")
    if call.kinks and result in (Result.max_steps_reached, Result.not_finite):
        said.append(
            "The network has kinks (relu, max, abs), and where the flow slides along one no step "
            f"is short enough: {ROADS}"
        )
    if result == Result.stalled:
        said.append(f"No step is short enough there: {ROADS}")
    if call.bounded:
        said.append(
            "The stop counts from a lower bound of the least loss that this network may not reach: "
            "use until.gradient_norm or until.stagnation."
        )
    return said
