"""Diagonal linear networks: the limits of flows against the program, and L = e^-100000.

Sparse regression as of Woodworth et al. (COLT 2020): 100 samples, 1,000 features, a teacher of five
entries, noise 0.1. Programs of three depths, twenty scales from 1e-3 to 10 and sixteen data sets;
flows of one data set in mirror coordinates, at scales from 0.1 on (below, one feature after another
comes out of nothing, in ten thousand steps); and in the parameters, whose limit is the program's by
theorem alone. Then the exponential loss on its own clock. Compile time apart.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import record

import jaxflow as jf
from jaxflow import theory
from jaxflow.dynamics.status import failed
from jaxflow.papers.settings.sparse_regression import sparse_regression

DEPTHS = (2.0, 3.0, 4.0)
CLOCK = ((2.0, 1.0), (2.0, 0.1), (3.0, 1.0), (3.0, 0.1), (4.0, 1.0))  # depth, alpha


def problem(seed: int, samples: int, features: int) -> jf.Regression:
    """One data set."""
    key = jr.key(seed)
    return sparse_regression(key, samples, features, 5, entry=5**-0.5, noise=0.1)[0]


def grid(data: list[jf.Regression], alphas: list[float]) -> dict[str, Any]:
    """Programs of all, and flows of the larger scales of the first, each timed twice."""
    flown = [i for i, alpha in enumerate(alphas) if alpha >= 0.1]
    sweep = jf.Sweep(
        data[0],
        jf.init.Diagonal(),
        over={"depth": DEPTHS, "alpha": [alphas[i] for i in flown]},
        seeds=1,
        until=jf.until.loss_ratio(1e-20),
        measures=[jf.measures.FinalProduct()],
    )
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        found = jf.run(sweep)
        seconds.append(time.perf_counter() - start)
    a, L = (jnp.asarray(x) for x in np.meshgrid(alphas, DEPTHS))

    @jax.jit
    def programs(one: jf.Regression) -> Any:
        return jax.lax.map(
            lambda x: theory.least_potential(theory.MirrorMap(x[0], x[1]), one).beta,
            (a.ravel(), L.ravel()),
        )

    for _ in range(2):
        start = time.perf_counter()
        limits = np.stack([np.asarray(programs(d)) for d in data])
        seconds.append(time.perf_counter() - start)
    ends = found["final_product"].values[..., 0, :, 0]
    first = limits[0].reshape(len(DEPTHS), len(alphas), -1)[:, flown]
    errors = np.linalg.norm(ends - first, axis=-1) / np.linalg.norm(first, axis=-1)
    return {
        "programs": len(data) * a.size,
        "trajectories": int(sweep.trajectories),
        "failed": int(failed(found["status"].values).sum()),
        "flow_seconds": seconds[:2],
        "program_seconds": seconds[2:],
        "steps_median": float(np.median(found["steps"].values)),
        "error_max": float(errors.max()),
        "error_median": float(np.median(errors)),
    }


def parameters(data: jf.Regression, pairs: list[tuple[float, float]]) -> list[dict[str, Any]]:
    """Flows in (u, v), where the program is a theorem."""
    rows = []
    for depth, alpha in pairs:
        network = jf.init.Diagonal(alpha, depth)(jr.key(0), data)
        start = time.perf_counter()
        end = jf.gradient_flow(
            network,
            data,
            formulation="residual",
            until=jf.until.loss_ratio(1e-20),
            rtol=1e-10,
            max_steps=200_000,
        )
        size = np.asarray(end.network.beta)
        seconds = time.perf_counter() - start
        limit = theory.flow_limit(theory.MirrorMap(alpha, depth), data)
        rows.append(
            {
                "depth": depth,
                "alpha": alpha,
                "error": float(np.linalg.norm(size - limit) / np.linalg.norm(limit)),
                "steps": int(end.stats["steps"]),
                "seconds": seconds,
                "stopped": bool(end.result == jf.Result.stopped),
            }
        )
    return rows


def clock(depth: float, alpha: float, end: float) -> dict[str, Any]:
    """The exponential loss down to `e^-end`."""
    X = np.asarray(jr.normal(jr.key(6), (10, 20)))
    data = jf.Regression(X, np.sign(X[:, 0] + 0.3 * X[:, 1]))
    network = jf.init.Diagonal(alpha, depth)(jr.key(0), data)
    for _ in range(2):
        start = time.perf_counter()
        found = jf.log_loss_flow(network, data, [0.1 * end, end])
        jax.block_until_ready(found.beta)
        seconds = time.perf_counter() - start
    s = -jax.nn.logsumexp(-found.margins[-1])
    return {
        "depth": depth,
        "alpha": alpha,
        "s": end,
        "finished": bool(found.finished),
        "steps": int(found.steps),
        "seconds": seconds,
        "clock_error": float(abs(s - end) / end),
        "log_time": float(found.log_time[-1]),
    }


def main() -> None:
    """Run all three."""
    chosen = record.options(__doc__)
    samples, features, count = (10, 40, 2) if chosen.quick else (100, 1000, 16)
    alphas = [float(a) for a in np.geomspace(1e-3, 10, 3 if chosen.quick else 20)]
    scales = (0.1, 1.0) if chosen.quick else (0.1, 0.3, 1.0, 10.0)
    large = [(L, a) for L in DEPTHS for a in scales]
    small = [] if chosen.quick else [(2.0, 1e-3), (2.0, 1e-2), (3.0, 1e-2), (3.0, 3e-2)]
    data = [problem(i, samples, features) for i in range(count)]
    result = {
        "grid": grid(data, alphas),
        "parameters": parameters(data[0], large + small),
        "clock": [clock(L, a, 1e3 if chosen.quick else 1e5) for L, a in CLOCK],
    }
    g = result["grid"]
    record.show(
        "Programs, and mirror coordinates",
        ["programs", "flows", "failed", "flows s", "programs s", "steps", "worst error"],
        [
            [
                str(g["programs"]),
                str(g["trajectories"]),
                str(g["failed"]),
                f"{g['flow_seconds'][1]:.0f}",
                f"{g['program_seconds'][1]:.0f}",
                f"{g['steps_median']:.0f}",
                f"{g['error_max']:.1e}",
            ]
        ],
    )
    record.show(
        "Parameters against the program",
        ["L", "alpha", "error", "steps", "s"],
        [
            [
                f"{r['depth']:g}",
                f"{r['alpha']:g}",
                f"{r['error']:.1e}",
                str(r["steps"]),
                f"{r['seconds']:.1f}",
            ]
            for r in result["parameters"]
        ],
    )
    record.show(
        "The exponential loss on its clock",
        ["L", "alpha", "-log L", "steps", "s", "clock error"],
        [
            [
                f"{r['depth']:g}",
                f"{r['alpha']:g}",
                f"{r['s']:g}",
                str(r["steps"]),
                f"{r['seconds']:.2f}",
                f"{r['clock_error']:.1e}",
            ]
            for r in result["clock"]
        ],
    )
    record.write(chosen, "diagonal_linear", result)


if __name__ == "__main__":
    main()
