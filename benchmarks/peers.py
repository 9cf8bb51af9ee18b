"""The same work by this package and by its peers: time, error and stops of every tool, in one run.

n = 5, D = 20, m = 1 and 3, whitened and Gaussian X, h = 100, 1000, 5000, entries N(0, 1/h), rtol
1e-8, until the excess loss is 1e-20 of its start. All tools get the same networks and two cores;
peers that are not installed are reported as not run (`pip install ".[peers]"`).
"""

import importlib
import itertools
import os
from importlib import metadata
from typing import Any

# A device a core: read once, when JAX is imported.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
os.environ.setdefault("PJRT_NPROC", "4")

import equinox as eqx
import jax
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np
import peer_tools
import record

import jaxflow as jf
from jaxflow.dynamics.status import failed
from jaxflow.machine import Stopwatch
from jaxflow.report import save_figure, style
from jaxflow.report.style import ACCENT, ramp

WIDTHS, SEEDS, MANY = [100, 1000, 5000], 64, 4096
RATIO, FALLS = 1e-20, (1e-2, 1e-6)
FAR = 1e9  # beyond any stop
LEAST, REPEATS = 4, 3
BUDGET = 8.0  # seconds a tool and case: it decides how many seeds and repeats there are
SAME = "jaxflow, in full"
DEFINITIONS = {
    "peers": "each integrates the plain flow of the full network; rtol 1e-8, atol 1e-10 (but "
    "descent); the initial networks are given to them. An event that does not fire ends at 1.05 "
    "times the reference's stopping time; tools without events are told that time, to end at",
    "jaxflow": "jf.run of a Sweep; its time includes drawing and compressing the networks. `in "
    "full`: drawn at full width (ms_draw each, of which peers pay nothing), the ones the peers are "
    "given, for the errors; else the law as it is, with draws of its own and no errors here",
    "ms": "wall time per trajectory without compilation, median over the repeats of a batch of "
    "`seeds`; ms_with_compile adds the compilation of the first call",
    "error": "relative Frobenius error of U V^T, the largest over the seeds, at the times at which "
    "the median loss has fallen to 1e-2 and to 1e-6 of its start, and at the tool's own end; "
    "reference: rtol 1e-13 on the compressed network, the end at its own stop",
    "reached": "share of trajectories whose event fired, or, without events, whose loss at the "
    "end is below 1.1e-20 of its start",
    "drift": "largest ||Lambda(end) - Lambda(0)||_F / (||Phi^T U(0)||_F^2 + ||V(0)||_F^2), "
    "Lambda = U^T Phi Phi^T U - V^T V",
    "ratio": "ms of jaxflow / ms of the fastest peer without failures and caps whose error, the "
    "largest of its three, is at most 10 times that of jaxflow in full (same_accuracy), or at most "
    "1e-6 (within_1e-6)",
}


class InFull(jf.networks.init.Initialization):
    """A Gaussian law without its short cuts: every network is drawn at its full width."""

    law: jf.init.Gaussian = eqx.field(default_factory=jf.init.Gaussian)

    def __call__(self, key: Any, data: jf.Regression, *, width: int) -> Any:
        return self.law(key, data, width=width)


def main() -> None:
    """Run every case with every tool."""
    chosen = record.options(__doc__)
    widths, outputs, kinds, seeds, many = WIDTHS, [1, 3], [True, False], SEEDS, MANY
    if chosen.quick:
        widths, outputs, kinds, seeds, many = [100], [1], [True], LEAST, 0
    missing = {name: absent(tool.modules) for name, tool in peer_tools.TOOLS.items()}
    peer_tools.pool()  # started before anything is timed
    cases = []
    for m, whiten, h in itertools.product(outputs, kinds, widths):
        data = jf.data.gaussian(jr.key(7), 5, 20, m, whiten=whiten)
        result = case(data, h, seeds, many, 0 if chosen.quick else BUDGET, missing)
        cases.append({"m": m, "whiten": whiten, "h": h, **result})
        report(cases[-1])
    packages = ["scipy", "torch", "torchdiffeq", "torchode"]
    results = {
        "definitions": DEFINITIONS,
        "tools": {name: tool.note for name, tool in peer_tools.TOOLS.items()},
        "versions": {p: metadata.version(p) for p in packages if not absent((p,))},
        "cases": cases,
    }
    record.write(chosen, "peers", results)
    if not chosen.quick:
        save_figure(figure(cases), chosen.out / "peers.png")


def absent(modules: tuple[str, ...]) -> str | None:
    """Why a tool cannot be run, if it cannot."""
    try:
        for module in modules:
            importlib.import_module(module)
    except ImportError as error:
        return str(error)
    return None


def case(
    data: jf.Regression, h: int, seeds: int, many: int, budget: float, missing: dict[str, Any]
) -> dict[str, Any]:
    """All tools on the same networks."""
    stop = jf.until.loss_ratio(RATIO)
    measures = [jf.measures.Product(), jf.measures.ImbalanceDrift()]
    plan = jf.Sweep(data, InFull(), widths=[h], seeds=seeds, t1=FAR, until=stop, measures=measures)
    draw = eqx.filter_jit(eqx.filter_vmap(lambda key: plan.init(key, data, width=h)))
    with Stopwatch() as clock:
        networks = jax.block_until_ready(draw(plan.cells[0].keys(plan.key, seeds)))
    compressed = eqx.filter_vmap(lambda network: jf.compress(network, data))(networks)

    def reference(ts: Any, until: Any) -> jf.Solution:
        def solve(network: Any) -> jf.Solution:
            return jf.gradient_flow(
                network, data, ts=ts, until=until, rtol=1e-13, measures=measures[:1]
            )

        return eqx.filter_vmap(solve)(compressed).check()

    nowhere = FAR * np.arange(1.0, 4.0)
    falls = [reference(nowhere, jf.until.loss_ratio(ratio)).t1 for ratio in FALLS]
    ts = np.median(falls, axis=1)
    known = reference(np.append(ts, FAR), stop)
    t_end, exact = np.asarray(known.t1), np.asarray(known.measures["product"])
    assert t_end.min() > ts[-1]

    plan = plan.replace(ts=np.append(ts, FAR), t1=None)
    own_draws = plan.replace(init=jf.init.Gaussian())
    tools = {
        "jaxflow": own(own_draws, None, budget),
        SAME: own(plan, exact, budget),
    }
    if many:
        tools[f"jaxflow, {many:,}"] = own(own_draws.replace(seeds=many), None, budget)
    X, Y, U, V = map(np.asarray, (data.X, data.Y, networks.U, networks.V))
    goal = RATIO * peer_tools.loss(X, Y, U, V)
    job = peer_tools.Job(X, Y, ts, U, V, t_end, goal, seconds=max(2 * budget, 1))
    for name, tool in peer_tools.TOOLS.items():
        if missing[name]:
            tools[name] = {"not_run": missing[name]}
            continue
        try:
            tools[name] = peer(tool, job, exact, budget)
        except Exception as error:  # one tool's failure is a result, not the end of the others
            tools[name] = {"not_run": f"{type(error).__name__}: {str(error)[:200]}"}
    return {
        "times": [*ts, float(np.median(t_end))],
        "ms_draw": 1e3 * clock.run / seeds,
        "tools": tools,
        "ratio": {name: ratios(tools, name) for name in tools if name not in peer_tools.TOOLS},
    }


def own(plan: jf.Sweep, exact: Any, budget: float) -> dict[str, Any]:
    """This package on a plan; its errors where the exact products are known."""
    runs = [jf.run(plan)]
    while again([ds.attrs["seconds_run"] for ds in runs], budget):
        runs.append(jf.run(plan))
    ds = runs[0].isel(width=0)
    return summary(
        [ds.attrs["seconds_run"] for ds in runs],
        runs[0].attrs["seconds_compile"],
        None if exact is None else ds["product"].values,
        exact,
        reached=ds["status"].values == 1,
        failed=failed(ds["status"].values),
        drift=float(ds["imbalance_drift"].max()),
    )


def peer(tool: peer_tools.Tool, job: peer_tools.Job, exact: Any, budget: float) -> dict[str, Any]:
    """A peer, the faster way, on as many seeds as a trial on a few says will fit the budget."""

    def timed(way: str, seeds: int) -> tuple[peer_tools.Run, Clock]:
        with Stopwatch() as clock:
            run = tool.ways[way](job.some(slice(seeds)))
        return run, clock

    trials = {way: timed(way, LEAST) for way in tool.ways}
    way = min(trials, key=lambda way: trials[way][1].run)
    run, clock = trials[way]
    seeds = LEAST
    while 2 * seeds <= len(job.U) and 2 * seeds * clock.run / LEAST <= budget:
        seeds *= 2
    if seeds > LEAST:
        run, clock = timed(way, seeds)
    seconds = [clock.run]
    while again(seconds, budget):
        seconds.append(timed(way, seeds)[1].run)
    result = summary(
        seconds,
        clock.compile,
        run.U @ np.swapaxes(run.V, -1, -2),
        exact[:seeds],
        reached=run.reached,
        failed=run.failed,
        drift=max(map(drift, [job.X] * seeds, job.U, job.V, run.U[:, -1], run.V[:, -1])),
        capped=run.capped,
    )
    return {**result, "way": way} if way else result


def again(seconds: list[float], budget: float) -> bool:
    """Whether there is room for one more repeat."""
    return len(seconds) < REPEATS and sum(seconds) + seconds[0] <= budget


def drift(X: Any, U0: Any, V0: Any, U: Any, V: Any) -> float:
    """Change of the imbalance, through a QR decomposition of its factors: nothing is (h, h)."""
    right = np.linalg.svd(X, full_matrices=False)[2]
    factors = [right @ U, V0, V, right @ U0]
    signs = np.repeat([1, 1, -1, -1], [len(W) for W in factors])
    if not np.all(np.isfinite(np.concatenate(factors))):
        return float("nan")
    R = np.linalg.qr(np.concatenate(factors).T, mode="r")
    return np.linalg.norm((R * signs) @ R.T) / (np.sum((right @ U0) ** 2) + np.sum(V0**2))


def summary(
    seconds: list[float],
    compiling: float,
    product: Any,
    exact: Any,
    *,
    reached: Any,
    failed: Any,
    drift: float,
    capped: bool = False,
) -> dict[str, Any]:
    """The numbers of a tool in a case; None for what its run did not get to."""
    errors = np.full(3, np.nan)
    if exact is not None:
        gap, size = (np.linalg.norm(P, axis=(-2, -1)) for P in (product - exact, exact))
        errors = (gap / size).max(axis=0)
    run = float(np.median(seconds))
    return {
        "seeds": len(reached),
        "seconds": seconds,
        "ms": 1e3 * run / len(reached),
        "ms_with_compile": 1e3 * (run + compiling) / len(reached),
        "seconds_compile": compiling,
        "errors": [float(error) if np.isfinite(error) else None for error in errors],
        "error": float(errors.max()) if np.all(np.isfinite(errors)) else None,
        "reached": float(np.mean(reached)),
        "failed": int(np.sum(failed)),
        "drift": float(drift) if np.isfinite(drift) else None,
        "capped": capped,
    }


def ratios(tools: dict[str, Any], name: str) -> dict[str, Any]:
    """Time of this package over that of the fastest accurate peer."""
    out: dict[str, Any] = {}
    limits = {"same_accuracy": 10 * tools[SAME]["error"], "within_1e-6": 1e-6}
    for label, limit in limits.items():
        accurate = {
            peer: tools[peer]["ms"]
            for peer in peer_tools.TOOLS
            if tools[peer].get("error") is not None
            and tools[peer]["error"] <= limit
            and not tools[peer]["failed"]
            and not tools[peer]["capped"]
        }
        fastest = min(accurate, key=accurate.__getitem__, default=None)
        ratio = tools[name]["ms"] / accurate[fastest] if fastest else None
        out[label] = {"peer": fastest, "ratio": ratio}
    return out


def report(case: dict[str, Any]) -> None:
    """Print a case."""
    rows = []
    for name, tool in case["tools"].items():
        if "not_run" in tool:
            rows.append([name, "-", "not run"])
            continue
        rows.append(
            [
                name,
                f"{tool['seeds']}",
                f"{'> ' if tool['capped'] else ''}{tool['ms']:.3g}",
                f"{tool['ms_with_compile']:.3g}",
                *("-" if error is None else f"{error:.1e}" for error in tool["errors"]),
                f"{100 * tool['reached']:.4g}%",
                "-" if tool["drift"] is None else f"{tool['drift']:.1e}",
                f"{tool['failed']}",
            ]
        )
    kind = "whitened" if case["whiten"] else "Gaussian"
    headings = ["tool", "seeds", "ms each", "+ compile", "at 1e-2", "at 1e-6", "at end"]
    record.show(
        f"m = {case['m']}, {kind} X, h = {case['h']:,}; drawing: {case['ms_draw']:.2g} ms each",
        [*headings, "reached", "drift", "fail"],
        rows,
    )
    for name, tool in case["tools"].items():
        if "not_run" in tool:
            record.console.print(f"{name}: not run: {tool['not_run']}")
    for name, ratio in case["ratio"].items():
        text = [
            f"{r['ratio']:.3g} of {r['peer']}'s ({label})" if r["peer"] else f"no peer {label}"
            for label, r in ratio.items()
        ]
        record.console.print(f"time of {name}: {', '.join(text)}")


def figure(cases: list[dict[str, Any]]) -> Any:
    """Time per trajectory against width: a row of panels a kind of data, a column a number m."""
    ours = [name for name in cases[0]["tools"] if name not in peer_tools.TOOLS]
    colours = [ACCENT] * len(ours) + ramp(len(peer_tools.TOOLS))
    looks = list(zip([*ours, *peer_tools.TOOLS], colours, "os^vDPX*<>", strict=True))
    rows, columns = [True, False], sorted({case["m"] for case in cases})
    with style():
        fig, axes = plt.subplots(
            2, len(columns), figsize=(8, 6), sharex=True, sharey=True, layout="constrained"
        )
        for (i, j), ax in np.ndenumerate(axes):
            here = [c for c in cases if (c["whiten"], c["m"]) == (rows[i], columns[j])]
            for name, colour, marker in looks:
                done = [(c["h"], c["tools"][name]) for c in here if "ms" in c["tools"][name]]
                h, ms = [h for h, _ in done], [tool["ms"] for _, tool in done]
                ax.plot(h, ms, "-" if name in ours else "--", color=colour, lw=1)
                ax.plot(h, ms, marker, ms=4.5, color=colour, label=name)
                capped = [(h, tool["ms"]) for h, tool in done if tool["capped"]]
                for at in capped:
                    ax.annotate("at least", at, (-6, -3), textcoords="offset points", ha="right")
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xticks(WIDTHS, [f"{h:,}" for h in WIDTHS])
            ax.minorticks_off()
            ax.set_title(f"m = {columns[j]}, {'whitened' if rows[i] else 'Gaussian'} X")
            if i:
                ax.set_xlabel("width $h$")
            if not j:
                ax.set_ylabel("ms per trajectory")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


if __name__ == "__main__":
    main()
