"""Every claim is whole, and can be found by every name that it has."""

import types

import pytest

from jaxflow.claims import PRESETS, Claim, catalogue, find, registry
from jaxflow.sweeps import Sweep

CLAIM = """
import numpy as np
from jaxflow.claims import Evidence, Paper, presets

own = Paper("own", "me", provenance="derived")


@own.claim("x <= {factor:times}x", settings=presets(quick=1, paper=2, large=3))
def claim(x, factor=1.0) -> Evidence:
    return Evidence(np.array([factor - 1.0]))
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


@each
def test_a_claim_has_a_mutant_judged_by_the_same_check_and_no_control_that_is_the_claim(claim):
    # Found by moving a number, or given.
    assert claim.moves is not None or claim.mutant is not None
    if claim.mutant is not None:
        assert claim.mutant.judge is claim.judge
        assert claim.mutant.arguments != claim.arguments
        assert claim.mutant.statement not in ("", claim.statement)
    if claim.control is not None:
        assert claim.control.judge is claim.judge
        assert claim.mutant is None or claim.control.statement != claim.mutant.statement
        # The claim itself is a control only elsewhere: where its statement is attained.
        assert claim.control.arguments != claim.arguments or claim.tight is not None


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
    again = CLAIM.partition("\n\n\n")[2].replace("def claim", "def other")
    path.write_text(CLAIM + "\n\n" + again)
    found = find(str(path))
    assert [claim.id for claim in found] == ["own.claim", "own.other"]
    assert found[0].statement == "x <= x"
    assert "own.claim" not in catalogue()


def test_a_file_may_name_a_claim_made_without_a_paper(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from jaxflow.claims import Claim, Evidence\n"
        "bare = Claim('bare', 'x', lambda x: Evidence(x), str, 'me', 'derived')\n"
    )
    assert [claim.id for claim in find(str(path))] == ["bare"]


def test_a_file_may_hold_modules_and_dataclasses_with_postponed_annotations(tmp_path):
    path = tmp_path / "mine.py"
    head = "from __future__ import annotations\n"
    law = "import equinox as eqx\n\n\nclass Law(eqx.Module):\n    size: float = 1.0\n"
    path.write_text(head + law + CLAIM)
    assert len(find(str(path))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "claims = (1,)\n",
        "from jaxflow.claims import Claim\n",
        CLAIM.partition("\n\n\n")[0] + "\n",  # a paper of no claims
    ],
)
def test_a_file_without_claims_is_refused(tmp_path, text):
    path = tmp_path / "empty.py"
    path.write_text(text)
    with pytest.raises(ValueError, match="defines no claims"):
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
    module = types.ModuleType("elsewhere")
    exec(CLAIM, vars(module))
    (claim,) = module.own.claims
    point = types.SimpleNamespace(load=lambda: module)
    asked = []
    monkeypatch.setattr(
        registry.metadata, "entry_points", lambda *, group: asked.append(group) or [point]
    )
    monkeypatch.setattr(registry, "catalogue", registry.catalogue.__wrapped__)
    assert registry.find("own") == [claim]
    assert set(asked) == {"jaxflow.claims"}
