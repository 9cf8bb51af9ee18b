"""The outcome of a claim, as a value and as JSON."""

import dataclasses
import json
from typing import Any

import numpy as np


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
    interval: tuple[float, float] | None = None  # of a measured number
    margin: tuple[float, float] | None = None  # where the number is to lie

    @property
    def as_expected(self) -> bool:
        """Whether the claim came out as the catalogue says, by a sound check."""
        return self.holds is self.expected and self.sound

    @property
    def sound(self) -> bool:
        """Whether the check can fail and can pass: the mutant is False, a control is True."""
        mutant = self.mutant is None or self.mutant["holds"] is False
        control = self.control is None or self.control["holds"] is True
        return mutant and control

    def to_json(self) -> dict[str, Any]:
        """The verdict in plain values; a number that is not finite becomes null."""
        return _finite(json.loads(json.dumps(dataclasses.asdict(self), default=_plain)))


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
