"""One style for all figures, with colours for colour-blind readers and for print."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ..machine.arguments import instance, integer
from ..machine.files import atomic_write

INK, MUTED, ACCENT = "#1a1a1a", "#6b6b6b", "#c1440e"

STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "figure.dpi": 110,
    "savefig.dpi": 180,
    "savefig.bbox": "tight",
}


@contextmanager
def style() -> Iterator[None]:
    """A context in which figures have the style of this package."""
    rc: Any = STYLE
    with mpl.rc_context(rc):
        yield


def ramp(count: int) -> list[Any]:
    """`count` colours from dark to light, which stay distinct in grey and for the colour-blind."""
    return list(
        mpl.colormaps["viridis"](np.linspace(0.05, 0.85, max(integer("count", count, 0), 1)))
    )


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure, which appears complete or not at all; the suffix chooses the format."""
    instance("figure", figure, Figure, "a figure of matplotlib")
    instance("path", path, str | os.PathLike, "a path")
    with atomic_write(path) as partial:
        figure.savefig(partial)
