"""The whole catalogue comes out as it says, and so does a claim of one's own."""

import dataclasses
import json

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from typer.testing import CliRunner

import jaxflow as jf
from jaxflow import cli
from jaxflow.claims import Evidence, Paper, Verdict, catalogue, once, presets, verify_all

KEYS = {
    "id", "source", "provenance", "statement", "preset", "holds", "expected", "reason", "measured",
    "predicted", "uncertainty", "slack", "trajectories", "vacuous", "failed", "seconds", "mutant",
    "control", "hypotheses", "latex", "resolution", "room", "trials", "slacks", "interval",
    "margin", "certificate",
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
        assert verdict["control"] is None or verdict["control"]["holds"] is True
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
        for variant in filter(None, (verdict["mutant"], verdict["control"])):
            assert {"statement", "holds"} <= set(variant)


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
        ({"control": None}, True, True),
    ],
)
def test_a_verdict_is_as_expected_only_by_a_sound_check(changes, sound, as_expected):
    verdict = dataclasses.replace(VERDICT, **changes)
    assert verdict.sound is sound
    assert verdict.as_expected is as_expected


mine = Paper("mine", "own", provenance="derived")


def plan(seeds):
    data = jf.data.gaussian(jr.key(1), 4, 8, 1)
    return jf.Sweep(data, jf.init.Gaussian(), widths=[6], seeds=seeds, t1=1.0)


@mine.claim(
    "L(1) - L* <= {ratio} (L(0) - L*)",
    settings=presets(plan, quick=8, paper=8, large=16),
    mutant={"ratio": 1e-100},
    control={"ratio": 1.0},
)
def decay(dataset, ratio=0.999) -> Evidence:
    """The excess loss falls to `ratio` of its start by time 1."""
    drop = (dataset["log_excess_end"] - dataset["log_excess_start"]).values
    measured, predicted = {"drop": drop.ravel()}, {"slack": ">= 0"}
    return Evidence(np.log(ratio) - drop, measured=measured, predicted=predicted, dataset=dataset)


def test_a_claim_of_ones_own_end_to_end():
    calls = []
    (claim,) = mine.claims
    verdict = jf.verify(claim, progress=lambda *said: calls.append(said))
    assert verdict.holds is True, verdict.reason
    assert verdict.as_expected
    assert "no violation in 8" in verdict.reason
    assert verdict.mutant["holds"] is False
    assert verdict.mutant["statement"] == "L(1) - L* <= 1e-100 (L(0) - L*)"
    assert verdict.control["holds"] is True
    assert (verdict.id, verdict.trajectories, verdict.failed) == ("mine.decay", 8, 0)
    assert verdict.slack > 0
    assert verdict.seconds > 0
    assert calls[-1] == ("solving", 8, 8)
    assert calls.count(calls[-1]) == 1  # run once, judged three times
    plain = verdict.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["slack"] == pytest.approx(
        min(np.log(0.999) - x for x in plain["measured"]["drop"])
    )


def given(slack, **fields):
    """A claim whose evidence is given: what is made of it is all that is tested."""
    paper = Paper("mine", "own", provenance="derived")
    paper.claim("x >= 0", settings=presets(quick=0, paper=0, large=0))(
        lambda found: Evidence(np.asarray(slack, float), **fields)
    )
    (claim,) = paper.claims
    return claim


def test_a_verdict_of_numpys_own_type_counts_as_the_plain_one():
    verdict = jf.verify(given([0.5, 1.0], rule=lambda e: (np.min(e.slack) >= 0, "NumPy's bool")))
    assert verdict.as_expected
    assert verdict.to_json()["holds"] is True


def test_the_slack_reported_is_that_of_the_trajectories_that_count():
    mask = np.array([True, False, False])
    slack = [-1.0, 0.25, 0.5]
    assert jf.verify(given(slack)).slack == -1.0
    assert jf.verify(given(slack, vacuous=mask)).slack == 0.25
    assert jf.verify(given(slack, applies=~mask)).slack == 0.25
    assert jf.verify(given(slack, applies=mask & False)).slack is None
    verdict = jf.verify(given([np.nan, 0.25, 0.5], failed=mask))
    assert verdict.slack == 0.25
    assert (verdict.failed, verdict.vacuous, verdict.trajectories) == (1, 0, 3)


def test_an_experiment_runs_once_for_claim_mutant_and_control_and_again_the_next_time():
    paper, runs = Paper("mine", "own", provenance="derived"), []

    @once
    def inner(size):
        runs.append(size)
        return float(size)

    def experiment(size, power):
        return inner(size) ** power

    @paper.claim(
        "x^{power} >= {factor:times}1",
        settings=presets(quick=2, paper=3, large=4),
        run=experiment,
        name="power_{power}",
        each=[{"power": 1}, {"power": 2}],
        mutant=lambda power, factor: {"factor": 2.0**power + 1},
        control={"factor": 0.5},
    )
    def growth(found, setting, power, factor=1.0) -> Evidence:
        assert setting == 2
        return Evidence(np.array([found / factor - 1]), least=1)

    first, second = paper.claims
    assert (first.id, second.id) == ("mine.power_1", "mine.power_2")
    assert second.statement == "x^2 >= 1"
    assert (second.mutant.statement, second.control.statement) == (
        "x^2 >= 5 * 1",
        "x^2 >= 0.5 * 1",
    )
    for count, claim in enumerate(paper.claims, start=1):
        verdict = jf.verify(claim)
        assert verdict.as_expected, verdict
        assert runs == [2] * count
    # The near miss is told from the true value, on each side.
    for factor, holds in ((3.999, True), (4.001, False)):
        closer = dataclasses.replace(second, arguments={"power": 2, "factor": factor})
        assert jf.verify(closer).holds is holds


def test_mutant_and_control_are_judged_where_the_statement_is_attained():
    paper, seen = Paper("mine", "own", provenance="derived"), []

    @paper.claim(
        "x >= {factor:times}1",
        settings=presets(quick=10.0, paper=10.0, large=10.0),
        tight=presets(quick=1.0, paper=1.0, large=1.0),
        mutant={"factor": 1.01},
    )
    def bound(x, factor=1.0) -> Evidence:
        seen.append((x, factor))
        return Evidence(np.array([x / factor - 1]), least=1)

    verdict = jf.verify(paper.claims[0])
    assert verdict.as_expected
    assert verdict.control["holds"] is True
    assert seen == [(10.0, 1.0), (1.0, 1.0), (1.0, 1.01)]


def test_several_claims_come_in_the_order_of_their_papers(tmp_path):
    path = tmp_path / "two.py"
    head = "import numpy as np\nfrom jaxflow.claims import Evidence, Paper, presets\n"
    head += "mine = Paper('mine', 'own', provenance='derived')\n"
    one = "@mine.claim('x', settings=presets(quick=1, paper=1, large=1))\n"
    one += "def {}(x) -> Evidence:\n    return Evidence(np.full(8, {}))\n"
    path.write_text(head + one.format("yes", 1.0) + one.format("no", -1.0))
    found = {verdict.id: verdict.holds for verdict in verify_all([str(path)])}
    assert found == {"mine.yes": True, "mine.no": False}
    with pytest.raises(ValueError, match="jobs"):
        verify_all([str(path)], jobs=0)
    with pytest.raises(ValueError, match=r"several claims; name one of mine\.yes, mine\.no"):
        jf.verify(str(path))
