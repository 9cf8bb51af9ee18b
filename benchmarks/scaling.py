"""What a trajectory costs: against width, number, size and devices, and where the time goes.

n = 5, D = 20, m = 1, Gaussian X, entries N(0, 1/h), rtol 1e-8, until the excess loss is 1e-20 of
its start, unless said. Every line is a process of its own, measured after a first run has compiled;
peak memory is that of the whole process.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BASE: dict[str, Any] = {
    "samples": 5, "outputs": 1, "features": 20, "widths": [1000], "seeds": 4096,
    "scales": None, "store": False, "devices": None, "repeats": 3,
}  # fmt: skip


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Run one case here."""
    import jax
    import jax.random as jr
    import numpy as np

    jax.config.update("jax_enable_x64", True)
    import jaxflow as jf

    data = jf.data.gaussian(jr.key(7), case["samples"], case["features"], case["outputs"])
    over: dict[str, Any] = {"width": case["widths"]}
    law = jf.init.Gaussian()
    if case["scales"]:
        law, over["scale"] = jf.init.Gaussian(scale=(1.0, 1.0)), [(s, s) for s in case["scales"]]

    def run(seeds: int, key: int) -> Any:
        until = jf.until.loss_ratio(1e-20)
        sweep = jf.Sweep(
            data, law, over=over, seeds=seeds, until=until, key=jr.key(key), block=block
        )
        if not case["store"]:
            return jf.run(sweep)
        with tempfile.TemporaryDirectory() as folder:
            return jf.run(sweep, store=Path(folder) / "s.zarr").load()

    # The same program for the first, short run: a block of the same length.
    block = None
    first = run(case["seeds"], 0)
    block = int(first.attrs["block"])
    times, last = [], first
    for repeat in range(case["repeats"]):
        start = time.perf_counter()
        last = run(case["seeds"], repeat + 1)
        times.append(time.perf_counter() - start)
    seconds = float(np.median(times)) if times else first.attrs["seconds_run"]
    count = last["status"].size
    kept = last.attrs
    solving = kept["seconds_solving"] - kept["seconds_compile"]
    host = kept["seconds_run"] - solving - kept["seconds_storing"]
    return {
        **case,
        "trajectories": count,
        "seconds": seconds,
        "ms_per_trajectory": 1e3 * seconds / count,
        "steps_median": float(last["steps"].median()),
        "failed": int((last["status"] != 1).sum()),
        "retried": int(last["retried"].sum()),
        "waste": kept["waste"],
        "chunk": kept["chunk"],
        "block": kept["block"],
        "seconds_compile": first.attrs["seconds_compile"],
        "share_host": host / kept["seconds_run"],
        "share_store": kept["seconds_storing"] / kept["seconds_run"],
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "device": jax.devices()[0].device_kind,
        "devices": len(jax.local_devices()),
    }


def apart(**changes: Any) -> dict[str, Any]:
    """Run one case in a process of its own."""
    case = {**BASE, **changes}
    environment = dict(os.environ)
    count = case["devices"] or os.cpu_count() or 1
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count}"
    environment["PJRT_NPROC"] = str(2 * count)
    found = subprocess.run(
        [sys.executable, __file__, "--case", json.dumps(case)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(found.stdout.splitlines()[-1])


def main() -> None:
    """Every table."""
    import record

    chosen = record.options(__doc__)
    quick = chosen.quick
    tables: dict[str, list[dict[str, Any]]] = {}

    def table(name: str, title: str, cases: list[dict[str, Any]]) -> None:
        tables[name] = [apart(**case) for case in cases]
        rows = [
            [
                ",".join(f"{w:g}" for w in (c["widths"] if len(c["widths"]) < 3 else [])) or "many",
                f"{c['trajectories']:,}",
                f"{c['outputs']}+{min(c['samples'], c['features'])}",
                str(c["devices"]),
                f"{c['ms_per_trajectory']:.3g}",
                f"{c['seconds']:.3g}",
                f"{c['seconds_compile']:.3g}",
                f"{c['steps_median']:.0f}",
                f"{c['waste']:.3f}",
                f"{100 * c['share_host']:.1f}",
                f"{100 * c['share_store']:.1f}",
                f"{c['peak_gb']:.2f}",
                str(c["failed"]),
            ]
            for c in tables[name]
        ]
        headings = ["h", "number", "m+r", "devices", "ms each", "s", "compile s", "steps", "waste"]
        record.show(title, [*headings, "host %", "store %", "GB", "failed"], rows)

    few = {"seeds": 256, "repeats": 1} if quick else {}
    powers = [2, 9] if quick else range(2, 10)
    table("width", "Cost against width", [{"widths": [10**p], **few} for p in powers])
    mixed = {
        "widths": [10, 100, 1000, 10**4, 10**5, 10**6],
        "scales": [0.01, 0.03, 0.1, 0.3, 1.0],
        "seeds": 8 if quick else 200,
        "repeats": 1,
    }
    table("mixed", "Widths 10 to 10^6, scales over two decades", [mixed])
    if not quick:
        numbers = [10**2, 10**3, 10**4, 10**5, 10**6]
        cases = [{"seeds": n, "store": True, "repeats": 0 if n >= 10**5 else 3} for n in numbers]
        table("number", "Cost against the number of trajectories, into a store", cases)
        sizes = [(1, 2), (1, 5), (3, 5), (1, 20), (5, 20), (10, 40)]
        table(
            "size",
            "Cost against m + r (D = 4 n)",
            [
                {
                    "outputs": m,
                    "samples": n,
                    "features": 4 * n,
                    "seeds": {20: 256, 40: 64}.get(n, 4096),
                }
                for m, n in sizes
            ],
        )
        table(
            "devices",
            "Devices",
            [{"devices": d, "outputs": m, "seeds": 2**14} for m in (1, 3) for d in (1, 2)],
        )
    record.write(chosen, "scaling", {"base": BASE, **tables})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--case")
    known, _ = parser.parse_known_args()
    if known.case:
        print(json.dumps(measure(json.loads(known.case))))
    else:
        main()
