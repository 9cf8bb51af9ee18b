"""Claims that a formula is the flow: the closed form and the integrator, at the same times."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...claims import Evidence, Moves, Paper, at_most
from ...claims.claim import Settings

TOLERANCE = 1e-8  # relative; flows that are compared with a formula are integrated to 1e-11


def agreement(
    paper: Paper,
    statement: str,
    *,
    settings: Settings,
    tolerance: float = TOLERANCE,
    noun: str = "clock",
    moved: str = "at {:.12g} t",
    **fields: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate `errors(setting, time_factor) -> array`: the claim that a formula is the flow.

    The errors are relative, of the formula at the times `time_factor * t` against the flow at the
    times t; where the factor is on something else, `noun` and `moved` say on what. Further
    arguments are those of `Paper.claim`.
    """
    moves = Moves("time_factor", noun)

    def decorate(errors: Callable[..., Any]) -> Callable[..., Any]:
        def judge(setting: Any, time_factor: float = 1.0) -> Evidence:
            found = errors(setting, time_factor)
            return at_most("relative_error", found, tolerance, trials="comparisons")

        def said(time_factor: float) -> str:
            return statement if time_factor == 1 else f"{statement}, {moved.format(time_factor)}"

        name = fields.pop("name", errors.__name__)
        paper.claim(said, name=name, settings=settings, moves=moves, **fields)(judge)
        return errors

    return decorate


def relative(found: Any, expected: Any) -> np.ndarray:
    """Errors over the last two axes, relative to the size of what is expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    axes = tuple(range(-min(2, expected.ndim), 0))
    gap = np.sqrt(np.sum((found - expected) ** 2, axis=axes))
    return gap / np.maximum(np.sqrt(np.sum(expected**2, axis=axes)), 1e-300)
