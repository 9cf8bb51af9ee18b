"""The edge of stability: late sharpness, and how closely models follow descent, over step sizes.

Regression on a Chebyshev polynomial, twenty tanh units. Seconds of whole sweeps, with compilation;
distances to descent late in training over those of the gradient flow; Hessian products.
"""

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import record

from jaxflow import theory
from jaxflow.claims import shared_runs
from jaxflow.dynamics.formulations import Parameters
from jaxflow.dynamics.rules import flattened
from jaxflow.dynamics.status import failed
from jaxflow.networks.curvature import leading_eigenpairs, product
from jaxflow.networks.losses import SquaredLoss
from jaxflow.papers.settings import edge_of_stability as edges
from jaxflow.papers.settings.edge_of_stability import (
    RISING,
    RULES,
    SETTLED,
    Setting,
    failures,
    held,
    late,
    nearness,
    ran,
)


def heights(setting: Setting) -> dict[str, Any]:
    """The median sharpness of the late half of descent, against 2 / eta, and seconds.

    `off_the_edge`: networks whose central flow says that S sinks below 2 / eta by then.
    """
    start = time.perf_counter()
    found = ran("descent", setting)
    seconds = time.perf_counter() - start
    edge = 2 / np.asarray(setting.rates)[:, None]
    gap = late(found["sharpness"]) / edge - 1
    there = held(setting)
    return {
        "rates": setting.rates,
        "seeds": setting.seeds,
        "steps": setting.steps,
        "seconds": seconds,
        "failed": int(failed(found["status"]).sum()),
        "off_the_edge": (~there).sum(axis=1).tolist(),
        "gap_max": np.where(there, np.abs(gap), 0).max(axis=1).tolist(),
        "gap_max_with_those": np.abs(gap).max(axis=1).tolist(),
        "gap_median": np.median(np.abs(gap), axis=1).tolist(),
    }


def models(setting: Setting) -> list[dict[str, Any]]:
    """Each model of descent: its late distance, that of the gradient flow being 1."""
    rows = []
    descent, flow = ran("descent", setting), ran("gradient flow", setting)
    for name in ("central flow", "constrained trajectory"):
        start = time.perf_counter()
        found = ran(name, setting)
        seconds = time.perf_counter() - start
        ratio = nearness(name, setting)
        rows.append(
            {
                "model": name,
                "rates": setting.rates,
                "seeds": setting.seeds,
                "steps": setting.steps,
                "seconds": seconds,
                "failed": int(failures(descent, flow, found).sum()),
                "ratio_max": ratio.max(axis=1).tolist(),
                "ratio_median": np.median(ratio, axis=1).tolist(),
                "over_a_tenth": (ratio > 0.1).sum(axis=1).tolist(),
                "flow_over_edge_min": [
                    float(row.min() * rate / 2)
                    for row, rate in zip(flow["sharpness"][:, :, -1], setting.rates, strict=True)
                ],
            }
        )
    return rows


def products(setting: Setting) -> dict[str, Any]:
    """Hessian products: of a sharpness from scratch and warm, and of a step of each model."""
    data = edges.chebyshev()
    weights = jnp.asarray(ran("descent", setting)["weights"][-1, 0])

    @jax.jit
    def look(last: Any, flat: Any) -> Any:
        network = edges.network_of(flat)
        found = theory.hessian_eigenpairs(network, data)
        warm = theory.hessian_eigenpairs(network, data, start=last, steps=3)
        exact = jnp.linalg.eigvalsh(theory.hessian(network, data))[-1]
        return found.vectors, jnp.stack(
            [found.products, warm.products, abs(warm.values[0] / exact - 1)]
        )

    start = theory.hessian_eigenpairs(edges.network_of(weights[0]), data).vectors
    cold, warm, gap = np.asarray(jax.lax.scan(look, start, weights[1:])[1]).T
    counts = {}
    for name, looks in (("central flow", "substeps"), ("constrained trajectory", "projections")):
        rule, problems = RULES[name], []
        for flat in weights[-2:]:
            network = edges.network_of(flat)
            form = Parameters.build(network, data, SquaredLoss())
            problems.append((form, form.start(network)))
        memory = rule.start(*problems[0], setting.rates[-1])
        memory = getattr(memory, "vectors", memory)  # eigenvectors of a moment before
        loss, flat, _ = flattened(*problems[1])
        pairs = leading_eigenpairs(partial(product, loss, flat), memory, steps=rule.iterations)
        counts[name] = getattr(rule, looks) * int(pairs.products)
    return {
        "cold_median": float(np.median(cold)),
        "warm_median": float(np.median(warm)),
        "warm_against_dense_max": float(np.max(gap)),
        "a_step": counts,
    }


def main() -> None:
    """Run, print and record."""
    chosen = record.options(__doc__ or "")
    small = Setting((0.02,), 2, 400)
    top = heights(small if chosen.quick else SETTLED("paper"))
    settings = (
        [small] if chosen.quick else [RISING("paper"), Setting((0.02, 0.025, 0.03), 16, 12000)]
    )
    rows = [row for setting in settings for row in models(setting)]
    cost = products(settings[0])

    def many(values: list[float]) -> str:
        return ", ".join(f"{v:.2g}" for v in values)

    record.show(
        f"late sharpness: {top['seeds']} seeds, {top['steps']:,} steps, {top['seconds']:.0f} s, "
        f"{top['failed']} failed",
        ["eta", "|S eta / 2 - 1|, largest", "median", "off the edge", "largest with those"],
        [
            [
                f"{eta:g}",
                f"{top['gap_max'][i]:.1e}",
                f"{top['gap_median'][i]:.1e}",
                str(top["off_the_edge"][i]),
                f"{top['gap_max_with_those'][i]:.1e}",
            ]
            for i, eta in enumerate(top["rates"])
        ],
    )
    record.show(
        "late distance to descent, that of the gradient flow being 1",
        ["model", "eta", "largest", "median", "seeds > 0.1", "flow's S eta / 2", "s", "failed"],
        [
            [
                row["model"],
                many(row["rates"]),
                many(row["ratio_max"]),
                many(row["ratio_median"]),
                ", ".join(map(str, row["over_a_tenth"])),
                many(row["flow_over_edge_min"]),
                f"{row['seconds']:.0f}",
                str(row["failed"]),
            ]
            for row in rows
        ],
    )
    record.show(
        "Hessian products",
        ["sharpness, cold", "warm", "warm against dense", *cost["a_step"]],
        [
            [
                f"{cost['cold_median']:.0f}",
                f"{cost['warm_median']:.0f}",
                f"{cost['warm_against_dense_max']:.1e}",
                *map(str, cost["a_step"].values()),
            ]
        ],
    )
    record.write(chosen, "edge", {"heights": top, "models": rows, "products": cost})


if __name__ == "__main__":
    with shared_runs():
        main()
