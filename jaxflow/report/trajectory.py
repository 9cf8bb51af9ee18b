"""The figure of one flow or descent."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..machine.arguments import shown
from .panels import FEW, panels, powers, time_axis
from .style import ramp, style


def trajectory(solution: Any, *, title: str | None = None) -> Figure:
    """The figure of one flow or descent: the excess loss, and its measures, against time.

    **Arguments:** a `solution` of `gradient_flow` or `gradient_descent`, or of many trajectories
    under `vmap`; a `title`. Drawn are the measures with one value per saved time, and, as one curve
    per entry, those with an array per saved time.

    **Returns:** a matplotlib figure.

    **Example:** `jf.plotting.trajectory(solution).savefig("flow.png")`.
    """
    if not hasattr(solution, "log_excess"):
        raise ValueError(
            f"solution must be what gradient_flow or gradient_descent returns, got "
            f"{shown(solution)}."
        )
    ts, log = np.asarray(solution.ts), np.asarray(solution.log_excess)
    batch = ts.ndim - 1
    curves = {"": log / math.log(10)}
    for name, value in solution.measures.items():
        value = np.asarray(value)
        along = value.shape[: batch + 1] == ts.shape and value.dtype.kind in "biuf"
        if along and name not in ("t", "log_excess"):  # these are the axes already
            curves[name] = value
    with style():
        figure, drawn = panels(len(curves))
        for ax, (name, value) in zip(drawn, curves.items(), strict=True):
            lines = value.reshape(-1, ts.shape[-1], math.prod(value.shape[batch + 1 :]))
            many = lines.shape[0] * lines.shape[2]
            colours = ramp(many) if many <= FEW else many * [ramp(1)[0]]
            entries = [(i, j) for i in range(lines.shape[0]) for j in range(lines.shape[2])]
            for (i, j), colour in zip(entries, colours, strict=True):
                t = ts.reshape(-1, ts.shape[-1])[i]
                alpha = 1.0 if many <= FEW else max(0.08, 10 / many)
                ax.plot(t, lines[i, :, j], color=colour, alpha=min(alpha, 1.0))
            time_axis(ax, ts, solution.call.name)
            if name:
                ax.set_ylabel(name)
            else:
                powers(ax, "excess loss  $L - L^*$")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure
