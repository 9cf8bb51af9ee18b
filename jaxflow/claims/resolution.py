"""How fine a check is: a number of the statement is moved until the same evidence refutes it."""

import dataclasses
import math
from collections.abc import Callable, Iterator

FINE = {"quick": 0.1, "paper": 0.02, "large": 0.005}  # error of a resolution, relative
WIDEST = {"factor": math.log(1e6), "difference": 10.0, "size": 1e6}
FIRST, LEAST = 0.05, 1e-14  # the distance that is tried first, and the least one
BEYOND = 0.05  # how far beyond the edge a near miss is, at most; never beyond twice the distance


@dataclasses.dataclass(frozen=True)
class Moves:
    """The number of a statement that is moved to see how fine its check is.

    **Attributes:** the `argument` of the claim; what it is, a `noun` such as "rate"; and whether it
    is moved `by` a "factor" or by a "difference"; the "size" of an error is moved from 0.
    """

    argument: str
    noun: str = "constant"
    by: str = "factor"

    def at(self, value: float, distance: float) -> float:
        """The number at a distance, the logarithm of the factor or the difference itself."""
        return value * math.exp(distance) if self.by == "factor" else value + distance


@dataclasses.dataclass(frozen=True)
class Resolution:
    """How far a number of a statement can be moved before the verdict is another.

    **Attributes:** what is moved, `noun`, from its `value` to the `edge`, where the verdict
    changes, `by` a factor or a difference; and `attained`, whether on an instance that attains the
    statement. A statement without a number, such as "is conserved", has the value 0, and the edge
    is the least error that the check would have noticed.
    """

    noun: str
    value: float
    edge: float
    by: str
    attained: bool = False

    @property
    def change(self) -> float:
        """`edge / value - 1`, or `edge - value`: its sign is the direction."""
        return self.edge / self.value - 1 if self.by == "factor" else self.edge - self.value

    @property
    def distance(self) -> float:
        """How far the edge is, the logarithm of a factor or a difference: what is fine is near."""
        return abs(math.log(self.edge / self.value) if self.by == "factor" else self.change)

    def words(self, holds: bool) -> str:
        """What it means, in a sentence without its full stop."""
        a = "an" if self.noun[0] in "aeio" else "a"
        would = "would have been refuted" if holds else "would not have been refuted"
        if self.attained:
            would += ", on an instance that attains it"
        return f"{a} {self.noun} {self._moved()} {would}"

    def _moved(self) -> str:
        change, up = abs(self.change), self.change > 0
        if self.by == "size":
            return f"of {change:.2g}" if up else f"smaller by {change:.2g}"
        if self.by == "difference":
            return f"{'larger' if up else 'smaller'} by {change:.2g}"
        if change < 1e-3:
            return f"{'larger' if up else 'smaller'} by {change:.1e} of itself"
        if change < 0.5:
            return f"{100 * change:.2g}% {'larger' if up else 'smaller'}"
        return f"{self.edge / self.value:.3g} times as large"


def edge(moves: Moves, value: float, changed: Callable[[float], bool], fine: float) -> float | None:
    """The value nearest to the statement's at which the verdict is another; None if there is none.

    `changed` says whether it is, at a value; `fine` is the relative error of the distance.
    """
    sides = (1.0, -1.0) if value or moves.by != "factor" else ()
    far = [_side(moves, value, changed, sign, fine) for sign in sides]
    found = [distance for distance in far if distance is not None]
    return moves.at(value, min(found, key=abs)) if found else None


def _side(
    moves: Moves, value: float, changed: Callable[[float], bool], sign: float, fine: float
) -> float | None:
    """The distance, with its sign, at which the verdict changes in this direction."""

    def there(distance: float) -> bool:
        return changed(moves.at(value, sign * distance))

    low, high = 0.0, FIRST
    if there(high):
        for smaller in _steps(FIRST, 0.1, LEAST):
            if not there(smaller):
                low = smaller
                break
            high = smaller
        else:
            return sign * high
    else:
        low = FIRST
        for high in _steps(FIRST, 4.0, WIDEST[moves.by]):
            if there(high):
                break
            low = high
        else:
            return None
    while high > (1 + fine) * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if there(middle) else (middle, high)
    return sign * high


def _steps(start: float, factor: float, last: float) -> Iterator[float]:
    step = start
    while (step < last) if factor > 1 else (step > last):
        step = min(step * factor, last) if factor > 1 else max(step * factor, last)
        yield step


def beyond(moves: Moves, value: float, edge: float) -> float:
    """A value a little beyond the edge, rounded away from the statement's value."""
    far = math.log(edge / value) if moves.by == "factor" else edge - value
    far += math.copysign(min(abs(far), BEYOND), far)
    if moves.by == "factor":
        return value * (1 + _rounded(math.expm1(far)))
    return value + _rounded(far)


def _rounded(distance: float) -> float:
    """Two digits, away from zero; a factor below 1 may not reach 0."""
    unit = 10.0 ** (math.floor(math.log10(abs(distance))) - 1)
    out = math.copysign(math.ceil(abs(distance) / unit - 1e-9) * unit, distance)
    return distance if out <= -1 and distance > -1 else out
