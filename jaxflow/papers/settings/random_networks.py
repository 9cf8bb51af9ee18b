"""Claims that an inequality holds for all networks of a family, tried on random ones."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...claims import Evidence, Paper, once, presets
from ...falsify.charts import Chart, Size
from ...falsify.hunt import NOISE, second_opinion
from ...falsify.inequality import Inequality, relative_slack

DRAWS = presets(quick=2_000, paper=20_000, large=200_000)  # networks per size
BATCH = 2_000  # networks evaluated side by side
SUSPECTS = 8  # networks per size that are computed again in multiprecision
STRONGER = 1.05  # the factor on the smaller side that the mutant has


def inequality(
    paper: Paper,
    name: str,
    claimed: Inequality,
    chart: Chart,
    *,
    sizes: Sequence[Size] | None = None,
    sound: Inequality | None = None,
    tight: tuple[Chart, Sequence[Size]] | None = None,
    **fields: Any,
) -> None:
    """Add the claim that an inequality holds for every network of a chart to a paper.

    It is tried on random networks; `jf.falsify` hunts for what this misses. A violation counts
    only if it is one with 50 and with 80 digits, too.

    **Arguments:** the paper, the claim's name, the inequality and the chart of the family; the
    `sizes` to try, by default those of the chart; `tight`, a chart and sizes on which the true
    inequality `sound` (by default the claimed one) is attained: there it is the control, and with
    its smaller side 1.05 times as large it is the mutant; and further fields of `Claim`.
    """
    true = claimed if sound is None else sound
    there = None if tight is None else {"inequality": true, "chart": tight[0], "sizes": tight[1]}
    claimed_of = {
        "inequality": claimed,
        "chart": chart,
        "sizes": chart.sizes() if sizes is None else sizes,
    }
    decorate = paper.claim(
        lambda inequality, factor, **_: _stronger(inequality, factor).statement,
        name=name,
        settings=DRAWS,
        each=[claimed_of],
        mutant=None if there is None else {**there, "factor": STRONGER},
        control=there,
        **fields,
    )
    decorate(tried)


def tried(
    draws: int, inequality: Inequality, chart: Chart, sizes: Sequence[Size], factor: float = 1.0
) -> Evidence:
    """The evidence of so many random networks per size."""
    stronger = _stronger(inequality, factor)
    slacks, applies, unseen, confirmed = [], [], [], 0
    for i, size in enumerate(sizes):
        smaller, larger, meets = _sides(inequality, chart, size, i, draws)
        slack = relative_slack(np, stronger.factor * smaller, larger)
        meets = meets & np.isfinite(slack)
        order = np.argsort(np.where(meets, slack, np.inf))
        suspects = [j for j in order if meets[j] and slack[j] < -NOISE]
        keys, again = _keys(i, draws), []
        for j in suspects[:SUSPECTS]:
            again.append(second_opinion(stronger, chart, size, chart.sample(keys[j], size)))
        slack[suspects[:SUSPECTS]] = [0.0 if value is None else value for value in again]
        found = sum(value is not None for value in again)
        # Suspects that were not computed again are no evidence if no other was a violation.
        doubtful = np.zeros(draws, bool)
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
            "sizes": len(sizes),
        },
        predicted={"slack": ">= 0"},
        trials="networks",
    )


def _stronger(inequality: Inequality, factor: float) -> Inequality:
    return inequality if factor == 1 else inequality.times(factor)


def _keys(number: int, count: int) -> Any:
    return jr.split(jr.fold_in(jr.key(0), number), count)


@once
def _sides(inequality: Inequality, chart: Chart, size: Size, number: int, count: int) -> Any:
    """Both sides of the inequality without its factor, and whether the hypotheses are met."""
    base = dataclasses.replace(inequality, factor=1.0, statement="")
    batches = jnp.split(_keys(number, count), -(-count // BATCH))
    parts = [_tried(base, chart, size, batch) for batch in batches]
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


@eqx.filter_jit
def _tried(inequality: Inequality, chart: Chart, size: Size, keys: Any) -> Any:
    def one(key: Any) -> Any:
        network, data = chart(chart.sample(key, size), size)
        sides = inequality.smaller(network, data), inequality.larger(network, data)
        return *sides, inequality.meets(network, data)

    return jax.vmap(one)(keys)
