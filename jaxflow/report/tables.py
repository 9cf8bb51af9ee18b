"""Terminal tables: a sweep by width, an exponent, a verdict."""

import math

import numpy as np
import xarray as xr
from rich import box
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from ..claims import Verdict
from ..sweeps.summary import Exponent, WidthRow

LEGEND = """\
bound     2 lambda_r c, the rate that the theorem guarantees
rate      the rate measured, over the second half of the time
slack     decay over the decay promised, minus 1, at its tightest; < 0: crossed
within    share of trajectories that stay under the bound
off span  ||U2 V^T||, distance of the limit from the min-norm solution
law       the same for wide networks, root mean square
in span   ||U1 V^T - Sigma^(-1/2) W^T Y||, what is left to learn
"""


def width_table(rows: list[WidthRow]) -> Table:
    """The table of a sweep, one row a width."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns = ("width", "c", "bound", "rate", "slack", "within", "off span", "law", "in span")
    lines = [columns]
    for row in rows:
        line = (
            f"{row.width:,}",
            f"{row.c:.3f}",
            f"{row.bound_rate:.3f}",
            f"{row.measured_rate:.3f}",
            f"{row.slack:.3f}",
            "-" if math.isnan(row.within) else f"{100 * row.within:.4g}%",
            concise(row.off_span, row.off_span_error),
            "-" if row.law is None else f"{row.law:.3g}",
            f"{row.in_span:.0e}",
        )
        lines.append(line)
    for heading, cells in zip(columns, zip(*lines, strict=True), strict=True):
        # A number cut short is a wrong number: rather a line too long.
        table.add_column(heading, justify="right", no_wrap=True, min_width=max(map(len, cells)))
    for line in lines[1:]:
        table.add_row(*line)
    return table


def concise(value: float, error: float) -> str:
    """A value with the uncertainty of its last digits, 3.023(8)."""
    if not error > 0 or max(abs(value), error) < 1e-6:
        return f"{value:.2g}"
    digits = max(0, -math.floor(math.log10(error)))
    return f"{value:.{digits}f}({round(error * 10**digits)})"


def verdict_panel(verdict: Verdict) -> Panel:
    """A verdict as a person reads it."""
    word, colour = {
        True: ("HOLDS", "green"),
        False: ("FALSE", "red"),
        None: ("UNDECIDED", "yellow"),
    }[verdict.holds]
    lines = [
        f"[bold]{escape(verdict.statement)}[/]",
        f"[bold {colour}]{word}[/]: {escape(verdict.reason)}",
    ]
    for name, variant, wanted in (
        ("mutant", verdict.mutant, False),
        ("control", verdict.control, True),
    ):
        if variant is not None:
            found = variant["holds"]
            fine = "as it must" if found is wanted else f"[red]it must be {wanted}[/]"
            lines.append(f"{name} ({escape(variant['statement'])}): {found}, {fine}")
    if verdict.vacuous:
        lines.append(f"{verdict.vacuous} trajectories had a vacuous bound and are not evidence")
    title = escape(f"{verdict.id}  -  {verdict.source}")
    return Panel("\n".join(lines), title=title, title_align="left", border_style=colour)


def exponent_line(fit: Exponent | None, why: str, dataset: xr.Dataset) -> str:
    """The exponent of the off-span distance in one sentence, or why there is none."""
    if fit is None:
        return f"off-span distance: no fit, {why}\n"
    line = (
        f"off-span distance ~ h^{fit.slope:.3f}, 95% interval [{fit.low:.3f}, {fit.high:.3f}]; "
        "the theorem's exponent at alpha = 1/2 is -1/2"
    )
    law = dataset["off_span_law"].values
    if np.all(law > 0):
        x = np.log(dataset["width"].values)
        line += f", the law's slope at these widths {np.polyfit(x, np.log(law), 1)[0]:.3f}"
    return line + "\n"
