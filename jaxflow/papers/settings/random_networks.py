"""Claims that an inequality holds for all networks of a family, tried on random ones."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...claims import Claim, Evidence, Paper, once, presets
from ...falsify import Certificate
from ...falsify.certificate import certify
from ...falsify.charts import Chart, Size
from ...falsify.hunt import NOISE, Sides, exact_sides, second_opinion
from ...falsify.inequality import Inequality, relative_slack

DRAWS = presets(quick=2_000, paper=20_000, large=200_000)  # networks per size
BATCH = 2_000  # networks evaluated side by side
SUSPECTS = 8  # networks per size that are computed again in multiprecision


def inequality(
    paper: Paper,
    name: str,
    claimed: Inequality,
    chart: Chart,
    *,
    sizes: Sequence[Size] | None = None,
    tight: Sequence[Size],
    tight_chart: Chart | None = None,
    sound: Inequality | None = None,
    **fields: Any,
) -> Claim:
    """Add the claim that an inequality holds for every network of a chart to a paper.

    It is tried on random networks; `jf.falsify` hunts for what this misses. A violation counts
    only if it is one with 50 and with 80 digits, too. How fine the check is, is found where the
    inequality is attained.

    **Arguments:** the paper, the claim's name, the inequality and the chart of the family; the
    `sizes` to try, by default those of the chart; the sizes `tight` at which networks of
    `tight_chart` (by default the same chart) attain the inequality, or, if the claimed one is
    false, the `sound` one; and further fields of `Claim`.
    """
    sizes = sizes or chart.sizes()
    there = {
        "inequality": claimed if sound is None else sound,
        "chart": chart if tight_chart is None else tight_chart,
        "sizes": tight,
    }
    decorate = paper.claim(
        lambda inequality, factor, **_: _stronger(inequality, factor).statement,
        name=name,
        settings=DRAWS,
        each=[{"inequality": claimed, "chart": chart, "sizes": sizes}],
        moves="factor",
        attained=there,
        prove=functools.partial(
            proof, inequality=claimed, chart=chart, sizes=sizes or chart.sizes()
        ),
        **fields,
    )
    decorate(tried)
    return paper.claims[-1]


def tried(
    draws: int, inequality: Inequality, chart: Chart, sizes: Sequence[Size], factor: float = 1.0
) -> Evidence:
    """The evidence of so many random networks per size."""
    stronger = _stronger(inequality, factor)
    exact = functools.partial(_exact, inequality, chart)
    slacks, applies, unseen, confirmed = [], [], [], 0
    for i, size in enumerate(sizes):
        _, smaller, larger, meets = _sides(inequality, chart, size, i, draws)
        slack = relative_slack(np, stronger.factor * smaller, larger)
        meets = meets & np.isfinite(slack)
        order = np.argsort(np.where(meets, slack, np.inf))
        suspects = [j for j in order if meets[j] and slack[j] < -NOISE]
        again = [
            second_opinion(stronger, functools.partial(exact, size, i, draws, j))
            for j in suspects[:SUSPECTS]
        ]
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


def proof(
    draws: int, inequality: Inequality, chart: Chart, sizes: Sequence[Size]
) -> Certificate | None:
    """A proof that the inequality is false, near the worst of these random networks."""
    found = []
    for i, size in enumerate(sizes):
        drawn, smaller, larger, meets = _sides(inequality, chart, size, i, draws)
        slack = np.where(meets, relative_slack(np, smaller, larger), np.inf)
        worst = int(np.nanargmin(slack))
        found.append((slack[worst], size, jax.tree.map(lambda x, j=worst: x[j], drawn)))
    _, size, coordinates = min(found, key=lambda one: one[0])
    return certify(inequality, chart, size, coordinates)


def _stronger(inequality: Inequality, factor: float) -> Inequality:
    return inequality if factor == 1 else inequality.times(factor)


@once
def _sides(inequality: Inequality, chart: Chart, size: Size, number: int, count: int) -> Any:
    """Per network: coordinates, both sides without the factor, whether it meets the hypotheses."""
    base = dataclasses.replace(inequality, factor=1.0, statement="")
    keys = jr.split(jr.fold_in(jr.key(0), number), count)
    batches = jnp.split(keys, -(-count // BATCH))
    parts = [_tried(base, chart, size, batch) for batch in batches]
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


@once
def _exact(
    inequality: Inequality, chart: Chart, size: Size, number: int, count: int, j: int, digits: int
) -> Sides:
    """Both sides for network j in multiprecision, without the factor."""
    drawn, *_ = _sides(inequality, chart, size, number, count)
    return exact_sides(inequality, chart, size, jax.tree.map(lambda x: x[j], drawn), digits)


@eqx.filter_jit
def _tried(inequality: Inequality, chart: Chart, size: Size, keys: Any) -> Any:
    def one(key: Any) -> Any:
        drawn = chart.sample(key, size)
        network, data = chart(drawn, size)
        sides = inequality.smaller(network, data), inequality.larger(network, data)
        return drawn, *sides, inequality.meets(network, data)

    return jax.vmap(one)(keys)
