"""BibTeX of the papers whose statements are claims."""

import re

import pytest
from typer.testing import CliRunner

from jaxflow import cli
from jaxflow.claims import catalogue
from jaxflow.cli.cite import bibliography

PAPERS = sorted({name.split(".")[0] for name in catalogue()})


def call(*arguments):
    return CliRunner().invoke(cli.app, ["cite", *arguments])


@pytest.mark.parametrize("paper", PAPERS)
def test_every_paper_has_an_entry(paper):
    result = call(paper)
    assert result.exit_code == 0
    assert result.stdout.startswith("@")
    assert f"{{{paper}," in result.stdout


@pytest.mark.parametrize("key", bibliography())
def test_an_entry_is_whole_and_belongs_to_a_paper(key):
    entry = bibliography()[key]
    assert key.split("-")[0] in PAPERS
    assert entry.count("{") == entry.count("}")
    for field in ("title", "author"):
        assert re.search(rf"^  {field} +=", entry, re.MULTILINE)
    if key != "discretization":  # derived: it appeared in no year
        assert re.search(r"^  year +=", entry, re.MULTILINE)


def test_the_citations_of_the_claims_name_the_year_of_the_entry():
    for name, claim in catalogue().items():
        entry = bibliography()[name.split(".")[0]]
        said = re.search(r"\(([A-Za-z ]+)?,? ?(\d{4})\)", claim.source)
        if said:
            assert said[2] in entry


def test_a_claim_cites_its_paper_and_what_else_it_goes_back_to():
    assert call("min2021.rate").stdout == call("min2021").stdout
    assert set(re.findall(r"^@\w+{(.+),", call("min2021.rate").stdout, re.MULTILINE)) == {
        "min2021",
        "min2021-v2",
    }


def test_each_paper_is_printed_once():
    found = call("saxe2014.modes", "saxe2014", "hu2020").stdout
    assert re.findall(r"^@\w+{(.+),", found, re.MULTILINE) == ["saxe2014", "hu2020"]


@pytest.mark.parametrize(
    ("name", "word"),
    [("nothing", "saxe2014"), ("saxe2014.nothing", "saxe2014.modes"), ("", "saxe2014")],
)
def test_an_unknown_id_gets_one_sentence(name, word):
    result = call(name)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("error: No ")
    assert word in result.stderr
    assert result.stderr.strip().endswith(".")
