"""Claims that a formula is the flow: the closed form and the integrator, at the same times."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .base import Evidence
from .gather import at_most
from .kinds import Made

TOLERANCE = 1e-8  # relative; the flows that are compared are integrated to 1e-11
WRONG = 1.001  # by how much the mutant's clock is fast


def agreement(
    id: str,
    statement: str,
    errors: Callable[[str, float, int], Any],
    *,
    tolerance: float = TOLERANCE,
    **about: Any,
) -> Made:
    """The claim that a closed form agrees with the flow.

    `errors(preset, clock, seed)` gives relative errors, any shape, of the formula at the times
    `clock * t` against the flow at t. The mutant's clock is 0.1% fast, the control has another
    seed.
    """

    def made(clock: float, seed: int, **variants: Any) -> Made:
        def look(preset: str) -> Evidence:
            found = errors(preset, clock, seed)
            return at_most("relative_error", found, tolerance, trials="comparisons")

        said = statement if clock == 1 else f"{statement}, at {clock:g} t"
        return Made(id, said, plan=lambda preset: preset, look=look, **about, **variants)

    return made(1.0, 0, mutant=made(WRONG, 0), control=made(1.0, 1))


def relative(found: Any, expected: Any) -> np.ndarray:
    """Errors over the last two axes, relative to the size of what is expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    axes = tuple(range(-min(2, expected.ndim), 0))
    gap = np.sqrt(np.sum((found - expected) ** 2, axis=axes))
    return gap / np.maximum(np.sqrt(np.sum(expected**2, axis=axes)), 1e-300)
