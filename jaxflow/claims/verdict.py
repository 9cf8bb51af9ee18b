"""The outcome of a claim, as a value and as JSON."""

import dataclasses
from typing import Any

from ..machine.files import plain


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
    latex: str = ""  # the statement, typeset
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
        return plain(dataclasses.asdict(self))
