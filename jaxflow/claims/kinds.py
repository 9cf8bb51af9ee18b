"""Claims made of parts: an inequality on random networks, or an experiment as functions."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ..falsify.charts import Chart, Size
from ..falsify.hunt import NOISE, second_opinion
from ..falsify.inequality import Inequality, relative_slack
from ..sweeps.run import Progress
from .base import Claim, Evidence
from .decide import universal

Rule = Callable[[Evidence], tuple[bool | None, str]]
DRAWS = {"quick": 2_000, "paper": 20_000, "large": 200_000}  # networks a size
BATCH = 2_000  # of them, side by side
SUSPECTS = 8  # that are looked at again


class Made(Claim):
    """A claim from functions: `plan(preset)` makes a setting, `look(setting)` gathers evidence.

    `rule` decides (default: a bound on every trial). `mutant` and `control` are claims, or None
    for the variant of another one.
    """

    def __init__(
        self,
        id: str,
        statement: str,
        *,
        plan: Callable[[str], Any],
        look: Callable[[Any], Evidence],
        rule: Rule = universal,
        source: str = "",
        provenance: str = "read",
        hypotheses: str = "none",
        expected: bool | None = True,
        mutant: Claim | None = None,
        control: Claim | None = None,
    ):
        self.id, self.source, self.provenance = id, source, provenance
        self.hypotheses, self.expected = hypotheses, expected
        self._statement, self._plan, self._look, self._rule = statement, plan, look, rule
        self._mutant, self._control = mutant, control

    @property
    def statement(self) -> str:
        return self._statement

    def setting(self, preset: str) -> Any:
        return self._plan(preset)

    def evaluate(self, setting: Any, progress: Progress | None = None) -> Evidence:
        return self._look(setting)

    def decide(self, evidence: Evidence) -> tuple[bool | None, str]:
        return self._rule(evidence)

    @property
    def mutant(self) -> Claim | None:
        return self._mutant

    @property
    def control(self) -> Claim | None:
        return self._control


class Everywhere(Claim):
    """An inequality, tried on random networks of a chart; `jf.falsify` hunts for what this misses.

    A violation counts only if it is one with 50 and with 80 digits, too. `tight` is a chart on
    which the true inequality `sound` (default: the claimed one) is attained: there it is the
    control, and with its smaller side 1.05 times as large it is the mutant.
    """

    def __init__(
        self,
        id: str,
        inequality: Inequality,
        chart: Chart,
        *,
        source: str,
        hypotheses: str,
        provenance: str = "read",
        expected: bool | None = True,
        sizes: Sequence[Size] | None = None,
        sound: Inequality | None = None,
        tight: tuple[Chart, Sequence[Size]] | None = None,
    ):
        self.id, self.source, self.provenance = id, source, provenance
        self.hypotheses, self.expected = hypotheses, expected
        self.inequality, self.chart = inequality, chart
        self.sizes = list(chart.sizes() if sizes is None else sizes)
        self.sound, self.tight = inequality if sound is None else sound, tight

    @property
    def statement(self) -> str:
        return self.inequality.statement

    def setting(self, preset: str) -> int:
        return DRAWS[preset]

    def evaluate(self, setting: int, progress: Progress | None = None) -> Evidence:
        slacks, applies, unseen, confirmed = [], [], [], 0
        base = dataclasses.replace(self.inequality, factor=1.0, statement="")
        for i, size in enumerate(self.sizes):
            smaller, larger, meets = _sides(base, self.chart, size, i, setting)
            slack = relative_slack(np, self.inequality.factor * smaller, larger)
            meets = meets & np.isfinite(slack)
            order = np.argsort(np.where(meets, slack, np.inf))
            suspects = [j for j in order if meets[j] and slack[j] < -NOISE]
            again = [self._again(size, i, j, setting) for j in suspects[:SUSPECTS]]
            slack[suspects[:SUSPECTS]] = [0.0 if value is None else value for value in again]
            found = sum(value is not None for value in again)
            # Those that were not looked at again are no evidence if none that was is one.
            doubtful = np.zeros(setting, bool)
            doubtful[suspects[SUSPECTS:]] = not found
            confirmed += found
            slacks.append(slack)
            applies.append(meets)
            unseen.append(doubtful)
        return Evidence(
            slack=np.concatenate(slacks),
            applies=np.concatenate(applies),
            vacuous=np.concatenate(unseen),
            allowance=NOISE,
            measured={
                "slack_median": float(np.median(np.concatenate(slacks))),
                "confirmed_with_80_digits": confirmed,
                "sizes": len(self.sizes),
            },
            predicted={"slack": ">= 0"},
            trials="networks",
        )

    def _again(self, size: Size, number: int, which: int, count: int) -> float | None:
        c = self.chart.sample(_keys(number, count)[which], size)
        return second_opinion(self.inequality, self.chart, size, c)

    def decide(self, evidence: Evidence) -> tuple[bool | None, str]:
        return universal(evidence)

    def _attained(self, factor: float) -> "Everywhere | None":
        if self.tight is None:
            return None
        chart, sizes = self.tight
        inequality = self.sound if factor == 1 else self.sound.times(factor)
        return Everywhere(
            self.id,
            inequality,
            chart,
            source=self.source,
            hypotheses=self.hypotheses,
            provenance=self.provenance,
            sizes=sizes,
        )

    @functools.cached_property
    def mutant(self) -> "Everywhere | None":
        return self._attained(1.05)

    @functools.cached_property
    def control(self) -> "Everywhere | None":
        return self._attained(1.0)


def _keys(number: int, count: int) -> Any:
    return jr.split(jr.fold_in(jr.key(0), number), count)


@functools.cache
def _sides(inequality: Inequality, chart: Chart, size: Size, number: int, count: int) -> Any:
    """Both sides, and whether the hypotheses are met: mutants and controls look at the same."""
    batches = jnp.split(_keys(number, count), -(-count // BATCH))
    parts = [_tried(inequality, chart, size, batch) for batch in batches]
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


@eqx.filter_jit
def _tried(inequality: Inequality, chart: Chart, size: Size, keys: Any) -> Any:
    def one(key: Any) -> Any:
        network, data = chart(chart.sample(key, size), size)
        sides = inequality.smaller(network, data), inequality.larger(network, data)
        return *sides, inequality.meets(network, data)

    return jax.vmap(one)(keys)
