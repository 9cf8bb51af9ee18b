"""An ablation: what the loop over slots gains over a vmapped Diffrax solve.

The same compressed networks, tolerance, stopping rule and saved times; only who makes the steps
differs. Lanes are the trajectories that are solved side by side. Times are processor seconds of
the process, so that other programs on the machine count little, compile time apart; the two
variants take turns, and the ratio is that of medians.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import own_loop
import record

import jaxflow as jf
from jaxflow.dynamics.ensemble import flows
from jaxflow.dynamics.settings import flow_settings
from jaxflow.measures import BoundTimes, LogExcess

WIDTHS = (64, 4096, 2**20)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A data set and what is asked of its trajectories."""

    name: str
    samples: int
    features: int
    targets: int
    decay: float  # the excess loss at the end, over that at the start
    saves: bool  # whether the loss is saved at 257 times


PROBLEMS = (
    Problem("10 samples, 1 target", 10, 20, 1, 1e-20, True),
    Problem("10 samples, 1 target, no saves", 10, 20, 1, 1e-20, False),
    Problem("30 samples, 3 targets", 30, 60, 3, 1e-20, True),
)


def networks(problem: Problem, data: jf.Regression, count: int) -> Any:
    """Compressed Gaussian networks of several widths."""
    keys = jr.split(jr.key(1), count)
    widths = jnp.asarray(np.resize(WIDTHS, count), data.X.dtype)
    law = jf.init.Gaussian()

    def one(key: Any, width: Any) -> Any:
        return law.compressed(key, data, width=width)

    return eqx.filter_jit(eqx.filter_vmap(one))(keys, widths)


def measured(problem: Problem, lanes: int, total: int, repeats: int) -> dict[str, Any]:
    """Both variants on the same trajectories."""
    data = jf.data.gaussian(
        jr.key(0), samples=problem.samples, features=problem.features, targets=problem.targets
    )
    settings = flow_settings(
        data.X.dtype,
        until=jf.until.loss_ratio(problem.decay),
        measures=[LogExcess()] if problem.saves else [],
        solver="explicit",
    )
    times = BoundTimes(float(np.log(problem.decay)), saves=257 if problem.saves else 2)
    drawn = networks(problem, data, total)
    count = jnp.asarray(total, jnp.int32)
    programs: dict[str, Callable[[], Any]] = {}
    compiling, answers = {}, {}
    for name, solve in VARIANTS.items():

        @eqx.filter_jit
        def program(drawn: Any, count: Any, solve: Any = solve) -> Any:
            return solve(drawn, data, times, settings, count, lanes)

        start = time.process_time()
        compiled = program.lower(drawn, count).compile()
        compiling[name] = time.process_time() - start
        programs[name] = lambda compiled=compiled: jax.block_until_ready(compiled(drawn, count))
        answers[name] = programs[name]()
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, run in programs.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    ours, theirs = (answers[name] for name in VARIANTS)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return {
        "problem": problem.name,
        "lanes": lanes,
        "trajectories": total,
        "ms_per_trajectory": {n: 1e3 * m / total for n, m in medians.items()},
        "gain": medians["vmap"] / medians["loop"],
        "seconds_compiling": compiling,
        "steps": {n: int(np.sum(a["steps"])) for n, a in answers.items()},
        "occupancy": {
            n: float(np.sum(a["steps"]) / np.sum(a["lockstep"])) for n, a in answers.items()
        },
        "same_status": bool(np.array_equal(ours["status"], theirs["status"])),
        "worst_difference_of_t_end": float(np.max(np.abs(ours["t_end"] / theirs["t_end"] - 1))),
    }


def loop(drawn: Any, data: Any, times: Any, settings: Any, count: Any, lanes: int) -> Any:
    """The loop over slots."""
    return own_loop.Loop(own_loop.Lanes(data), drawn, times, settings, count, lanes).run()


def vmapped(drawn: Any, data: Any, times: Any, settings: Any, count: Any, lanes: int) -> Any:
    """What sweeps do."""
    arrays, rest = eqx.partition(drawn, eqx.is_array)
    return flows(arrays, rest, data, times, settings, count, slots=lanes)


VARIANTS = {"loop": loop, "vmap": vmapped}


def main() -> None:
    """All problems and numbers of lanes."""
    chosen = record.options(__doc__)
    cases = [(p, n) for p in PROBLEMS for n in (1, 8, 64, 512, 4096)]
    if chosen.quick:
        cases = [(PROBLEMS[0], 8)]
    rows = []
    for problem, lanes in cases:
        total = 16 if chosen.quick else max(lanes, min(1024, 32 * lanes))
        rows.append(measured(problem, lanes, total, 1 if chosen.quick else 5))
        r = rows[-1]
        record.console.print(
            f"{r['problem']}, {lanes} lanes: "
            + ", ".join(f"{n} {ms:.3f} ms" for n, ms in r["ms_per_trajectory"].items())
            + f"; gain {r['gain']:.2f}; occupancy {r['occupancy']}"
            + f"; compiling {r['seconds_compiling']}"
            + f"; steps {r['steps']}; same {r['same_status']} {r['worst_difference_of_t_end']:.1e}"
        )
    record.write(chosen, "loop", {"rows": rows})


if __name__ == "__main__":
    main()
