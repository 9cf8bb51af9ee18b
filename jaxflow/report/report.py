"""The verdicts as one self-contained page of HTML, without scripts."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from latex2mathml import converter

from ..claims import Verdict
from ..machine.arguments import instance
from ..machine.files import atomic_write
from .style import style
from .tables import NOT_READ, WORDS, expectation, fineness, outcome, plural, variants
from .verdict import verdict_figure

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def write_report(
    path: str | os.PathLike[str], verdicts: Sequence[Verdict], record: dict[str, Any]
) -> None:
    """Write the page; it appears complete or not at all.

    **Arguments:** the `path` of the page, the `verdicts`, and the `record` of versions and settings
    that is also written to the JSON.
    """
    for verdict in instance("verdicts", verdicts, Sequence, "a list of verdicts"):
        instance("verdicts", verdict, Verdict, "a list of verdicts")
    needed = {"settings", "versions", "system", "machine", "cpus", "backend"}
    lacking = needed - set(instance("record", record, dict, "a dictionary"))
    if lacking:
        raise ValueError(f"record must say what was run: it lacks {', '.join(sorted(lacking))}.")
    page = _PAGES.get_template("report.html.j2").render(
        verdicts=[(verdict, _svg(verdict)) for verdict in sorted(verdicts, key=_order)],
        record=record,
        good=sum(verdict.as_expected for verdict in verdicts),
        number=number,
        word=WORDS,
        not_read=NOT_READ,
        mathml=mathml,
        table=table,
        plural=plural,
        expectation=expectation,
        outcome=outcome,
        variants=variants,
        fineness=fineness,
        told_from=told_from,
    )
    with atomic_write(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _order(verdict: Verdict) -> tuple[bool, str]:
    # Verdicts that surprise come first.
    return verdict.as_expected, verdict.id


def number(value: Any) -> str:
    """A value, formatted for a person."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(number(v) for v in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values, formatted for a person."""
    return [(name.replace("_", " "), number(value)) for name, value in values.items()]


def told_from(verdict: Verdict) -> str:
    """How near the nearest statement is that the evidence tells from the claim, in short."""
    fine = verdict.resolution
    if fine is None:
        return ""
    if fine.by != "factor":
        return f"{fine.change:+.2g}"
    small = abs(fine.change) < 0.5
    return f"{100 * fine.change:+.2g}%" if small else f"x {fine.edge / fine.value:.3g}"


def mathml(latex: str) -> str:
    """LaTeX as MathML, which browsers typeset by themselves; empty if it cannot be understood."""
    latex = latex.replace("<", r"\lt ").replace(">", r"\gt ")  # never taken for tags of the page
    try:
        return converter.convert(latex, display="block")
    except Exception:  # of many kinds, by what is wrong with the text
        return ""


def _svg(verdict: Verdict) -> str:
    figure = verdict_figure(verdict)
    if figure is None:
        return ""
    buffer = io.StringIO()
    # Letters stay text, and ids follow from the claim, so that equal verdicts make equal pages.
    rc: Any = {"svg.fonttype": "none", "svg.hashsalt": verdict.id}
    with style(), mpl.rc_context(rc):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
