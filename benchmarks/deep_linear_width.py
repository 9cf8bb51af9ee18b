"""Depth against width of deep linear networks, orthogonal and Gaussian (Hu et al., ICLR 2020).

The paper's problem, X of 16 samples in 1,024 dimensions and 10 targets, all entries N(0, 1), and
its widths, 10 to 1,000: log L(t)/L(0) after 1,258 steps of descent at m / (2 L ||X||^2). Gaussian
layers at depths 4 to 32 (a step of 32 layers of 1,000 units is 3 GFLOP); orthogonal ones, which
are reduced exactly to width 26, to 700 as in the paper.
"""

import math
import time

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import record
from matplotlib.figure import Figure

import jaxflow as jf
from jaxflow.papers.hu2020 import deepen, orthogonal, rate
from jaxflow.report import save_figure, style

WIDTHS = (10, 25, 63, 158, 398, 1000)
DEPTHS = {"Gaussian": (4, 8, 16, 32), "orthogonal": (4, 8, 16, 32, 128, 700)}


def fallen(network: jf.DeepLinear, data: jf.Regression, steps: int) -> float:
    """log(L/L(0)) at the end, L counted from its least value; inf where descent diverged."""
    eta = rate(data, network.depth)
    solution = jf.gradient_descent(
        network, data, optax.sgd, learning_rate=eta, steps=steps, saves=2
    )
    value = float(solution.log_excess[-1] - solution.log_excess[0])
    return value if math.isfinite(value) else math.inf


def main() -> None:
    """Train every width at every depth."""
    chosen = record.options(__doc__)
    steps = 50 if chosen.quick else 1258
    widths = WIDTHS[:2] if chosen.quick else WIDTHS
    keys = jr.split(jr.key(3), 3)
    # A step moves the large layers through memory: in single precision, half as much.
    X = jr.normal(keys[0], (16, 1024), jnp.float32)
    Y = X @ jr.normal(keys[1], (1024, 10), jnp.float32)
    data = jf.Regression(np.asarray(X), np.asarray(Y))
    results = []
    for kind, depths in DEPTHS.items():
        for depth in depths[:2] if chosen.quick else depths:
            for width in widths:
                start = time.perf_counter()
                if kind == "Gaussian":
                    law = jf.init.DeepGaussian()
                    network = law(keys[2], data, width=width, depth=depth)
                else:
                    two = orthogonal(data, width, 1)
                    network = jax.tree.map(lambda x: x[0], deepen(two, width, depth))
                value = fallen(network, data, steps)
                seconds = time.perf_counter() - start
                results.append(
                    {"kind": kind, "depth": depth, "width": width, "log_ratio": value, "s": seconds}
                )
    rows = [
        [r["kind"], str(r["depth"]), str(r["width"]), f"{r['log_ratio']:.2f}", f"{r['s']:.1f}"]
        for r in results
    ]
    record.show(__doc__.splitlines()[0], ["layers", "L", "h", "log L(t)/L(0)", "s"], rows)
    record.write(chosen, "deep_linear_width", {"steps": steps, "results": results})
    if not chosen.quick:
        save_figure(figure(results), chosen.out / "deep_linear_width.png")


def figure(results: list[dict]) -> Figure:
    """Two heat maps with one scale."""
    with style():
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        axes = figure.subplots(1, 2)
        for ax, kind in zip(axes, DEPTHS, strict=True):
            depths = DEPTHS[kind]
            values = np.array(
                [
                    [
                        next(
                            r["log_ratio"]
                            for r in results
                            if (r["kind"], r["depth"], r["width"]) == (kind, depth, width)
                        )
                        for depth in depths
                    ]
                    for width in WIDTHS
                ]
            )
            shown = ax.imshow(
                np.minimum(values, 0) / math.log(10),
                origin="lower",
                aspect="auto",
                cmap="viridis_r",
                vmin=-12,
                vmax=0,
            )
            ax.grid(visible=False)
            ax.set_xticks(range(len(depths)), depths)
            ax.set_yticks(range(len(WIDTHS)), WIDTHS)
            ax.set_xlabel("depth L")
            ax.set_title(f"{kind} layers")
        axes[0].set_ylabel("width h")
        figure.colorbar(shown, ax=axes, label="log10 L(t)/L(0)")
    return figure


if __name__ == "__main__":
    main()
