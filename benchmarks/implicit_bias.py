"""Distance to the min-norm solution at the paper's own settings: Min et al. (ICML 2021), A.2.

X_ij ~ N(0, 1/D), Theta ~ N(0, I/D), noise 0.01, n = 100, D = 400, m = 1; U, V ~ N(0, 1/h); h from
500 to 10,000. The paper runs descent on ||Y - X U V^T||_F^2 / n with step 5e-3 until that loss is
below 1e-8 (one iteration is 1e-4 of flow time), five runs a width, and plots ||U2(0) V(0)^T||_F and
||U V^T - Theta_hat||_F at the end.
"""

from typing import Any, ClassVar

import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np
import record

import jaxflow as jf
from jaxflow.dynamics.status import failed
from jaxflow.report import save_figure, style
from jaxflow.report.style import ACCENT, INK, MUTED, ramp
from jaxflow.sweeps.summary import exponent

WIDTHS = [500, 1000, 2000, 4000, 7000, 9500, 10_000]
PAPER = {500: 0.78, 9500: 0.19}
PAPER_ITERATIONS = (5.5e4, 6.7e4)
PAPER_RUNS = 5


class InitialOffSpan(jf.Measure):
    """`||U2(0) V(0)^T||_F`."""

    name: ClassVar[str] = "initial_off_span"

    def start(self, first: Any) -> Any:
        return jf.measures.OffSpanDistance().finish(None, None, first, None)

    def finish(self, ts: Any, saved: Any, last: Any, fixed: Any) -> Any:
        return fixed


def main() -> None:
    """Run the widths, print paper, law and measured side by side."""
    chosen = record.options(__doc__)
    widths, seeds = ([500, 1000], 4) if chosen.quick else (WIDTHS, 100)
    data = jf.data.gaussian(jr.key(2021), 100, 400, 1, noise=0.01, scale=400**-0.5)
    # ||.||_F^2 / n < 1e-8 is L < 5e-9 n; L* is 0 here.
    stop = jf.until.excess(0.5e-8 * data.samples)
    recorded = [InitialOffSpan(), jf.measures.OffSpanDistance(), jf.measures.InSpanDistance()]
    sweep = jf.Sweep(
        data, jf.init.Gaussian(0.5), widths=widths, seeds=seeds, until=stop, measures=recorded
    )
    ds = jf.run(sweep)
    off, inside = ds["off_span_distance"].values, ds["in_span_distance"].values
    total = np.hypot(off, inside)
    law = np.asarray([float(jf.theory.bias_law(data, h)) for h in widths])
    rms = np.sqrt(np.mean(off**2, axis=1))
    # Standard error of the root mean square, by the delta method.
    error = np.std(off**2, axis=1, ddof=1) / np.sqrt(seeds) / (2 * rms)
    five = error * np.sqrt(seeds / PAPER_RUNS)
    iterations = ds["t_end"].values / (2 * 5e-3 / data.samples)
    rows, results = [], {}
    for i, h in enumerate(widths):
        z, z_five = (rms[i] - law[i]) / error[i], (rms[i] - law[i]) / five[i]
        results[str(h)] = {
            "paper": PAPER.get(h),
            "distance": {"mean": total[i].mean(), "sd": total[i].std(ddof=1)},
            "off_span_rms": rms[i],
            "off_span_error": error[i],
            "in_span_max": inside[i].max(),
            "law": law[i],
            "z": z,
            "z_at_five_runs": z_five,
            "initial_off_span_mean": float(ds["initial_off_span"].values[i].mean()),
            "iterations_median": float(np.median(iterations[i])),
            "steps_median": float(ds["steps"].isel(width=i).median()),
            "failed": int(np.sum(failed(ds["status"].values[i]))),
        }
        rows.append(
            [
                f"{h:,}",
                f"{PAPER[h]:.2f}" if h in PAPER else "-",
                f"{total[i].mean():.3f} ± {total[i].std(ddof=1):.3f}",
                f"{rms[i]:.4f} ± {error[i]:.4f}",
                f"{law[i]:.4f}",
                f"{z:+.1f}",
                f"{z_five:+.1f}",
                f"{ds['initial_off_span'].values[i].mean():.3f}",
                f"{np.median(iterations[i]):.2e}",
            ]
        )
    record.show(
        f"A.2: distance to the min-norm solution, {seeds} seeds a width "
        f"(paper: {PAPER_RUNS}; {PAPER_ITERATIONS[0]:.1e} to {PAPER_ITERATIONS[1]:.1e} iterations)",
        [
            "h",
            "paper",
            "distance, sd",
            "off span, rms",
            "law",
            "z",
            "z of 5 runs",
            "at t = 0",
            "iterations",
        ],
        rows,
    )
    fit = exponent(np.asarray(widths), off)
    assert fit is not None
    record.console.print(
        f"slope {fit.slope:.4f}, 95% interval [{fit.low:.4f}, {fit.high:.4f}]; "
        f"run {ds.attrs['seconds_run']:.1f} s, compile {ds.attrs['seconds_compile']:.1f} s"
    )
    bound = jf.theory.bias_bound(data, 500, delta=0.01)
    record.console.print(
        f"theorem 2 at h = 500: bound {float(bound.bound):.3g}, asks for h > "
        f"{float(bound.least_width):.3g}: {'met' if bool(bound.applies) else 'not met'} by the "
        "paper's own experiment"
    )
    results = {
        "widths": results,
        "seeds": seeds,
        "slope": {"fit": fit.slope, "low": fit.low, "high": fit.high},
        "theorem_2": {"bound_at_500": float(bound.bound), "least_width": float(bound.least_width)},
        "seconds_run": ds.attrs["seconds_run"],
        "seconds_compile": ds.attrs["seconds_compile"],
    }
    record.write(chosen, "implicit_bias", results)
    if not chosen.quick:
        save_figure(
            figure(widths, total, ds["initial_off_span"].values, law, fit),
            chosen.out / "implicit_bias.png",
        )


def figure(widths: Any, total: Any, initial: Any, law: Any, fit: Any) -> Any:
    """The paper's figure 1, on logarithmic axes with the law drawn in."""
    with style():
        fig, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
        for values, label, marker, colour in (
            (total, r"$\|UV^\top-\hat\Theta\|_F$ at the end", "o", ramp(1)[0]),
            (initial, r"$\|U_2V^\top\|_F$ at the start", "^", MUTED),
        ):
            ax.errorbar(
                widths,
                values.mean(axis=1),
                values.std(axis=1),
                fmt=marker,
                color=colour,
                ms=4.5,
                capsize=2,
                label=f"{label}, ± sd",
            )
        ax.plot(widths, law, color=ACCENT, label="wide-network law")
        ax.plot(
            list(PAPER),
            list(PAPER.values()),
            "x",
            color=INK,
            ms=8,
            mew=1.8,
            label="paper, figure 1",
        )
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(widths[:-1], [f"{w:,}" for w in widths[:-1]])
        ax.set_yticks([0.2, 0.3, 0.4, 0.6, 0.8], ["0.2", "0.3", "0.4", "0.6", "0.8"])
        ax.minorticks_off()
        ax.set_xlabel("width $h$")
        ax.set_ylabel("distance to the min-norm solution")
        ax.set_title(f"Slope {fit.slope:.3f} [{fit.low:.3f}, {fit.high:.3f}]")
        ax.legend()
    return fig


if __name__ == "__main__":
    main()
