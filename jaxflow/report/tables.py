"""Terminal output: the tables of sweeps, an exponent, a verdict."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import xarray as xr
from rich import box
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from ..claims import Verdict
from ..data import Regression
from ..sweeps.grid import Cell, Statistics
from ..sweeps.power_law import Exponent, line as fitted_line
from ..sweeps.summary import WidthRow

LEGEND = """\
c         [lambda_r(Lambda)]_+ + [lambda_m(-Lambda)]_+ of the imbalance Lambda
bound     2 lambda_r c, the rate of decay of L - L* that the theorem guarantees
rate      the measured rate, over the second half of the time
slack     decay of log(L - L*) over the guaranteed one, minus 1, where it is
          smallest; negative where the bound is broken
within    share of trajectories that stay under the bound
off span  ||U2 V^T||, distance of the limit from the min-norm solution
law       the same as predicted for wide networks (root mean square)
in span   ||U1 V^T - Sigma^(-1/2) W^T Y||, what is left to learn

c, bound, rate and distances are means over seeds; 3.02(8) means 3.02 +- 0.08.
"""
GRID_LEGEND = """\
steps, t_end  medians over seeds: number of steps, and time at the end
left          (L - L*)(t_end) / (L - L*)(0), the median over seeds
"""
MEASURES_LEGEND = """\
The other columns are measures: means over seeds; 3.02(8) means 3.02 +- 0.08.
"""
WORDS = {True: "holds", False: "refuted", None: "undecided"}
COLOURS = {True: "green", False: "red", None: "yellow"}
NOT_READ = {  # said beside the id, before anything else
    "second-hand": "second-hand: the paper itself was not read",
    "memory": "from memory: the paper itself was not read",
}


def plural(count: int, things: str) -> str:
    """A count with its noun, given in the plural: "1 network", "2,000 networks"."""
    if count == 1:
        things = things[:-3] + "y" if things.endswith("ies") else things.removesuffix("s")
    return f"{count:,} {things}"


def problem_line(name: str, data: Regression) -> str:
    """A data set in one line."""
    return (
        f"[bold]{escape(name)}[/]: {plural(data.samples, 'samples')}, "
        f"{plural(data.features, 'features')}, {plural(data.outputs, 'targets')}; "
        f"rank {data.rank}, condition of X^T X {float(data.condition):.3g}, "
        f"optimal loss {float(data.optimal_loss):.3g}"
    )


def width_table(rows: list[WidthRow]) -> Table:
    """The table of a sweep, one row per width."""
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
        # A line may be too long, but a number that is cut short is a wrong number.
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
    colour = COLOURS[verdict.holds]
    word = f"[bold {colour}]{WORDS[verdict.holds].upper()}[/]"
    if verdict.holds is not verdict.expected:
        word += f" [red]({expectation(verdict)})[/]"
    elif not verdict.expected:
        word += ", as expected"
    lines = [
        f"[bold]{escape(verdict.statement)}[/]",
        f"[dim]{escape(verdict.source)} ({escape(verdict.provenance)})[/]",
        f"{word}: {escape(verdict.reason)}",
    ]
    if verdict.certificate is not None:
        lines.append("proved to be false by ball arithmetic: see the certificate")
    lines += [f"how fine: {escape(said)}" for said in fineness(verdict)]
    for name, variant, wanted in variants(verdict):
        said = outcome(variant, wanted)
        said = said if variant["holds"] is wanted else f"[red]{said}[/]"
        lines.append(f"{name}: {escape(variant['statement'])}: {said}")
    if verdict.vacuous:
        lines.append(
            f"no evidence, since the bound promises next to nothing there: "
            f"{plural(verdict.vacuous, verdict.trials)}"
        )
    title = escape(verdict.id)
    if verdict.provenance in NOT_READ:
        title += f" [yellow]({NOT_READ[verdict.provenance]})[/]"
    return Panel("\n".join(lines), title=title, title_align="left", border_style=colour)


def fineness(verdict: Verdict) -> list[str]:
    """How wrong the statement would have to be before the evidence told it, in words."""
    found = [fine for fine in (verdict.resolution, verdict.room) if fine is not None]
    return [fine.words(verdict.holds is True) for fine in found]


def variants(verdict: Verdict) -> list[tuple[str, dict[str, Any], bool]]:
    """The mutant and the control, where there are any, with what `holds` should be for them."""
    both = ("mutant", verdict.mutant, False), ("control", verdict.control, True)
    return [(name, variant, wanted) for name, variant, wanted in both if variant is not None]


def outcome(variant: dict[str, Any], wanted: bool) -> str:
    """What came out for a mutant or a control, in words."""
    should = "hold" if wanted else "be refuted"
    if variant["holds"] is wanted:
        return f"{WORDS[wanted]}, as it should{'' if wanted else ' be'}"
    able = "pass" if wanted else "fail"
    return f"{WORDS[variant['holds']]}, but it should {should}: the check cannot {able}"


def expectation(verdict: Verdict, who: str = "") -> str:
    """What a verdict was expected to be, in words; `who` expected it."""
    words = {True: "to hold", False: "to be refuted", None: "to be undecided"}[verdict.expected]
    return f"{who} expected it {words}" if who else f"expected {words}"


def summary_line(verdicts: Sequence[Verdict], seconds: float, own: Collection[str] = ()) -> str:
    """The outcome of many verdicts in a line, and those that surprise; `own` are a user's ids."""
    good = sum(verdict.as_expected for verdict in verdicts)
    lines = [f"{good:,} of {plural(len(verdicts), 'claims')} as expected, in {seconds:.0f} s"]
    if good < len(verdicts) == 1:
        lines = []
    for verdict in verdicts:
        if verdict.as_expected:
            continue
        outcome = WORDS[verdict.holds]
        if verdict.holds is not verdict.expected:
            outcome += f" ({expectation(verdict, 'you' if verdict.id in own else '')})"
        if not verdict.sound:
            outcome += ", but its check is unsound: see its mutant and control"
        lines.append(f"{escape(verdict.id)}: {outcome}")
    return "\n".join(lines)


def exponent_line(fit: Exponent | None, why: str, dataset: xr.Dataset) -> str:
    """The exponent of the off-span distance in one sentence, or why there is none."""
    if fit is None:
        return f"off-span distance: no power law in the width is fitted: {why}\n"
    text = (
        f"off-span distance ~ h^{fit.slope:.3f}, 95% interval [{fit.low:.3f}, {fit.high:.3f}], h "
        "the width; the theorem's exponent at alpha = 1/2 is -1/2"
    )
    law = dataset["off_span_law"].values
    if np.all(law > 0):
        slope = fitted_line(np.log(dataset["width"].values), np.log(law)).slope
        text += f", the wide-network law's at these widths {slope:.3f}"
    return text + "\n"


def grid_tables(rows: Sequence[Cell], width: int) -> list[Table]:
    """The table of a sweep, one row per point of the grid.

    If it is wider than `width` characters, further tables continue it with the measures that are
    left.
    """
    first = list(rows[0].coordinates)
    columns = {name: [label(row.coordinates[name]) for row in rows] for name in first}
    columns |= {
        "ended": [_ended(row) for row in rows],
        "steps": [_number(row.steps.median) for row in rows],
        "t_end": [_number(row.t_end.median) for row in rows],
        "left": [from_log(row.log_fall.median) for row in rows],
    }
    for name in rows[0].measures:
        columns[name] = [_mean(row.measures[name]) for row in rows]
    wide = {name: max(map(len, (name, *cells))) + 3 for name, cells in columns.items()}
    parts, room = [list(first)], width - sum(wide[name] for name in first)
    for name in [name for name in columns if name not in first]:
        if wide[name] > room and len(parts[-1]) > len(first):
            parts.append(list(first))
            room = width - sum(wide[name] for name in first)
        parts[-1].append(name)
        room -= wide[name]
    tables = []
    for names in parts:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in names:
            # A number that is cut short is a wrong number.
            table.add_column(name, justify="right", no_wrap=True, min_width=wide[name] - 3)
        for line in zip(*(columns[name] for name in names), strict=True):
            table.add_row(*line)
        tables.append(table)
    return tables


def from_log(log: float) -> str:
    """A positive number as text, from its logarithm: it may be far below the least float."""
    if not math.isfinite(log):
        return "0" if log == -math.inf else "-"
    power = math.floor(log / math.log(10))
    digits = f"{math.exp(log - power * math.log(10)):.1f}"
    if digits == "10.0":
        digits, power = "1.0", power + 1
    return f"{digits}e{power:+03d}"


def _ended(row: Cell) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in row.ended.items())


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e9 else f"{value:.4g}"


def _mean(found: Statistics) -> str:
    if not found.count:
        return "-"
    small = not found.error > 0 or not 1e-4 <= max(abs(found.mean), found.error) < 1e6
    return f"{found.mean:.4g}" if small else concise(found.mean, found.error)


def label(value: Any) -> str:
    """A coordinate of the grid as text."""
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
