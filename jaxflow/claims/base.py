"""What a claim is, and what comes of judging one."""

import abc
import dataclasses
import json
from typing import Any

import numpy as np
import xarray as xr

from ..sweeps.run import Progress

PRESETS = ("quick", "paper", "large")


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a claim looks at to decide: one entry a trial (a trajectory, a network), flattened.

    `slack` is by how much the trial beats the claim (negative: it is broken); `applies` says where
    the hypotheses of the proof are met, `vacuous` where the claim promises next to nothing,
    `failed` which trials did not get to their end (default: all, none, none). `allowance` is how
    much of a negative slack errors of computation can explain. `interval` is that of a measured
    number that is to lie within `margin`.
    """

    slack: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    applies: Any = True
    vacuous: Any = False
    failed: Any = False
    allowance: float = 0.0
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)
    predicted: dict[str, Any] = dataclasses.field(default_factory=dict)
    dataset: xr.Dataset | None = None
    interval: tuple[float, float] | None = None
    margin: tuple[float, float] | None = None
    trials: str = "trajectories"

    def __post_init__(self):
        slack = np.asarray(self.slack, float).ravel()
        object.__setattr__(self, "slack", slack)
        for name in ("applies", "vacuous", "failed"):
            value = np.asarray(getattr(self, name), bool)
            value = value.ravel() if value.ndim else np.full(slack.shape, bool(value))
            object.__setattr__(self, name, value)


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
    hypotheses: str = ""
    trials: str = "trajectories"
    slacks: tuple[float, ...] = ()  # of all trials that count, sorted; evenly thinned to 256
    interval: tuple[float, float] | None = None
    margin: tuple[float, float] | None = None  # what a number is to lie between

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

    A claim joins a theory to an experiment, most often a `Sweep`. `setting` plans the experiment,
    `evaluate` runs it and gathers the evidence, `decide` turns the evidence into True, False or
    None with a reason. `mutant` is a deliberately false variant that the same check must find
    False, `control` a true one that it must find True: a check that cannot fail, or cannot pass,
    is a defect.
    """

    id: str
    source: str
    provenance: str  # read, derived, second-hand or memory
    hypotheses: str
    expected: bool | None = True  # False for what is printed and wrong, None for what is vacuous

    @property
    @abc.abstractmethod
    def statement(self) -> str:
        """The claim in symbols."""

    @abc.abstractmethod
    def setting(self, preset: str) -> Any:
        """The plan of a preset: "quick" (seconds), "paper" (its own settings) or "large"."""

    @abc.abstractmethod
    def evaluate(self, setting: Any, progress: Progress | None = None) -> Evidence:
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
