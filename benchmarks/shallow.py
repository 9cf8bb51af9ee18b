"""Wide shallow networks: exponents in the width, flows of whole networks, kinks, smoothing splines.

The data sets are those of Jin and Montufar (JMLR 2023). Networks whose output layer alone is
trained, by the closed form; whole networks by the flow; what smoothing a kink changes, and what
tolerances reach at it. Compile time apart.
"""

import dataclasses
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
from jaxflow.networks.activations import ReLU
from jaxflow.papers.jin2023 import LAWS
from jaxflow.papers.settings.wide_networks import ends, line, points, rms, square
from jaxflow.sweeps.summary import exponent

SEEDS = 20
WIDTHS = tuple(40 * 2**k for k in range(10))
WHOLE = jf.init.Shallow(weights=jf.init.Sphere())  # all layers are trained


def fit(widths: Any, values: np.ndarray) -> dict[str, Any]:
    """The exponent in the width, its interval, and both ends."""
    found = exponent(np.asarray(widths), values)
    assert found is not None
    return {
        "slope": found.slope,
        "interval": [found.low, found.high],
        "rms_narrowest": float(np.median(values[0])),
        "rms_widest": float(np.median(values[-1])),
    }


def exponents(widths: Any, seeds: int) -> list[dict[str, Any]]:
    """Distances to splines, and to interpolants of infinite-width kernels."""
    rows: list[dict[str, Any]] = []
    raw, plane = line(), square()

    def add(name: str, law: Any, data: Any, reference: Any) -> None:
        values = rms(ends(law, data, widths, seeds) - reference(points(data)))
        rows.append({"name": name, **fit(widths, values)})

    for name, law in LAWS.items():
        data = theory.adjusted(law, raw)
        add(f"1-D, {name}: adjusted data, spline", law, data, theory.spline(data, law))
        add(f"1-D, {name}: data as they are, kernel", law, raw, theory.network_limit(law, raw))
        add(f"1-D, {name}: data as they are, spline", law, raw, theory.spline(raw, law))
    sign, normal = LAWS["sign"], LAWS["gaussian"]
    data = theory.adjusted(sign, plane)
    add("2-D, uniform: adjusted data, polyharmonic", sign, data, theory.polyharmonic(data))
    add(
        "2-D, uniform: data as they are, kernel",
        sign,
        plane,
        theory.network_limit(sign, plane),
    )
    limit = theory.network_limit(normal, plane)
    add("2-D, gaussian: data as they are, kernel", normal, plane, limit)
    return rows


def plateaus() -> list[dict[str, Any]]:
    """How far the infinitely wide network is from the spline, on data as they are and adjusted."""
    at, rows = points(line(), 401), []
    for name, law in LAWS.items():
        data = theory.adjusted(law, line())

        def rms(data: Any, law: Any = law) -> float:
            gap = theory.network_limit(law, data)(at) - theory.spline(data, law)(at)
            return float(np.sqrt(np.mean(gap**2)))

        affine = theory.adjustment(law, line())[:, 0]
        rows.append(
            {"law": name, "raw": rms(line()), "adjusted": rms(data), "adjustment": list(affine)}
        )
    return rows


def flows(widths: Any, seeds: int) -> dict[str, Any]:
    """Whole networks trained by the flow, twice: with and without compilation."""
    data = theory.adjusted(WHOLE, line())
    at = points(line())
    sweep = jf.Sweep(
        data,
        WHOLE,
        widths=widths,
        seeds=seeds,
        until=jf.until.loss_ratio(1e-8),
        measures=[jf.measures.Predictions(at)],
        rtol=1e-6,
    )
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        found = jf.run(sweep)
        seconds.append(time.perf_counter() - start)
    gap = found.predictions.transpose("width", "seed", ...).values
    gap = (gap - theory.spline(data, WHOLE)(at)).reshape(len(widths), seeds, -1)
    return {
        "trajectories": int(sweep.trajectories),
        "failed": int(failed(found.status.values).sum()),
        "stopped": int((found.status.values == 1).sum()),
        "seconds_cold": seconds[0],
        "seconds_warm": seconds[1],
        "steps_median": found.steps.median("seed").values.tolist(),
        **fit(widths, np.sqrt(np.mean(gap**2, axis=-1))),
    }


def kinks(widths: Any, rtols: Any) -> list[dict[str, Any]]:
    """Each tolerance against one ten times tighter, and each smoothing against one ten times less.

    Distances are RMS of predictions on a grid over the RMS of the targets.
    """
    at, size = jnp.asarray(points(line())), float(np.sqrt(np.mean(np.asarray(line().Y) ** 2)))
    rows = []
    for h in widths:

        def end(rtol: float, smoothing: float, h: int = h) -> tuple[np.ndarray, dict[str, Any]]:
            law = dataclasses.replace(WHOLE, activation=ReLU(smoothing=smoothing))
            data = theory.adjusted(law, line())
            network = law(jr.key(3), data, width=h)
            start = time.perf_counter()
            found = jf.gradient_flow(
                network,
                data,
                until=jf.until.loss_ratio(1e-8),
                formulation="residual",
                solver="implicit",
                rtol=rtol,
            )
            f = np.asarray(jax.vmap(found.network)(at))
            facts = {
                "steps": int(found.stats["steps"]),
                "seconds": time.perf_counter() - start,
                "stopped": bool(found.result == jf.Result.stopped),
            }
            return f, facts

        def gap(a: np.ndarray, b: np.ndarray) -> float:
            return float(np.sqrt(np.mean((a - b) ** 2)) / size)

        ends = {rtol: end(rtol, 1e-3) for rtol in (*rtols, rtols[-1] / 10)}
        for rtol in rtols:
            f, facts = ends[rtol]
            tighter = gap(f, ends[min(ends, key=lambda r, x=rtol: abs(np.log(10 * r / x)))][0])
            rows.append({"h": h, "rtol": rtol, "smoothing": 1e-3, "gap": tighter, **facts})
        tight = rtols[-1]
        for smoothing in (1e-2, 1e-3):
            f, facts = end(tight, smoothing)
            less = gap(f, end(tight, smoothing / 10)[0])
            rows.append({"h": h, "rtol": tight, "smoothing": smoothing, "less": less, **facts})
    return rows


def project_off(columns: np.ndarray) -> Any:
    """The projection onto the complement of the span of these columns."""
    basis = np.linalg.qr(columns)[0]
    return lambda f: f - basis @ (basis.T @ f)


def smoothing(width: int) -> list[dict[str, Any]]:
    """The largest distance, over times, of the linear flow to kernel ridge and smoothing splines.

    At time t the ridge is 1/t in units of the kernel of the network, T(x, z) ~ h K(x, z). Affine
    functions cost smoothing splines nothing, and networks something: the last column is of what is
    left of both on a grid when the nearest affine function is taken off.
    """
    at, rows = points(line()), []
    for name, law in LAWS.items():
        data = theory.adjusted(law, line())
        network = law(jr.key(0), data, width=width)
        flow = theory.LinearizedFlow(network, data)
        size = np.linalg.norm(np.asarray(data.Y))
        gaps = []
        bent = project_off(np.c_[np.ones(len(at)), at])
        flat = np.linalg.norm(bent(theory.spline(data, law)(at)))
        for t in np.geomspace(1e-2, 1e4, 61):
            ridge = 1 / t
            f = np.asarray(flow(jnp.asarray(at), t / width))
            x = np.asarray(flow(data.X, t / width))
            kernel = theory.network_limit(law, data, ridge=ridge)
            spline = theory.spline(data, law, ridge=ridge)
            gaps.append(
                [
                    np.linalg.norm(x - kernel(data.X)) / size,
                    np.linalg.norm(x - spline(data.X)) / size,
                    np.linalg.norm(bent(f - spline(at))) / flat,
                ]
            )
        kernel, spline, between = np.max(gaps, axis=0)
        rows.append(
            {
                "law": name,
                "to_kernel_ridge": float(kernel),
                "to_smoothing_spline": float(spline),
                "to_smoothing_spline_but_for_lines": float(between),
            }
        )
    return rows


def main() -> None:
    """Run all of it."""
    chosen = record.options(__doc__)
    widths, seeds = ((80, 320, 1280), 8) if chosen.quick else (WIDTHS, SEEDS)
    result = {
        "exponents": exponents(widths, seeds),
        "plateaus": plateaus(),
        "smoothing_splines": smoothing(2_000 if chosen.quick else 100_000),
        "flows": flows(widths[:2] if chosen.quick else widths, 2 if chosen.quick else seeds),
        "kinks": kinks(*(((80,), (1e-6,)) if chosen.quick else ((640, 20480), (1e-6, 1e-7, 1e-8)))),
    }
    record.show(
        f"RMS distance ~ h^slope, {seeds} seeds, h = {widths[0]:,} ... {widths[-1]:,}",
        ["", "slope", "95%", "narrowest", "widest"],
        [
            [
                r["name"],
                f"{r['slope']:.3f}",
                "[{:.3f}, {:.3f}]".format(*r["interval"]),
                f"{r['rms_narrowest']:.2g}",
                f"{r['rms_widest']:.2g}",
            ]
            for r in result["exponents"]
        ],
    )
    record.show(
        "Infinitely wide, against the spline: RMS",
        ["law", "data as they are", "adjusted", "v", "u"],
        [
            [r["law"], f"{r['raw']:.4f}", f"{r['adjusted']:.1e}"]
            + [f"{x:.4f}" for x in r["adjustment"]]
            for r in result["plateaus"]
        ],
    )
    record.show(
        "The flow of the output layer, largest relative distance over time",
        ["law", "kernel ridge", "smoothing spline", "but for affine functions"],
        [
            [
                r["law"],
                f"{r['to_kernel_ridge']:.3f}",
                f"{r['to_smoothing_spline']:.3f}",
                f"{r['to_smoothing_spline_but_for_lines']:.3f}",
            ]
            for r in result["smoothing_splines"]
        ],
    )
    f = result["flows"]
    record.show(
        "Whole networks, by the flow",
        ["trajectories", "stopped", "failed", "s, cold", "s, warm", "slope", "95%"],
        [
            [
                str(f["trajectories"]),
                str(f["stopped"]),
                str(f["failed"]),
                f"{f['seconds_cold']:.0f}",
                f"{f['seconds_warm']:.0f}",
                f"{f['slope']:.3f}",
                "[{:.3f}, {:.3f}]".format(*f["interval"]),
            ]
        ],
    )
    record.show(
        "Kinks: one network, all layers",
        ["h", "rtol", "smoothing", "to rtol / 10", "to smoothing / 10", "steps", "s"],
        [
            [
                f"{r['h']:,}",
                f"{r['rtol']:g}",
                f"{r['smoothing']:g}",
                f"{r['gap']:.1e}" if "gap" in r else "",
                f"{r['less']:.1e}" if "less" in r else "",
                str(r["steps"]),
                f"{r['seconds']:.1f}",
            ]
            for r in result["kinks"]
        ],
    )
    record.write(chosen, "shallow", result)


if __name__ == "__main__":
    main()
