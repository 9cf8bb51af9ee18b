"""How deep a loss can be followed: the share of trajectories that reach a stop, and at what cost.

n = 5, D = 20, m = 3, h = 100, entries N(0, 1/h), 1,000 seeds, stops at 1e-20 and 1e-200 of the
initial excess loss; beside them the same network as a general module (the residual beside its
parameters), and its parameters alone, which is what an ODE library integrates by default.
"""

import jax.random as jr
import numpy as np
import record

import jaxflow as jf

STEPS = 5000  # far more than any trajectory that gets there needs


def main() -> None:
    """Run every formulation to every depth."""
    chosen = record.options(__doc__)
    seeds = 16 if chosen.quick else 1000
    data = jf.data.gaussian(jr.key(7), 5, 20, 3)
    rows, results = [], []
    cases = [("two_layer_residual", 1e-20, seeds), ("two_layer_residual", 1e-200, seeds)]
    if not chosen.quick:
        cases += [("residual", 1e-20, 64), ("residual", 1e-200, 64), ("parameters", 1e-20, 64)]
    for formulation, ratio, count in cases:
        sweep = jf.Sweep(
            data,
            jf.init.Gaussian(),
            widths=[100],
            seeds=count,
            until=jf.until.loss_ratio(ratio),
            formulation=formulation,
            max_steps=STEPS,
            measures=[jf.measures.ImbalanceDrift()],
        )
        ds = jf.run(sweep)
        stopped = float(np.mean(ds["status"].values == 1))
        case = {
            "formulation": formulation,
            "ratio": ratio,
            "seeds": count,
            "stopped": stopped,
            "steps_median": float(ds["steps"].median()),
            "steps_max": int(ds["steps"].max()),
            "imbalance_drift_max": float(ds["imbalance_drift"].max()),
            "discrepancy_max": float(ds["discrepancy"].max()),
            "ms_per_trajectory": 1e3 * ds.attrs["seconds_run"] / count,
            "seconds_compile": ds.attrs["seconds_compile"],
        }
        results.append(case)
        rows.append(
            [
                formulation,
                f"{ratio:.0e}",
                str(count),
                f"{100 * stopped:.4g}%",
                f"{case['steps_median']:.0f}",
                f"{case['steps_max']}",
                f"{case['imbalance_drift_max']:.1e}",
                f"{case['discrepancy_max']:.1e}",
                f"{case['ms_per_trajectory']:.2f}",
            ]
        )
    headings = ["formulation", "stop", "seeds", "reached", "steps", "most", "drift", "discrepancy"]
    record.show("Stops that fire, rtol 1e-8", [*headings, "ms each"], rows)
    record.write(chosen, "depth", {"cases": results})


if __name__ == "__main__":
    main()
