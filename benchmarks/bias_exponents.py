"""How the distance to the min-norm solution falls with the width, where the theory holds.

Theorem 2 of Min et al. (ICML 2021) has exponent 1/2 - 2 alpha; the law says
E dist^2 = h^(-2 alpha) (D - r) sum sqrt(h^(2 - 4 alpha) + s_i^2), whose local slope tends to it.
Widths 10^5 to 10^9, which compression makes as cheap as 10. And the law of two scales, a = h su^2
and b = h sv^2 kept as the width grows.
"""

from typing import Any

import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np
import record

import jaxflow as jf
from jaxflow.report import save_figure, style
from jaxflow.report.style import INK, ramp
from jaxflow.sweeps.summary import exponent

ALPHAS = [0.26, 0.3, 0.35, 0.4, 0.45, 0.5]
PAIRS = [(2.25, 0.25), (0.25, 2.25), (1.0, 1.0), (4.0, 0.01), (0.01, 4.0)]
RATIO, TOLERANCE = 1e-20, 0.01


def distances(data: Any, law: Any, over: dict[str, Any], seeds: int) -> Any:
    """Off-span distances of a sweep; every trajectory has to get to the stop."""
    ds = jf.run(
        jf.Sweep(
            data,
            law,
            over=over,
            seeds=seeds,
            until=jf.until.loss_ratio(RATIO),
            measures=[jf.measures.OffSpanDistance()],
        )
    )
    failed = int((ds["status"] != 1).sum())
    if failed:
        raise RuntimeError(f"{failed} trajectories did not get to the stop.")
    return ds["off_span_distance"]


def slopes(data: Any, widths: list[int], seeds: int) -> tuple[list[dict[str, Any]], Any]:
    """Measured, law's and theorem's exponent for every alpha."""
    found = distances(data, jf.init.Gaussian(), {"alpha": ALPHAS, "width": widths}, seeds)
    rows = []
    for alpha in ALPHAS:
        values = found.sel(alpha=alpha).transpose("width", "seed").values
        law = [float(jf.theory.bias_law(data, h, alpha=alpha)) for h in widths]
        fit = exponent(np.asarray(widths), values)
        assert fit is not None
        slope = float(np.polyfit(np.log(widths), np.log(law), 1)[0])
        square = values**2
        z = (square.mean(1) - np.square(law)) / (square.std(1, ddof=1) / np.sqrt(seeds))
        rows.append(
            {
                "alpha": alpha,
                "fit": fit.slope,
                "low": fit.low,
                "high": fit.high,
                "law": slope,
                "theorem": 0.5 - 2 * alpha,
                "z_worst": float(np.abs(z).max()),
                "holds": slope - TOLERANCE < fit.low and fit.high < slope + TOLERANCE,
            }
        )
    return rows, found


def main() -> None:
    """Both laws, measured beside predicted."""
    chosen = record.options(__doc__)
    seeds = 64 if chosen.quick else 2000
    data = jf.data.gaussian(jr.key(12), 12, 40, 3)
    widths = [10**p for p in range(5, 10)]
    rows, found = slopes(data, widths, seeds)
    record.show(
        f"Exponents in the width, 10^5 to 10^9, {seeds} seeds a width",
        ["alpha", "measured, 95%", "law here", "theorem", "worst z of 5 widths", "within 0.01"],
        [
            [
                f"{r['alpha']}",
                f"{r['fit']:.4f} [{r['low']:.4f}, {r['high']:.4f}]",
                f"{r['law']:.4f}",
                f"{r['theorem']:.2f}",
                f"{r['z_worst']:.1f}",
                str(r["holds"]),
            ]
            for r in rows
        ],
    )
    h = 10**7
    scales = [(float((a / h) ** 0.5), float((b / h) ** 0.5)) for a, b in PAIRS]
    two = distances(
        data, jf.init.Gaussian(scale=scales[0]), {"width": [h], "scale": scales}, seeds
    ).values[0]
    pairs = []
    for (a, b), scale, values in zip(PAIRS, scales, two, strict=True):
        law = float(jf.theory.bias_law(data, h, scale=scale))
        error = float(np.std(values**2, ddof=1) / np.sqrt(seeds))
        rms = float(np.sqrt(np.mean(values**2)))
        pairs.append({"a": a, "b": b, "rms": rms, "law": law, "z": (rms**2 - law**2) / error})
    record.show(
        f"Two scales, h = {h:.0e}",
        ["h su^2", "h sv^2", "off span, rms", "law", "z"],
        [
            [f"{p['a']}", f"{p['b']}", f"{p['rms']:.6g}", f"{p['law']:.6g}", f"{p['z']:+.1f}"]
            for p in pairs
        ],
    )
    record.write(chosen, "bias_exponents", {"seeds": seeds, "exponents": rows, "two_scales": pairs})
    if not chosen.quick:
        save_figure(figure(data, widths, found), chosen.out / "bias_exponents.png")


def figure(data: Any, widths: list[int], found: Any) -> Any:
    """Distance against width, one line an alpha, the law drawn in."""
    with style():
        fig, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
        for colour, alpha in zip(ramp(len(ALPHAS)), ALPHAS, strict=True):
            values = found.sel(alpha=alpha).transpose("width", "seed").values
            rms = np.sqrt(np.mean(values**2, axis=1))
            law = [float(jf.theory.bias_law(data, h, alpha=alpha)) for h in widths]
            slope = np.polyfit(np.log(widths), np.log(rms), 1)[0]
            ax.plot(widths, law, color=INK, linewidth=0.8, zorder=1)
            label = rf"$\alpha={alpha}$: {slope:.3f}"
            ax.plot(widths, rms, "o", color=colour, ms=5, label=label)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("width $h$")
        ax.set_ylabel(r"$\|U_2V^\top\|_F$ at the end, root mean square")
        ax.set_title("Measured (dots) and law (lines), to width $10^9$")
        ax.legend(title="slope", ncols=2)
    return fig


if __name__ == "__main__":
    main()
