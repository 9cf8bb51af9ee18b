"""The page of verdicts and the panel in the terminal: what a reader sees first."""

import dataclasses
import re

import pytest
from rich.console import Console

from jaxflow.claims import Verdict
from jaxflow.report.report import mathml, write_report
from jaxflow.report.tables import verdict_panel

VERDICT = Verdict(
    id="own.claim",
    source="Someone (1999)",
    provenance="read",
    statement="x <= y",
    preset="quick",
    holds=True,
    expected=True,
    reason="no violation in 8",
    measured={},
    predicted={},
    uncertainty=0.0,
    slack=0.1,
    trajectories=8,
    vacuous=0,
    failed=0,
    seconds=1.0,
)
RECORD = {
    "settings": {"preset": "quick"},
    "versions": {"jaxflow": "0.1.0"},
    "system": "",
    "machine": "",
    "cpus": 1,
    "backend": "cpu",
}


def page(tmp_path, **changes):
    path = tmp_path / "index.html"
    write_report(path, [dataclasses.replace(VERDICT, **changes)], RECORD)
    return path.read_text()


def terminal(**changes):
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(verdict_panel(dataclasses.replace(VERDICT, **changes)))
    return captured.get()


@pytest.mark.parametrize(
    ("provenance", "word"), [("second-hand", "second-hand"), ("memory", "from memory")]
)
def test_what_was_not_read_is_marked_in_the_first_line(tmp_path, provenance, word):
    text = page(tmp_path, provenance=provenance)
    (heading,) = re.findall(r"<h2>own\.claim.*</h2>", text)
    assert word in heading
    assert re.search(rf'href="#own.claim">own.claim</a> <span class="mark">\({provenance}', text)
    assert word in terminal(provenance=provenance).splitlines()[0]


@pytest.mark.parametrize("provenance", ["read", "derived"])
def test_what_was_read_or_derived_has_no_mark_but_says_so_with_its_source(tmp_path, provenance):
    text = page(tmp_path, provenance=provenance)
    assert 'class="mark"' not in text
    assert f"Someone (1999) ({provenance})" in text
    found = terminal(provenance=provenance)
    assert "read" not in found.splitlines()[0]
    assert f"Someone (1999) ({provenance})" in found


def test_a_statement_is_typeset_beside_its_symbols(tmp_path):
    text = page(tmp_path, latex=r"x \le \frac{1}{2} y")
    assert "<mfrac>" in text
    assert r"<code>x \le \frac{1}{2} y</code>" in text
    assert "x &lt;= y" in text
    assert "<math" not in page(tmp_path)


@pytest.mark.parametrize("latex", [r"\frac{", r"\text{<script>alert(1)</script>} < x", "a & b"])
def test_what_is_no_latex_breaks_nothing(tmp_path, latex):
    text = page(tmp_path, latex=latex)
    assert "<script" not in text
    assert "own.claim" in text


def test_less_and_greater_are_operators():
    assert "&#x0003C;" in mathml("a < b")
    assert "&#x0003E;" in mathml("a > b")
