"""Figures of a sweep over widths: loss against envelope, tightness, distance against width."""

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from ..machine.arguments import instance
from ..sweeps.power_law import Exponent
from ..sweeps.summary import settled
from .panels import BANDS, quantiles, swept
from .style import ACCENT, INK, MUTED, ramp, style


def loss_against_envelope(dataset: xr.Dataset, ax: Axes) -> None:
    r"""Excess loss against `s = 2 lambda_r c t`, in which the bound is `e^-s` for every trajectory.

    Medians over seeds with 5 to 95% bands, one colour per width.
    """
    swept(dataset, "width", "status")
    instance("ax", ax, Axes, "a panel of matplotlib")
    widths = dataset["width"].values
    if "log_excess" not in dataset:
        text = "Only statistics were kept:\nthis panel needs measures.curves()."
        ax.set_axis_off()
        ax.text(0, 0.9, text, va="top", color=MUTED, transform=ax.transAxes)
        return
    fall = (dataset["log_excess_end"] - dataset["log_excess_start"]).values
    fall = fall[np.isfinite(fall)]
    if fall.size == 0 or fall.min() >= 0:
        ax.text(0.5, 0.5, "no loss has fallen", ha="center", transform=ax.transAxes)
        return
    depth = float(fall.min())
    grid = np.linspace(0, -depth, 240)
    for colour, width in zip(ramp(len(widths)), widths, strict=True):
        cell = dataset.sel(width=width).stack(trajectory=_others(dataset))
        t, log = (cell[n].transpose("trajectory", "time").values for n in ("t", "log_excess"))
        clock = t * cell["bound_rate"].values[:, None]
        drop = log - cell["log_excess_start"].values[:, None]
        sound = np.isfinite(clock).all(axis=1) & np.isfinite(drop).all(axis=1)
        if not sound.any():
            continue
        pairs = zip(clock[sound], drop[sound], strict=True)
        curves = np.stack([np.interp(grid, c, d) for c, d in pairs]) / np.log(10)
        low, middle, high = np.quantile(curves, BANDS, axis=0)
        ax.fill_between(grid, low, high, color=colour, alpha=0.18, linewidth=0)
        running = middle > depth / np.log(10) + 1e-6  # where the median has not stopped
        ax.plot(grid[running], middle[running], color=colour, label=width_label(width))
    ax.plot(grid, -grid / np.log(10), color=INK, linestyle=(0, (4, 2)), label="bound")
    ax.set_xlim(0, grid[-1])
    ax.set_ylim(depth / np.log(10), 0.5)
    ax.set_xlabel(r"time in units of the bound,  $2\lambda_r c\,t$")
    ax.set_ylabel(r"$\log_{10}\,(L-L^*)\,/\,(L_0-L^*)$")
    ax.set_title("Excess loss and its bound")
    ax.legend(title="width $h$, median and 5 to 95%", ncols=2, loc="upper right")


def tightness(dataset: xr.Dataset, ax: Axes) -> None:
    """Histogram of the smallest ratio of measured to guaranteed decay of each trajectory."""
    swept(dataset, "width", "slack")
    instance("ax", ax, Axes, "a panel of matplotlib")
    widths = dataset["width"].values
    groups = [1 + dataset["slack"].sel(width=w).values.ravel() for w in widths]
    groups = [g[np.isfinite(g)] for g in groups]
    values = np.concatenate(groups) if groups else np.empty(0)
    if values.size == 0:
        ax.text(0.5, 0.5, "no trajectory has a bound", ha="center", transform=ax.transAxes)
        return
    top = float(np.quantile(values, 0.995))
    bins = np.linspace(min(0.95, float(values.min())), max(top, 1.2), 40)
    clipped = [np.clip(g, bins[0], bins[-1]) for g in groups]
    ax.hist(clipped, bins=list(bins), stacked=True, color=ramp(len(widths)))
    ax.axvline(1, color=INK, linestyle=(0, (4, 2)))
    ax.annotate(
        "bound",
        (1, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -2),
        textcoords="offset points",
        va="top",
        color=INK,
        fontsize=8,
    )
    ax.set_xlabel("smallest ratio of measured to guaranteed decay")
    ax.set_ylabel("trajectories")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title("How tight the bound is")


def distance_against_width(dataset: xr.Dataset, ax: Axes, fit: Exponent | None = None) -> None:
    """Distance to the min-norm solution, off the span of the data and in it, by width."""
    swept(dataset, "width", "off_span_distance", "in_span_distance")
    instance("ax", ax, Axes, "a panel of matplotlib")
    if "off_span_law" in dataset and not dataset["off_span_law"].any():
        ax.set_axis_off()
        ax.set_title("The only minimum is the min-norm solution")
        text = "The data spans every direction (r = D):\nnothing is left off its span."
        ax.text(0, 0.9, text, va="top", color=MUTED, transform=ax.transAxes)
        return
    ordered = dataset.sortby("width")
    widths = ordered["width"].values
    off, inside = (
        ordered[n].transpose("width", ...).values.reshape(len(widths), -1)
        for n in ("off_span_distance", "in_span_distance")
    )
    label = r"off the span  $\|U_2V^\top\|$, 5 to 95%"
    ax.errorbar(widths, *_bars(off), fmt="o", color=ramp(1)[0], ms=4, capsize=2, label=label)
    within = r"in the span  $\|U_1V^\top-\Sigma^{-1/2}W^\top Y\|$"
    if settled(ordered):
        # Ten decades smaller: a number instead of an axis over ten decades.
        text = f"{within} at most {inside.max():.0e}"
        ax.text(0.02, 0.03, text, transform=ax.transAxes, color=MUTED, fontsize=8)
    else:
        ax.errorbar(widths, *_bars(inside), fmt="s", color=MUTED, ms=4, capsize=2, label=within)
    if "off_span_law" in ordered:
        law = ordered["off_span_law"]
        law = law.mean([d for d in law.dims if d != "width"])
        ax.plot(widths, law, color=ACCENT, label="wide-network law", zorder=3)
    if fit is not None:
        text = rf"slope ${fit.slope:.3f}$, 95%: [{fit.low:.3f}, {fit.high:.3f}]"
        ax.plot(widths, fit(widths), color=INK, linestyle=":", linewidth=1.2, label=text)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(FixedLocator(list(widths)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(list(widths), [width_label(w) for w in widths], rotation=30)
    ax.set_xlabel("width $h$")
    ax.set_ylabel("distance to the min-norm solution")
    ax.set_title("Where training ends")
    ax.legend(loc="upper right")


def sweep_figure(
    dataset: xr.Dataset, *, fit: Exponent | None = None, title: str | None = None
) -> Figure:
    """The three panels of a width sweep that recorded `measures.standard()`.

    The first panel needs `measures.curves()` as well.

    **Arguments:** the `dataset` of `jf.run`; the `fit` of `sweeps.summary.width_exponent`; a
    `title`.

    **Returns:** a matplotlib figure.
    """
    with style():
        figure, axes = plt.subplots(1, 3, figsize=(13, 4.1), layout="constrained")
        loss_against_envelope(dataset, axes[0])
        tightness(dataset, axes[1])
        distance_against_width(dataset, axes[2], fit)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def width_label(width: Any) -> str:
    """A width as a number; large powers of 2 and 10 as powers."""
    width = int(width)
    for base in (2, 10):
        power = round(math.log(width, base))
        if width >= 10**6 and base**power == width:
            return rf"${base}^{{{power}}}$"
    return f"{width:,}" if width < 10**6 else f"{width:.1e}"


def _bars(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, middle, high = quantiles(values)
    return middle, np.stack([middle - low, high - middle])


def _others(dataset: xr.Dataset) -> list[Any]:
    return [d for d in dataset["log_excess_end"].dims if d != "width"]
