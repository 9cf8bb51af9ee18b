"""The search for a counterexample: random restarts, ascent on the violation, and a check."""

import dataclasses
import functools
import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import mpmath
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from .._types import Network
from ..data import Regression
from ..dynamics import Measure, gradient_flow
from ..machine.arguments import instance, integer, positive
from ..machine.compiling import jit
from ..machine.files import atomic_write
from ..machine.keys import Key, as_key
from .certificate import Certificate, certify
from .charts import Chart, Free, Size
from .exact_flow import exact_flow
from .inequality import Inequality
from .multiprecision import exactly

RESTARTS, CLIMBERS, CLIMB = 8192, 16, 50  # per round: random networks, ascents, steps of each
FLOWS, FLOW_CLIMB, TIMES = 128, 6, 64  # for trajectories: networks, steps, times along each
PACE = 0.03  # size of an ascent step, relative to the coordinates
NOISE, FLOW_NOISE = 1e-11, 1e-6  # a negative slack nearer to 0 is taken for rounding
LEAST = 1e-9  # least violation of a counterexample, since constants of a formula are doubles
OPINIONS = 4  # candidates per round that are computed again in multiprecision
DEEPEST = 1e-10  # of the initial excess loss; below, it is rounding of the weights


@dataclasses.dataclass(frozen=True, repr=False)
class Falsification:
    """The result of a search for a counterexample.

    **Attributes:** the `statement` and the name of the `chart`; `violated`, whether a
    counterexample was confirmed in multiprecision; `slack`, the least found in double precision,
    and `exact_slack`, the same in multiprecision (None if no violation was suspected); the instance
    where it was found: `network` (at time 0), `data`, its `size`, the time `t` if the inequality is
    about trajectories, and the `sides` (smaller, larger) there; `evaluations`, the number of slacks
    computed within the hypotheses; `unconfirmed`, the number of suspected violations that
    multiprecision did not confirm; the number of `sizes` searched; the `seconds` that it took; and
    the `certificate`, a proof by ball arithmetic at a point nearby, if there is one: it is saved by
    `certificate.save(path)` and checked without jaxflow.
    """

    statement: str
    chart: str
    violated: bool
    slack: float
    exact_slack: float | None
    network: Network
    data: Regression
    t: float | None
    sides: tuple[float, float]
    size: Size
    evaluations: int
    unconfirmed: int
    sizes: int
    seconds: float
    certificate: Certificate | None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write X, Y, the arrays of the network and t as `.npz`, for `load(path, center=False)`."""
        values: dict[str, Any] = self._arrays()
        if self.t is not None:
            values["t"] = self.t
        values["slack"] = self.slack if self.exact_slack is None else self.exact_slack
        with atomic_write(path) as partial, open(partial, "wb") as file:
            arrays: dict[str, Any] = {name: np.asarray(value) for name, value in values.items()}
            np.savez(file, **arrays)

    def _arrays(self) -> dict[str, Any]:
        """X, Y and the arrays of the network, by name."""
        values: dict[str, Any] = {"X": self.data.X, "Y": self.data.Y}
        for where, leaf in jax.tree_util.tree_leaves_with_path(self.network):
            values[jax.tree_util.keystr(where, simple=True, separator=".")] = leaf
        return values

    def __repr__(self) -> str:
        lines = [self.statement, f"over the chart {self.chart!r}: {self}"]
        at = "" if self.t is None else f"t = {self.t:.10g}, "
        lines.append(f"{at}smaller side {self.sides[0]:.10g}, larger side {self.sides[1]:.10g}")
        for name, array in self._arrays().items():
            start = f"{name} = "
            printed = np.array2string(np.asarray(array), precision=6, threshold=100)
            lines.append(start + printed.replace("\n", "\n" + " " * len(start)))
        return "\n".join(lines)

    def __str__(self) -> str:
        r, m, h, L, _ = self.size
        where = f"r = {r}, m = {m}, h = {h}" + (f", L = {L}" if L > 2 else "")
        hunt = f"{self.evaluations:,} evaluations, {self.sizes} sizes, {self.seconds:.0f} s"
        if self.violated:
            proved = ", proved by ball arithmetic nearby" if self.certificate else ""
            return f"FALSE{proved}: slack {self.exact_slack:.3g} at {where} ({hunt})"
        rest = f"; {self.unconfirmed} suspicions unconfirmed" if self.unconfirmed else ""
        return f"no violation; tightest slack {self.slack:.3g} at {where} ({hunt}{rest})"


def falsify(
    inequality: Inequality,
    chart: Chart | None = None,
    *,
    sizes: Sequence[Size] | None = None,
    seconds: float = 60.0,
    evaluations: int | None = None,
    key: Key | None = None,
    stop: bool = True,
) -> Falsification:
    """Search for networks and data that violate an inequality.

    The sizes are visited in turn, small ones first, again and again. At each, many random networks
    are drawn, and Adam ascends the violation from the worst of them; if the inequality has a `t1`,
    through the flow itself (down to 1e-10 of the initial excess loss). A suspected violation is
    computed again from its coordinates with 50 and with 80 digits (trajectories are integrated anew
    by extrapolation, with 30 and with 45 digits). Only if the two agree is it a counterexample.
    Networks outside the hypotheses, which are the chart and `inequality.applies`, never count.

    **Arguments:**

    - `inequality`: an `Inequality`.
    - `chart`: the hypotheses as a family of networks; default `charts.Free()`, all of them.
    - `sizes`: the dimensions to search; default `chart.sizes()`.
    - `seconds`, compiling included, and `evaluations`: the search ends when either is spent, after
      the round that runs. The first round compiles for some seconds, whatever `seconds` says; no
      size is begun that there is no time to compile for.
    - `key`: the random key of the networks, or an integer seed.
    - `stop`: whether to stop at the first counterexample; else the worst one is returned.

    **Returns:** a `Falsification`.

    **Raises:** `ValueError` without double precision, or without sizes.
    """
    if not jax.config.read("jax_enable_x64"):
        raise ValueError("falsify needs double precision: set jax_enable_x64 first.")
    chart = Free() if chart is None else chart
    instance("inequality", inequality, Inequality, "a jf.Inequality")
    instance("chart", chart, Chart, "one of jf.charts, such as jf.charts.Free()")
    positive("seconds", seconds)
    evaluations = None if evaluations is None else integer("evaluations", evaluations)
    what = "a list of jf.charts.Size"
    where = list(instance("sizes", chart.sizes() if sizes is None else sizes, Sequence, what))
    for size in where:
        instance("sizes", size, Size, what)
    if not where:
        raise ValueError("There are no sizes to search.")
    key = as_key(0 if key is None else key)
    noise = NOISE if inequality.t1 is None else FLOW_NOISE
    start, done, unconfirmed = time.perf_counter(), 0, 0
    visited: set[Size] = set()
    best: tuple[bool, float, Any] | None = None

    # The programs are freed when the call returns: each has about 430 memory maps, and a process
    # may have 65,530.
    hunts = {size: jit(functools.partial(_hunt, inequality, chart, size)) for size in where}

    def spent() -> bool:
        late = time.perf_counter() - start > seconds
        return late or (evaluations is not None and done >= evaluations)

    slowest = 0.0  # seconds of a first round, which compiles
    for number in itertools.count():
        size, begun = where[number % len(where)], time.perf_counter()
        if visited and size not in visited and begun - start + slowest > seconds:
            size = sorted(visited)[number % len(visited)]  # there is no time to compile another
        # Optax needs implicit promotion of types, and a user's inequality may.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            found = hunts[size](jr.fold_in(key, number))
        done += int(found.count)
        if size not in visited:
            slowest = max(slowest, time.perf_counter() - begun)
            visited.add(size)
        for i in np.argsort(found.slack)[:OPINIONS]:
            slack, t = float(found.slack[i]), float(found.t[i])
            if not np.isfinite(slack):
                break
            c = jax.tree.map(lambda x, i=i: np.asarray(x[i]), found.coordinates)
            exact = None
            if slack < -noise:
                there = functools.partial(exact_sides, inequality, chart, size, c, t=t)
                exact = second_opinion(inequality, there)
                unconfirmed += exact is None
            confirmed = exact is not None
            # A suspected violation that is not confirmed counts as equality.
            value = exact if exact is not None else slack if slack >= -noise else 0.0
            if best is None or (not confirmed, value) < (not best[0], best[1]):
                best = confirmed, value, (slack, exact, size, c, t)
            if slack >= -noise or confirmed:
                break
        if (best is not None and best[0] and stop) or spent():
            break
    if best is None:
        raise ValueError(
            "No network of the chart meets the hypotheses: widen `applies`, or choose other sizes."
        )
    violated, _, (slack, exact, size, c, t) = best
    network, data = chart(jax.tree.map(jnp.asarray, c), size)
    return Falsification(
        statement=inequality.statement,
        chart=chart.name,
        violated=violated,
        slack=slack,
        exact_slack=exact,
        network=network,
        data=data,
        t=None if inequality.t1 is None else t,
        sides=_sides(inequality, network, data, t),
        size=size,
        evaluations=done,
        unconfirmed=unconfirmed,
        sizes=len(visited),
        certificate=certify(inequality, chart, size, c) if violated else None,
        seconds=time.perf_counter() - start,
    )


def _sides(
    inequality: Inequality, network: Network, data: Regression, t: float
) -> tuple[float, float]:
    """The two sides, the smaller one with its factor, in double precision."""
    where: tuple[Any, ...] = network, data
    if inequality.t1 is not None:
        now = gradient_flow(network, data, ts=[t], solver="explicit", rtol=1e-10).network
        where = network, now, jnp.asarray(t), data
    smaller, larger = inequality.smaller(*where), inequality.larger(*where)
    return inequality.factor * float(smaller), float(larger)


Sides = tuple[Any, Any] | None  # smaller, without the factor, and larger; None: they do not count


def exact_sides(
    inequality: Inequality, chart: Chart, size: Size, coordinates: Any, digits: int, t: float = 0.0
) -> Sides:
    """Both sides in multiprecision, the smaller one without the factor.

    None if the hypotheses are not met, or the flow takes too many steps.
    """
    network, data = exactly(lambda c: chart(c, size), coordinates, digits=digits)
    if not bool(exactly(inequality.meets, network, data, digits=digits)):
        return None
    where: tuple[Any, ...] = network, data
    if inequality.t1 is not None:
        later = exact_flow(network, data, t, digits=digits)
        if later is None:
            return None
        where = network, later, t, data
    smaller = exactly(inequality.smaller, *where, digits=digits)
    return smaller, exactly(inequality.larger, *where, digits=digits)


def second_opinion(inequality: Inequality, sides: Callable[[int], Sides]) -> float | None:
    """The slack of a suspected violation in multiprecision; None if there is no violation.

    `sides(digits)` is `exact_sides` of the network. It is computed twice, with 50 and 80 digits
    (trajectories: 30 and 45). Where an inequality is attained, or badly conditioned, rounding may
    make the slack negative, but not twice by the same amount.
    """
    found = []
    for digits in (50, 80) if inequality.t1 is None else (30, 45):
        both = sides(digits)
        if both is None:
            return None
        with mpmath.workdps(digits):
            smaller, larger = (mpmath.mpf(np.asarray(side, object).item()) for side in both)
            smaller, size = inequality.factor * smaller, abs(inequality.factor * smaller)
            value = float((larger - smaller) / ((size + abs(larger)) or 1))
        if not value < -LEAST:
            return None
        found.append(value)
    coarse, fine = found
    return fine if abs(coarse - fine) <= 0.1 * abs(fine) else None


class _Found(eqx.Module):
    """The best ascents of a round: slacks, times, coordinates; and the number of evaluations."""

    slack: Array
    t: Array
    coordinates: dict[str, Array]
    count: Array


def _hunt(inequality: Inequality, chart: Chart, size: Size, key: PRNGKeyArray) -> _Found:
    flows = inequality.t1 is not None
    restarts, climb = (FLOWS, FLOW_CLIMB) if flows else (RESTARTS, CLIMB)

    def worst(c: Any) -> tuple[Array, Array, Array]:
        """The least slack at these coordinates, its time, and the number of slacks computed."""
        network, data = chart(c, size)
        slack, t = _slacks(inequality, network, data)
        counts = inequality.meets(network, data) & jnp.isfinite(slack)
        i = jnp.argmin(jnp.where(counts, slack, jnp.inf))
        return jnp.where(counts, slack, jnp.inf)[i], t[i], jnp.sum(counts, dtype=jnp.int32)

    def broken(c: Any) -> tuple[Array, tuple[Array, Array, Array]]:
        found = worst(c)
        return jnp.where(jnp.isfinite(found[0]), found[0], 0), found

    ascent = optax.chain(
        optax.zero_nans(),
        optax.scale_by_adam(),
        optax.scale_by_trust_ratio(min_norm=1e-6),
        optax.scale(-PACE),
    )

    def step(carry: Any, _: Any) -> tuple[Any, Array]:
        c, state, kept = carry
        gradient, (slack, t, count) = jax.grad(broken, has_aux=True)(c)
        # Networks outside the hypotheses, or not finite, may be passed but are not kept.
        better = slack < kept[1]
        kept = jax.tree.map(lambda a, b: jnp.where(better, a, b), (c, slack, t), kept)
        change, state = ascent.update(gradient, state, c)
        return (optax.apply_updates(c, change), state, kept), count

    def climbing(c: Any, slack: Array, t: Array) -> tuple[Any, Array, Array, Array]:
        carry = c, ascent.init(c), (c, slack, t)
        (_, _, (c, slack, t)), counts = jax.lax.scan(step, carry, None, climb + 1)
        return c, slack, t, jnp.sum(counts, dtype=jnp.int32)

    keys = jr.split(key, restarts)
    drawn = jax.vmap(lambda k: chart.sample(k, size))(keys)
    slack, t, count = jax.vmap(worst)(drawn)
    order = jnp.argsort(slack)[:CLIMBERS]
    best = jax.tree.map(lambda x: x[order], drawn)
    c, low, when, more = jax.vmap(climbing)(best, slack[order], t[order])
    return _Found(low, when, c, jnp.sum(count) + jnp.sum(more))


def _slacks(inequality: Inequality, network: Network, data: Regression) -> tuple[Array, Array]:
    """The slacks of one network at all times of its trajectory, and these times."""
    dtype = data.X.dtype
    if inequality.t1 is None:
        return inequality.slack(network, data)[None], jnp.zeros(1, dtype)
    ts = inequality.t1 * jnp.asarray(np.geomspace(1e-3, 1, TIMES), dtype)
    solution = gradient_flow(
        network, data, ts=ts, measures=[_Along()], solver="explicit", rtol=1e-10, max_steps=512
    )
    slack = jax.vmap(lambda now, t: inequality.slack(network, now, t, data))(
        solution.measures["network"], ts
    )
    deepest = solution.stats["initial_log_excess"] + math.log(DEEPEST)
    reached = (ts <= solution.t1) & (solution.log_excess > deepest)
    return jnp.where(reached, slack, jnp.inf), ts


class _Along(Measure):
    """The network at every saved time."""

    name: ClassVar[str] = "network"

    def update(self, t: Any, view: Any, fixed: Any) -> Any:
        return view.network
