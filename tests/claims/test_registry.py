"""Every claim is whole, and can be found by every name that it has."""

import types

import pytest

from jaxflow.claims import PRESETS, Claim, catalogue, find, registry
from jaxflow.sweeps import Sweep

CLAIM = """
from jaxflow.claims import Claim


class Own(Claim):
    id = "own.claim"
    source, provenance, hypotheses = "me", "derived", "none"
    statement = "x <= x"
    mutant = control = None

    def setting(self, preset):
        return preset

    def evaluate(self, sweep, progress=None):
        return sweep

    def decide(self, evidence):
        return None, "no reason"
"""

each = pytest.mark.parametrize("claim", [pytest.param(c, id=i) for i, c in catalogue().items()])


@each
def test_a_claim_says_what_it_is(claim):
    assert isinstance(claim, Claim)
    for text in (claim.id, claim.source, claim.statement, claim.hypotheses):
        assert isinstance(text, str)
        assert text.strip() == text != ""
    assert claim.provenance in {"read", "derived", "second-hand", "memory"}
    assert claim.expected in (True, False, None)
    assert type(claim).__doc__


@each
def test_a_claim_has_a_mutant_and_a_control_of_the_same_kind(claim):
    for variant in (claim.mutant, claim.control):
        assert isinstance(variant, Claim)
        assert variant.statement
    assert claim.mutant.statement != claim.control.statement
    assert claim.mutant.statement != claim.statement
    assert type(claim.mutant).decide is type(claim.control).decide is type(claim).decide


@each
def test_a_claim_plans_every_preset_without_running_it(claim):
    settings = [claim.setting(preset) for preset in PRESETS]
    assert len({type(setting) for setting in settings}) == 1
    if isinstance(settings[0], Sweep):
        work = [sweep.trajectories * sweep.cells[0].data.samples for sweep in settings]
        assert work == sorted(work)


def test_the_catalogue_is_keyed_by_id():
    assert catalogue()
    assert all(claim.id == key for key, claim in catalogue().items())
    assert "min2021.rate" in catalogue()


def test_find_by_id_and_by_paper():
    (found,) = find("min2021.rate")
    assert found is catalogue()["min2021.rate"]
    assert found in find("min2021")
    assert {claim.id for claim in find("min2021")} == {
        key for key in catalogue() if key.startswith("min2021.")
    }


@pytest.mark.parametrize("name", ["min20", "min2021.", "rate", "", "MIN2021", "min2021.rate.x"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"min2021\.rate"):
        find(name)


def test_find_in_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(CLAIM + "\n\nCLAIMS = (Own(), Own())\n")
    found = find(str(path))
    assert [claim.id for claim in found] == ["own.claim", "own.claim"]
    assert "own.claim" not in catalogue()


def test_a_file_may_hold_modules_and_dataclasses_with_postponed_annotations(tmp_path):
    path = tmp_path / "mine.py"
    head = "from __future__ import annotations\n"
    law = "import equinox as eqx\n\n\nclass Law(eqx.Module):\n    size: float = 1.0\n"
    path.write_text(head + law + CLAIM + "\n\nCLAIMS = (Own(),)\n")
    assert len(find(str(path))) == 1


@pytest.mark.parametrize("text", ["", "CLAIMS = ()\n", "claims = (1,)\n"])
def test_a_file_without_claims_is_refused(tmp_path, text):
    path = tmp_path / "empty.py"
    path.write_text(text)
    with pytest.raises(ValueError, match="CLAIMS"):
        find(str(path))


@pytest.mark.parametrize("text", ["CLAIMS = (3,)\n", CLAIM + "\n\nCLAIMS = (Own,)\n"])
def test_a_file_that_lists_something_else_is_refused(tmp_path, text):
    path = tmp_path / "wrong.py"
    path.write_text(text)
    with pytest.raises(ValueError, match="CLAIMS"):
        find(str(path))


@pytest.mark.parametrize("text", ["def f(:\n", "import no_such_package_anywhere\n"])
def test_a_file_that_does_not_import_is_refused(tmp_path, text):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"broken\.py"):
        find(str(path))


@pytest.mark.parametrize("name", ["gone.py", "."])
def test_a_missing_file_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="no file"):
        find(str(tmp_path / name / "x.py"))


def test_an_installed_package_adds_claims(monkeypatch):
    namespace = {}
    exec(CLAIM, namespace)
    claim = namespace["Own"]()
    module = types.ModuleType("elsewhere")
    module.CLAIMS = (claim,)
    point = types.SimpleNamespace(load=lambda: module)
    asked = []
    monkeypatch.setattr(
        registry.metadata, "entry_points", lambda *, group: asked.append(group) or [point]
    )
    monkeypatch.setattr(registry, "catalogue", registry.catalogue.__wrapped__)
    assert registry.find("own") == [claim]
    assert set(asked) == {"jaxflow.claims"}
