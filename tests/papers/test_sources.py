"""What is said of where statements stand: places that were read, in words and typeset."""

import re
import xml.etree.ElementTree as ET

import pytest

from jaxflow.claims import catalogue
from jaxflow.report.report import mathml

CLAIMS = catalogue()
each = pytest.mark.parametrize("claim", [pytest.param(c, id=i) for i, c in CLAIMS.items()])
NUMBERED = re.compile(
    r"(theorem|proposition|lemma|corollary|definition|claim|equation|figure|table|remark|section)s?"
    r" [A-Z]?\.?\d"
)
ELSEWHERE = r"as quoted in .*"  # a place in another paper, which was read


@each
def test_a_number_is_named_only_of_what_was_read(claim):
    if claim.provenance in ("second-hand", "memory"):
        place = re.sub(ELSEWHERE, "", claim.source)
        assert not NUMBERED.search(place)
        assert not re.search(r", \(\d+\)", place)
        assert not NUMBERED.search(claim.statement)


@each
def test_a_statement_is_typeset(claim):
    latex = claim.typeset
    assert latex == latex.strip() != ""
    assert latex.count("{") == latex.count("}")
    assert len(re.findall(r"\\left\b", latex)) == len(re.findall(r"\\right\b", latex))
    tree = ET.fromstring(mathml(latex))
    # A command that was not understood would be shown as it is.
    assert not [e.text for e in tree.iter() if e.text and "\\" in e.text]


def test_families_are_typeset_one_by_one():
    for family in ("min2021.exponent_alpha_", "wind2023.exponent_depth_", "cohen2025."):
        found = [c.typeset for name, c in CLAIMS.items() if name.startswith(family)]
        assert len(found) == len(set(found)) > 2
