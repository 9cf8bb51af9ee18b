"""Counterexamples that are proofs: both sides of an inequality enclosed by ball arithmetic."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import mpmath
import numpy as np
from flint import ctx

from ..machine.files import atomic_write
from . import check_certificate
from .charts import Chart, Size
from .check_certificate import OPERATIONS, number
from .inequality import Inequality
from .multiprecision import exactly

BITS = (128, 512)  # of the balls, tried in turn
DYADIC = 2**24  # a constant with a smaller denominator, a power of 2, is meant exactly
ROUNDINGS = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # bits of coordinates, tried in turn
SHARE = 0.5  # of the slack that has to be left of the violation after rounding coordinates


@dataclasses.dataclass(frozen=True)
class Certificate:
    """A proof that `smaller > larger` at a point, though `smaller <= larger` is claimed.

    **Attributes:** the `statement` that it refutes; the numbers at the point, exact fractions in
    `inputs`; the `steps` by which both sides follow from them, and their places in this list; and
    the `bits` of the balls that decide. `check()` does the steps again; `save` writes a JSON file,
    and beside it `check_certificate.py`, which checks it by python-flint alone.
    """

    statement: str
    inputs: dict[str, Any]
    steps: list[list[Any]]
    smaller: int
    larger: int
    bits: int

    def check(self) -> bool:
        """Whether the enclosures of the two sides are apart, the wrong way round."""
        bits = ctx.prec
        try:
            smaller, larger = check_certificate.sides(dataclasses.asdict(self))
        except ValueError:
            return False
        finally:
            ctx.prec = bits
        return bool(smaller > larger)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate, and the program that checks it to the same folder."""
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(dataclasses.asdict(self)) + "\n")
        source = Path(check_certificate.__file__)
        shutil.copyfile(source, Path(path).parent / source.name)


class Undecided(ArithmeticError):
    """A comparison that the enclosures leave open."""


class Ball:
    """An enclosure of a number, and the step by which it was found."""

    def __init__(self, steps: list[list[Any]], value: Any, *step: Any):
        self.steps, self.value, self.place = steps, value, len(steps)
        steps.append(list(step))

    def apply(self, name: str, *others: Any) -> "Ball":
        """The result of an operation, as a new step."""
        every = [self, *map(self.like, others)]
        value = OPERATIONS[name](*(ball.value for ball in every))
        return Ball(self.steps, value, name, *(ball.place for ball in every))

    def like(self, other: Any) -> "Ball":
        """Another number as a ball of the same calculation.

        A constant of a program, such as 4/3, is enclosed with the fraction that it was rounded
        from.
        """
        if isinstance(other, Ball):
            return other
        exact = Fraction(*mpmath.mpf(other).as_integer_ratio())
        off = Fraction(0) if exact.denominator <= DYADIC else abs(exact) / 2**52
        return constant(self.steps, exact, off)

    def eigenvalues(self, entries: list["Ball"]) -> list["Ball"]:
        """The eigenvalues of a symmetric matrix, ascending."""
        whole = entries[0].apply("eigenvalues", *entries[1:])
        return [Ball(self.steps, x, "entry", whole.place, i) for i, x in enumerate(whole.value)]

    def _below(self, other: Any) -> bool:
        other = self.like(other)
        if self.value < other.value:
            self.steps.append(["below", self.place, other.place])
            return True
        if self.value > other.value:
            self.steps.append(["below", other.place, self.place])
            return False
        raise Undecided("The enclosures of two numbers that are compared overlap.")

    def __lt__(self, other: Any) -> bool:
        return self._below(other)

    def __gt__(self, other: Any) -> bool:
        return not self._below(other)

    __le__, __ge__ = __lt__, __gt__  # what is decided is strict

    def __add__(self, other: Any) -> "Ball":
        return self.apply("add", other)

    def __sub__(self, other: Any) -> "Ball":
        return self.apply("sub", other)

    def __mul__(self, other: Any) -> "Ball":
        return self.apply("mul", other)

    def __truediv__(self, other: Any) -> "Ball":
        return self.apply("truediv", other)

    def __pow__(self, other: Any) -> "Ball":
        return self.apply("pow", other)

    def __radd__(self, other: Any) -> "Ball":
        return self.like(other) + self

    def __rsub__(self, other: Any) -> "Ball":
        return self.like(other) - self

    def __rmul__(self, other: Any) -> "Ball":
        return self.like(other) * self

    def __rtruediv__(self, other: Any) -> "Ball":
        return self.like(other) / self

    def __neg__(self) -> "Ball":
        return 0 - self

    def __abs__(self) -> "Ball":
        return self.apply("abs")


def constant(steps: list[list[Any]], exact: Fraction, off: Fraction = Fraction(0)) -> Ball:
    """A fraction as a ball."""
    texts = [str(exact)] if not off else [str(exact), str(off)]
    return Ball(steps, number(*texts), "number", *texts)


def prove(
    statement: str,
    smaller: Callable[..., Any],
    larger: Callable[..., Any],
    inputs: dict[str, Any],
    meets: Callable[..., Any] | None = None,
) -> Certificate | None:
    """A proof that `smaller(inputs) > larger(inputs)`; None if the enclosures do not show it.

    **Arguments:** the `statement` that this refutes; two functions of a dictionary of arrays,
    written in `jax.numpy`, that return scalars; the numbers, which count as exact; and the
    hypotheses `meets(inputs)`.
    """
    for bits in BITS:
        before, ctx.prec = ctx.prec, bits
        try:
            found = _enclosed(smaller, larger, inputs, meets)
        except Exception:  # too few bits, an eigenvalue not isolated, no rule for a function
            found = None
        finally:
            ctx.prec = before
        if found is not None:
            exact = {
                name: np.vectorize(lambda x: str(Fraction(float(x))), otypes=[object])(x).tolist()
                for name, x in inputs.items()
            }
            return Certificate(statement, exact, *found, bits)
    return None


def _enclosed(
    smaller: Callable[..., Any],
    larger: Callable[..., Any],
    inputs: dict[str, Any],
    meets: Callable[..., Any] | None,
) -> tuple[list[list[Any]], int, int] | None:
    steps: list[list[Any]] = []

    def balls(x: Any) -> np.ndarray:
        x = np.asarray(x, float)
        out = np.empty(x.shape, object)
        for index in np.ndindex(x.shape):
            out[index] = constant(steps, Fraction(float(x[index])))
        return out

    given = jax.tree.map(balls, inputs)
    if meets is not None and not bool(np.all(exactly(meets, given))):
        return None
    one = constant(steps, Fraction(0))
    a, b = (one.like(np.asarray(exactly(side, given)).item()) for side in (smaller, larger))
    return (steps, a.place, b.place) if a.value > b.value else None


def certify(
    inequality: Inequality, chart: Chart, size: Size, coordinates: dict[str, Any]
) -> Certificate | None:
    """A proof that a network breaks an inequality, near these coordinates; None if there is none.

    Coordinates are rounded to as few bits as leave half of the violation. Inequalities about
    trajectories (`t1`) are not proved: their flows are computed, not enclosed.
    """
    if inequality.t1 is not None:
        return None

    def side(name: str) -> Callable[..., Any]:
        factor = inequality.factor if name == "smaller" else 1.0
        return lambda c: factor * getattr(inequality, name)(*chart(c, size))

    @jax.jit
    def slack(c: Any) -> Any:
        return inequality.slack(*chart(c, size))

    coordinates = {name: np.asarray(x, float) for name, x in coordinates.items()}
    wanted = SHARE * float(slack(coordinates))
    if not wanted < 0:
        return None
    for bits in ROUNDINGS:
        near = {name: _of_bits(x, bits) for name, x in coordinates.items()}
        if not slack(near) <= wanted:
            continue
        found = prove(
            inequality.statement,
            side("smaller"),
            side("larger"),
            near,
            lambda c: inequality.meets(*chart(c, size)),
        )
        if found is not None:
            return found
    return None


def _of_bits(x: np.ndarray, bits: int) -> np.ndarray:
    """The nearest numbers with so many binary digits."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(mantissa * 2**bits), exponent - bits)
