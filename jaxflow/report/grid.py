"""The figure of any sweep: a panel per measure."""

import itertools
import math
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..sweeps.grid import axes, measured
from .panels import FEW, panels, powers, quantiles, swept, time_axis
from .style import ramp, style
from .tables import label

CURVES = 500  # trajectories behind a band, at most


def grid_figure(dataset: xr.Dataset, *, title: str | None = None) -> Figure:
    """A panel per measure of any sweep: medians over trajectories, with 5 to 95% bars.

    Measures that are one number are drawn against the axis of most values, one colour per value of
    the next axis, with the trajectories of further axes pooled; those of a dimension "time" against
    time. Measures of other dimensions are not drawn. The end of training has two more panels.

    **Arguments:** the `dataset` of `jf.run`; a `title`.

    **Returns:** a matplotlib figure.
    """
    grid = sorted(axes(swept(dataset, "status")), key=lambda axis: dataset.sizes[axis] == 1)
    numeric = [a for a in grid if dataset[a].dtype.kind in "iuf"] or grid
    main = max(numeric, key=lambda axis: dataset.sizes[axis], default=None)
    hue = next((axis for axis in grid if axis != main and dataset.sizes[axis] > 1), None)
    along = [name for name in measured(dataset, "time") if name != "t"]
    ended = dataset.assign(
        log10_left=(dataset["log_excess_end"] - dataset["log_excess_start"]) / math.log(10)
    )
    single = [*measured(dataset), "log10_left"]
    if np.nanmin(dataset["t_end"], initial=np.inf) < np.nanmax(dataset["t_end"], initial=0):
        single.append("t_end")
    with style():
        figure, drawn = panels(len(along) + len(single))
        for ax, name in zip(drawn, along, strict=False):
            _against_time(dataset, name, ax, main)
        for ax, name in zip(drawn[len(along) :], single, strict=True):
            _against_axis(ended, name, ax, main, hue)
        said = [title, "medians, and 5 to 95% of the trajectories"]
        pooled = [a for a in grid if a not in (main, hue) and dataset.sizes[a] > 1]
        if pooled:
            said.append(f"pooled over {', '.join(pooled)}")
        figure.suptitle(": ".join(filter(None, said)), x=0.01, ha="left", fontsize=11)
    return figure


def _name(dataset: xr.Dataset, name: str) -> str:
    return str(dataset[name].attrs.get("long_name", name))


def _against_axis(
    dataset: xr.Dataset, name: str, ax: Axes, main: str | None, hue: str | None
) -> None:
    """Medians and bars of one number per trajectory along the main axis."""
    if main is None:
        values = dataset[name].values.ravel()
        ax.hist(values[np.isfinite(values)], bins=min(30, 5 + values.size // 5), color=ramp(1)[0])
        ax.set_xlabel("log10 left" if name == "log10_left" else _name(dataset, name))
        ax.set_ylabel("trajectories")
        return
    labels = dataset[main].values
    numbers = dataset[main].dtype.kind in "iuf"
    order = np.argsort(labels) if numbers else np.arange(len(labels))
    x = labels[order].astype(float) if numbers else order.astype(float)
    shades = [None] if hue is None else dataset[hue].values.tolist()
    for colour, shade in zip(ramp(len(shades)), shades, strict=True):
        part = dataset[name] if shade is None else dataset[name].sel({hue: shade})
        rows = part.transpose(main, ...).values.reshape(len(labels), -1)
        low, middle, high = quantiles(rows[order])
        said = None if shade is None else f"{hue} {label(shade)}"
        bars = [middle - low, high - middle]
        line = "-" if numbers else "none"
        ax.errorbar(x, middle, bars, fmt="o", ls=line, color=colour, ms=4, capsize=2, label=said)
    if numbers and x.min() > 0 and x.max() / x.min() >= 8:
        ax.set_xscale("log")
    if not numbers:
        ax.set_xlim(-0.5, len(labels) - 0.5)
    if not numbers or len(labels) <= 8:
        marks = [label(v) for v in labels[order].tolist()]
        ax.set_xticks(x, marks, rotation=30 if len("".join(marks)) > 30 else 0)
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(main)
    everything = dataset[name].values
    everything = everything[np.isfinite(everything)]
    if name == "log10_left":
        powers(ax, r"$(L - L^*)(t_\mathrm{end})\ /\ (L - L^*)(0)$")
        return
    if everything.size and everything.min() > 0 and everything.max() / everything.min() > 30:
        ax.set_yscale("log")
    ax.set_ylabel(_name(dataset, name))
    if hue is not None:
        ax.legend()


def _against_time(dataset: xr.Dataset, name: str, ax: Axes, main: str | None) -> None:
    """Medians and bands of one number per saved time; a colour per point of the grid if few."""
    grid = axes(dataset)
    points = list(itertools.product(*(dataset[axis].values.tolist() for axis in grid)))
    # A colour per point of the grid if there are few of them, else per value of the main axis.
    by = list(range(len(grid))) if main is None or len(points) <= FEW else [grid.index(main)]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, point in enumerate(points):
        groups.setdefault(tuple(point[i] for i in by), []).append(number)

    def rows(variable: str, cells: list[int]) -> np.ndarray:
        values = dataset[variable].transpose(*grid, "seed", "time").values
        values = values.reshape(len(points), -1, values.shape[-1])[cells]
        return values.reshape(-1, values.shape[-1])[:CURVES]

    own = "t" in dataset and "time" in dataset["t"].dims
    scale = 1 / math.log(10) if name == "log_excess" else 1.0
    everything = []
    for colour, (point, cells) in zip(ramp(len(groups)), groups.items(), strict=True):
        lines = scale * rows(name, cells)
        if own:
            ts = rows("t", cells)
            sound = ts[np.isfinite(ts) & (ts > 0)]
            if not sound.size:
                continue
            x = np.geomspace(sound.min(), sound.max(), 240)
            pairs = zip(ts, lines, strict=True)
            lines = np.stack([np.interp(x, t, line) for t, line in pairs])
        else:
            x = dataset["time"].values if "time" in dataset.coords else np.arange(lines.shape[1])
        low, middle, high = quantiles(lines.T)
        said = ", ".join(f"{grid[i]} {label(v)}" for i, v in zip(by, point, strict=True))
        ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        ax.plot(x, middle, color=colour, label=said or None)
        everything.append(x)
    if everything:
        time_axis(ax, np.concatenate(everything))
    if not own and "time" not in dataset.coords:
        ax.set_xlabel("number of the saved time")
    if name == "log_excess":
        powers(ax, "excess loss  $L - L^*$")
    else:
        ax.set_ylabel(_name(dataset, name))
    if 1 < len(groups) <= FEW:
        ax.legend()
