"""What figures of any sweep and of single trajectories share: panels and axes."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..machine.arguments import instance

FEW = 10  # curves that get a colour and a place in the legend
BANDS = (0.05, 0.5, 0.95)  # the quantiles of bars and bands


def swept(dataset: Any, *needed: str) -> Any:
    """The dataset; `ValueError` unless it is one of `jf.run` with these variables."""
    instance("dataset", dataset, xr.Dataset, "a dataset, as jf.run returns it")
    lacking = [name for name in needed if name not in dataset]
    if lacking:
        raise ValueError(
            f"This figure needs {', '.join(lacking)} in the dataset: measure it, or take "
            "jf.plotting.grid_figure."
        )
    return dataset


def quantiles(rows: np.ndarray) -> np.ndarray:
    """The 5, 50 and 95% quantiles of the finite entries of each row, shape (3, rows)."""
    sound = [row[np.isfinite(row)] for row in rows]
    return np.transpose([np.quantile(r, BANDS) if r.size else np.full(3, np.nan) for r in sound])


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, at most three per row."""
    columns = 2 if count == 4 else min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(1 + 3.6 * columns, 0.4 + 3.0 * rows), layout="constrained")
    found = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for ax in found[count:]:
        ax.remove()
    return figure, found[:count]


def time_axis(ax: Axes, ts: np.ndarray, call: str = "") -> None:
    """The axis of times: logarithmic where many of them lie far below the last one."""
    positive = ts[np.isfinite(ts) & (ts > 0)]
    if positive.size and np.sum(positive < 1e-2 * positive.max()) > positive.size / 4:
        ax.set_xscale("log")
    ax.set_xlabel(r"$-\log L$" if call == "log_loss_flow" else "time $t$")


def powers(ax: Axes, label: str) -> None:
    """Mark an axis of decimal logarithms by powers of ten: these may be far below all floats."""
    low, high = ax.get_ylim()
    if high - low < 2:  # a panel of rounding errors would tell nothing
        ax.set_ylim((low + high) / 2 - 1, (low + high) / 2 + 1)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(lambda value, _: rf"$10^{{{value:g}}}$")
    ax.set_ylabel(label)
