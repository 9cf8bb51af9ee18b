"""The whole catalogue comes out as it says, and so does a claim of one's own."""

import dataclasses
import json

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import xarray as xr
from jaxflow.claims.decide import universal
from typer.testing import CliRunner

import jaxflow as jf
from jaxflow import cli
from jaxflow.claims import Evidence, Verdict, catalogue

KEYS = {
    "id", "source", "provenance", "statement", "preset", "holds", "expected", "reason", "measured",
    "predicted", "uncertainty", "slack", "trajectories", "vacuous", "failed", "seconds", "mutant",
    "control", "hypotheses", "trials", "slacks", "interval", "margin",
}  # fmt: skip


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify") / "out.json"
    # One paper's first claim: the whole catalogue is in test_catalogue.py.
    options = ["--preset", "quick", "--json", str(path)]
    result = CliRunner().invoke(cli.app, ["verify", "min2021.rate", *options])
    return result, json.loads(path.read_text())


def test_a_claim_comes_out_as_expected_by_checks_that_can_fail_and_pass(record):
    result, found = record
    assert [v["id"] for v in found["verdicts"]] == ["min2021.rate"]
    for verdict in found["verdicts"]:
        assert verdict["holds"] is verdict["expected"], verdict["reason"]
        assert verdict["expected"] is catalogue()[verdict["id"]].expected
        assert verdict["mutant"]["holds"] is False, verdict["mutant"]
        assert verdict["control"]["holds"] is True, verdict["control"]
    assert result.exit_code == 0
    assert result.stderr == ""


def test_the_record_has_every_key_and_plausible_numbers(record):
    _, found = record
    assert {"versions", "settings", "verdicts"} <= set(found)
    assert found["versions"]["jax"]
    assert found["settings"] == {"preset": "quick", "claims": ["min2021.rate"]}
    for verdict in found["verdicts"]:
        assert set(verdict) == KEYS
        assert verdict["preset"] == "quick"
        assert verdict["trajectories"] > verdict["vacuous"] + verdict["failed"]
        assert verdict["seconds"] > 0
        assert verdict["uncertainty"] >= 0
        assert {"statement", "holds"} <= set(verdict["mutant"]) & set(verdict["control"])


def test_the_panel_shows_each_claim_whole(record):
    result, found = record
    shown = " ".join(result.stdout.replace("│", " ").split())
    for verdict in found["verdicts"]:
        assert verdict["statement"] in shown
        assert "HOLDS" in shown


@pytest.mark.parametrize("preset", ["", "Quick", "huge"])
def test_an_unknown_preset_is_refused(preset):
    with pytest.raises(ValueError, match="quick, paper, large"):
        jf.verify("min2021.rate", preset=preset)


def test_an_unknown_claim_is_refused():
    with pytest.raises(ValueError, match=r"min2021\.rate"):
        jf.verify("min2022.rate")


VERDICT = Verdict(
    id="a.b",
    source="s",
    provenance="derived",
    statement="x",
    preset="quick",
    holds=True,
    expected=True,
    reason="r",
    measured={"nan": float("nan"), "array": np.array([1.0, np.inf]), "count": np.int64(3)},
    predicted={"deep": [{"x": -np.inf}], "flag": np.bool_(True), "pair": (1, np.nan)},
    uncertainty=float("inf"),
    slack=np.float64("nan"),
    trajectories=4,
    vacuous=0,
    failed=0,
    seconds=0.5,
    mutant={"statement": "y", "holds": False},
    control={"statement": "z", "holds": True},
)


def test_json_has_null_for_what_is_not_finite_and_survives_a_round_trip():
    plain = VERDICT.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert set(plain) == KEYS
    assert plain["measured"] == {"nan": None, "array": [1.0, None], "count": 3}
    assert plain["predicted"] == {"deep": [{"x": None}], "flag": True, "pair": [1, None]}
    assert plain["uncertainty"] is plain["slack"] is None
    assert plain["holds"] is True


def test_json_takes_jax_arrays():
    verdict = dataclasses.replace(VERDICT, measured={"x": jnp.asarray([1.0, jnp.nan])})
    assert verdict.to_json()["measured"] == {"x": [1.0, None]}


@pytest.mark.parametrize(
    ("changes", "sound", "as_expected"),
    [
        ({}, True, True),
        ({"holds": False}, True, False),
        ({"holds": None}, True, False),
        ({"holds": False, "expected": False}, True, True),
        ({"mutant": {"statement": "y", "holds": None}}, False, False),
        ({"mutant": {"statement": "y", "holds": True}}, False, False),
        ({"control": {"statement": "z", "holds": None}}, False, False),
        ({"control": {"statement": "z", "holds": False}}, False, False),
    ],
)
def test_a_verdict_is_as_expected_only_by_a_sound_check(changes, sound, as_expected):
    verdict = dataclasses.replace(VERDICT, **changes)
    assert verdict.sound is sound
    assert verdict.as_expected is as_expected


class Decay(jf.Claim):
    """The excess loss falls to `ratio` of its start by time 1."""

    id, source, provenance = "mine.decay", "own", "derived"
    hypotheses = "none"

    def __init__(self, ratio):
        self.ratio = ratio

    @property
    def statement(self):
        return f"L(1) - L* <= {self.ratio} (L(0) - L*)"

    def setting(self, preset):
        data = jf.data.gaussian(jr.key(1), 4, 8, 1)
        return jf.Sweep(data, jf.init.Gaussian(), widths=[6], seeds=4, t1=1.0)

    def evaluate(self, sweep, progress=None):
        dataset = jf.run(sweep, progress=progress)
        drop = (dataset["log_excess_end"] - dataset["log_excess_start"]).values.ravel()
        everywhere = np.ones(drop.shape, bool)
        failed = dataset["status"].values.ravel() > 1
        slack = np.log(self.ratio) - drop
        return Evidence(
            slack, everywhere, ~everywhere, failed, 0.0, {"drop": drop}, {"slack": ">= 0"}, dataset
        )

    def decide(self, evidence):
        return universal(evidence)

    @property
    def mutant(self):
        return Decay(1e-100)

    @property
    def control(self):
        return Decay(1.0)


def test_a_claim_of_ones_own_end_to_end():
    calls = []
    verdict = jf.verify(Decay(0.999), progress=lambda done, total: calls.append((done, total)))
    assert verdict.holds is True, verdict.reason
    assert verdict.as_expected
    assert "no violation in 4" in verdict.reason
    assert verdict.mutant["holds"] is False
    assert verdict.mutant["statement"] == "L(1) - L* <= 1e-100 (L(0) - L*)"
    assert verdict.control["holds"] is True
    assert (verdict.id, verdict.trajectories, verdict.failed) == ("mine.decay", 4, 0)
    assert verdict.slack > 0
    assert verdict.seconds > 0
    assert calls[-1] == (4, 4)
    plain = verdict.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["slack"] == pytest.approx(
        min(np.log(0.999) - x for x in plain["measured"]["drop"])
    )


class Given(jf.Claim):
    """A claim whose evidence is given: what is made of it is all that is tested."""

    id, source, provenance, hypotheses = "mine.given", "own", "derived", "none"
    statement, mutant, control = "x >= 0", None, None

    def __init__(self, slack, **masks):
        self.slack, self.masks = np.asarray(slack, float), masks

    def setting(self, preset):
        return None

    def evaluate(self, sweep, progress=None):
        off = np.zeros(self.slack.shape, bool)
        parts = {"applies": ~off, "vacuous": off, "failed": off, **self.masks}
        return Evidence(self.slack, **parts, allowance=0.0, measured={}, predicted={},
                        dataset=xr.Dataset())  # fmt: skip

    def decide(self, evidence):
        return None, "whatever it is"


class Compared(Given):
    def decide(self, evidence):
        return np.min(evidence.slack) >= 0, "numpy's own bool"


def test_a_verdict_of_numpys_own_type_counts_as_the_plain_one():
    verdict = jf.verify(Compared([0.5, 1.0]))
    assert verdict.as_expected
    assert verdict.to_json()["holds"] is True


def test_the_slack_reported_is_that_of_the_trajectories_that_count():
    mask = np.array([True, False, False])
    slack = [-1.0, 0.25, 0.5]
    assert jf.verify(Given(slack)).slack == -1.0
    assert jf.verify(Given(slack, vacuous=mask)).slack == 0.25
    assert jf.verify(Given(slack, applies=~mask)).slack == 0.25
    assert jf.verify(Given(slack, applies=mask & False)).slack is None
    verdict = jf.verify(Given([np.nan, 0.25, 0.5], failed=mask))
    assert verdict.slack == 0.25
    assert (verdict.failed, verdict.vacuous, verdict.trajectories) == (1, 0, 3)


def test_a_file_of_several_claims_needs_a_choice(tmp_path):
    path = tmp_path / "two.py"
    path.write_text(
        "from jaxflow.claims import catalogue\nCLAIMS = 2 * tuple(catalogue().values())[:1]\n"
    )
    with pytest.raises(ValueError, match="several"):
        jf.verify(str(path))
