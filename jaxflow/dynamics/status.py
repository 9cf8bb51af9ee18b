"""How a trajectory ended: the one list of outcomes, of single solves and of sweeps."""

import enum
from typing import Any


class Result(enum.IntEnum):
    """How a trajectory ended. Sweeps store these integers as `status`, and -1 for "not run"."""

    finished = 0, "The last requested time was reached."
    stopped = 1, "The stopping rule was met."
    max_steps_reached = 2, "The maximum number of steps was reached before the end."
    not_finite = 3, "The trajectory stopped being finite, or needed steps below rounding."
    not_stopped = 4, "The last requested time was reached before the stopping rule was met."
    diverged = 5, "Descent diverged: the weights stopped being finite."

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
    return (status == Result.max_steps_reached) | (status == Result.not_finite)


def flags() -> dict[str, Any]:
    """The attributes, by the CF conventions, that explain `status` in a dataset."""
    return {
        "flag_values": [NOT_RUN, *(r.value for r in Result)],
        "flag_meanings": " ".join(["not_run", *(r.name for r in Result)]),
    }


# What to do about an outcome, in the words of the call that was made.
_ADVICE = {
    "gradient_flow": {
        Result.max_steps_reached: "Raise max_steps, loosen rtol, or shorten the horizon; under the "
        "squared loss, solver='implicit' takes few steps on stiff data.",
        Result.not_finite: "Check the initialization for overflow, or lower rtol.",
        Result.not_stopped: "Extend ts or t1, or drop them.",
    },
    "gradient_descent": {
        Result.not_stopped: "`steps` ran out: raise steps.",
        Result.diverged: "Lower the learning rate; stats['steps'] is the step at which the weights "
        "stopped being finite.",
    },
    "log_loss_flow": {
        Result.max_steps_reached: "Raise max_steps, loosen rtol, or end at a smaller s.",
        Result.not_finite: "Check the initialization for overflow, or lower rtol.",
        Result.not_stopped: "Extend s.",
    },
}


def explained(result: Result, call: str) -> str:
    """What happened and what to do about it, in a sentence or two."""
    return " ".join([result.message, *filter(None, [_ADVICE[call].get(result)])])
