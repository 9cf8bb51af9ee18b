"""What an experiment says about a claim, and by which rule it is judged."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import binom

from ..dynamics.status import failed
from ..sweeps.power_law import exponent
from .resolution import Moves
from .rules import for_all, within

Numbers = dict[str, Any]  # by name
Rule = Callable[["Evidence"], tuple[bool | None, str]]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The evidence on a claim: one entry per trial (a trajectory, a network), flattened.

    **Attributes:**

    - `slack`: by how much a trial meets the claim, relative; negative where it breaks the claim.
    - `applies`, `vacuous`, `failed`: for which trials the hypotheses of the proof are met, the
      claim promises next to nothing, or the computation did not reach its end (by default, what
      the status in the dataset says).
    - `allowance`: how much of a negative slack errors of computation can explain.
    - `measured`, `predicted`: the numbers beside each other, by name.
    - `dataset`: the sweep that the evidence comes from, if there is one.
    - `interval`, `margin`: of a measured number, and where it is to lie.
    - `trials`: what a trial is, in the plural; `least`, how many are needed for a claim to hold: 8,
      or 1 where the statement is about these very objects; `count`, how many there are, by default
      as many as slacks, or as trajectories of the dataset.
    - `rule`: turns this evidence into True, False or None and the reason in one sentence.
    - `moves`, `value`, `moved`: a number of what is judged, its value, and the same evidence judged
      with another value, `moved(value) -> Evidence`: how fine the check is, if the statement of
      the claim has no number that says it (`Claim.moves`).
    """

    slack: Any = ()
    applies: Any = True
    vacuous: Any = False
    failed: Any = None
    allowance: float = 0.0
    measured: dict[str, Any] = dataclasses.field(default_factory=dict)
    predicted: dict[str, Any] = dataclasses.field(default_factory=dict)
    dataset: xr.Dataset | None = None
    interval: tuple[float, float] | None = None
    margin: tuple[float, float] | None = None
    trials: str = "trajectories"
    least: int = 8
    count: int | None = None
    rule: Rule = for_all
    moves: Moves | None = None
    value: float = 0.0
    moved: Callable[[float], "Evidence"] | None = None

    def __post_init__(self):
        slack, dataset = np.asarray(self.slack, float).ravel(), self.dataset
        object.__setattr__(self, "slack", slack)
        if self.failed is None:
            ended = False if dataset is None else failed(dataset["status"].values)
            object.__setattr__(self, "failed", ended)
        for name in ("applies", "vacuous", "failed"):
            value = np.asarray(getattr(self, name), bool)
            value = value.ravel() if value.ndim else np.full(slack.shape, bool(value))
            object.__setattr__(self, name, value)

    def decide(self) -> tuple[bool | None, str]:
        """Whether the claim holds, and the reason in one sentence."""
        holds, reason = self.rule(self)
        return None if holds is None else bool(holds), reason  # NumPy's True is not True

    @property
    def counts(self) -> np.ndarray:
        """The trials that meet the hypotheses, are not vacuous, and have a slack."""
        return self.applies & ~self.vacuous & ~np.isnan(self.slack)


def at_least(
    name: str, ratio: Any, factor: float = 1.0, *, measured: Numbers | None = None, **more: Any
) -> Evidence:
    """Evidence that every `ratio` is at least `factor`: the slack is `ratio / factor - 1`.

    `name` says what it is the ratio of, and `measured` are further numbers to report. Other
    arguments are fields of `Evidence`.
    """
    ratio = np.asarray(ratio, float)
    found = {f"{name}_min": float(ratio.min()), f"{name}_median": float(np.median(ratio))}
    return Evidence(
        ratio / factor - 1,
        measured={**found, **(measured or {})},
        predicted={name: f">= {factor:g}"},
        moves=Moves(name, "bound on " + name.replace("_", " ")),
        value=factor,
        moved=lambda value: at_least(name, ratio, value, **more),
        **more,
    )


def at_most(
    name: str, size: Any, tolerance: float, *, measured: Numbers | None = None, **more: Any
) -> Evidence:
    """Evidence that every `size` is zero, up to a tolerance: the slack is `1 - size / tolerance`.

    The tolerance has to cover the errors of computation. Other arguments as in `at_least`.
    """
    size = np.asarray(size, float)
    return Evidence(
        1 - size / tolerance,
        measured={f"{name}_max": float(size.max()), **(measured or {})},
        predicted={name: f"0 (to {tolerance:g})"},
        moves=Moves(name, name.replace("_", " "), by="size"),
        moved=lambda value: at_most(name, size + value, tolerance, **more),
        **more,
    )


def near(
    name: str,
    value: float,
    interval: tuple[float, float] | None,
    predicted: float,
    tolerance: float,
    *,
    measured: Numbers | None = None,
    **more: Any,
) -> Evidence:
    """Evidence that a number, measured to lie in `interval`, is `predicted +- tolerance`."""
    return Evidence(
        interval=interval,
        margin=(predicted - tolerance, predicted + tolerance),
        rule=within,
        measured={name: value, **(measured or {})},
        predicted={name: predicted},
        moves=Moves(name, name.replace("_", " "), by="difference"),
        value=predicted,
        moved=lambda moved: near(name, value, interval, moved, tolerance, **more),
        **more,
    )


def median_interval(values: Any, level: float = 0.99) -> tuple[float, float]:
    """The interval of a median between two order statistics, exact for any distribution."""
    ordered = np.sort(np.ravel(values))
    skip = max(int(binom.ppf(0.5 - level / 2, len(ordered), 0.5)), 1)
    return float(ordered[skip - 1]), float(ordered[-skip])


def power(
    name: str, x: Any, values: Any, predicted: float, tolerance: float, **more: Any
) -> Evidence:
    """Evidence that `values`, of shape (x, seeds), follow a power law in x of this exponent.

    The exponent and its interval are those of a regression on all seeds.
    """
    fit = exponent(x, values)
    value, interval = (np.nan, None) if fit is None else (fit.slope, (fit.low, fit.high))
    return near(name, value, interval, predicted, tolerance, **{"count": np.size(values), **more})
