"""What a claim is, and what comes of judging one."""

import abc
import dataclasses
import json
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from ..sweeps import Sweep
from ..sweeps.run import Progress

PRESETS = ("quick", "paper", "large")


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a claim looks at to decide: one entry a trajectory, flattened.

    `slack` is by how much the trajectory beats the claim (negative: it is broken); `applies` says
    where the hypotheses of the proof are met, `vacuous` where the claim promises next to nothing,
    `failed` which trajectories did not get to their end. `allowance` is how much of a negative
    slack integration error can explain.
    """

    slack: np.ndarray
    applies: np.ndarray
    vacuous: np.ndarray
    failed: np.ndarray
    allowance: float
    measured: dict[str, Any]
    predicted: dict[str, Any]
    dataset: xr.Dataset


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of a claim: `holds` is True, False, or None where the evidence cannot tell."""

    id: str
    source: str
    provenance: str
    statement: str
    preset: str
    holds: bool | None
    expected: bool | None
    reason: str
    measured: dict[str, Any]
    predicted: dict[str, Any]
    uncertainty: float | None
    slack: float | None
    trajectories: int
    vacuous: int
    failed: int
    seconds: float
    mutant: dict[str, Any] | None = None
    control: dict[str, Any] | None = None

    @property
    def as_expected(self) -> bool:
        """Whether the claim came out as the catalogue says, by a sound check."""
        return self.holds is self.expected and self.sound

    @property
    def sound(self) -> bool:
        """Whether the check can fail and can pass: mutant False, control True."""
        mutant = self.mutant is None or self.mutant["holds"] is False
        control = self.control is None or self.control["holds"] is True
        return mutant and control

    def to_json(self) -> dict[str, Any]:
        """The verdict in plain values; a number that is not finite becomes null."""
        plain = json.loads(json.dumps(dataclasses.asdict(self), default=_plain))
        return _finite(plain)


class Claim(abc.ABC):
    """A statement of a paper, or of your own, with an experiment that can refute it.

    A claim joins a theory to a sweep. `setting` plans the experiment, `evaluate` runs it and
    gathers the evidence, `decide` turns the evidence into True, False or None with a reason.
    `mutant` is a deliberately false variant that the same check must find False, `control` a true
    one that it must find True: a check that cannot fail, or cannot pass, is a defect.
    """

    id: ClassVar[str]
    source: ClassVar[str]
    provenance: ClassVar[str]  # read, derived, second-hand or memory
    hypotheses: ClassVar[str]
    expected: ClassVar[bool | None] = True

    @property
    @abc.abstractmethod
    def statement(self) -> str:
        """The claim in symbols."""

    @abc.abstractmethod
    def setting(self, preset: str) -> Sweep:
        """The experiment: "quick" (seconds), "paper" (its own settings) or "large"."""

    @abc.abstractmethod
    def evaluate(self, sweep: Sweep, progress: Progress | None = None) -> Evidence:
        """Run the experiment and gather what `decide` needs."""

    @abc.abstractmethod
    def decide(self, evidence: Evidence) -> tuple[bool | None, str]:
        """`holds`, and the reason in one sentence."""

    @property
    @abc.abstractmethod
    def mutant(self) -> "Claim | None":
        """A false variant of the claim, at a setting that meets the hypotheses."""

    @property
    @abc.abstractmethod
    def control(self) -> "Claim | None":
        """A true variant of the claim, at a setting that meets the hypotheses."""


def _plain(value: Any) -> Any:
    if hasattr(value, "__array__"):  # of NumPy or of JAX, scalar or not
        return np.asarray(value).tolist()
    raise TypeError(f"{type(value).__name__} does not belong in a verdict.")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
