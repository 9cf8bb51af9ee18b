"""The outcome of a claim, as a value and as JSON."""

import dataclasses
from typing import Any

from ..falsify import Certificate
from ..machine.files import plain
from .resolution import Resolution

_PAIRS = ("slacks", "interval", "margin")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The outcome of a claim: `holds` is True, False, or None where the evidence cannot tell.

    `resolution` says how wrong the statement would have to be before this evidence told it, and
    `room` how much there is to spare without the instance that attains the statement.
    """

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
    resolution: Resolution | None = None
    room: Resolution | None = None
    mutant: dict[str, Any] | None = None
    control: dict[str, Any] | None = None
    hypotheses: str = ""
    latex: str = ""  # the statement, typeset
    trials: str = "trajectories"
    slacks: tuple[float, ...] = ()  # of all trials that count, sorted; evenly thinned to 256
    interval: tuple[float, float] | None = None  # of a measured number
    margin: tuple[float, float] | None = None  # where the number is to lie
    certificate: Certificate | None = None  # a proof that the statement is false

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

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Verdict":
        """The verdict that `to_json` gave; what it wrote as null is None."""
        fine = {
            name: Resolution(**{f.name: given[f.name] for f in dataclasses.fields(Resolution)})
            for name in ("resolution", "room")
            if (given := found[name]) is not None
        }
        pairs = {name: tuple(x) for name in _PAIRS if (x := found[name]) is not None}
        proof = found["certificate"] and Certificate(**found["certificate"])
        return cls(**{**found, **fine, **pairs, "certificate": proof})

    def to_json(self) -> dict[str, Any]:
        """The verdict in plain values; a number that is not finite becomes null."""
        found = dataclasses.asdict(self)
        for name in ("resolution", "room"):
            fine = getattr(self, name)
            if fine is not None:
                more = {"change": fine.change, "words": fine.words(self.holds is True)}
                found[name] = {**found[name], **more}
        return plain(found)
