"""The rate theorem's check, on an instance where the bound is attained."""

import dataclasses

import jax.random as jr
import numpy as np
import pytest

import jaxflow as jf
from jaxflow import measures
from jaxflow.claims import find, shared_runs
from jaxflow.data import spectrum
from jaxflow.papers.min2021 import SCALES, Attaining, rate_on, rate_sweep
from jaxflow.papers.min2021.rate import attaining_sweep
from jaxflow.papers.settings.decay import RATIO
from jaxflow.sweeps.run import draw

# Twelve trajectories in chunks of eight, whatever the sweep: one program for all of them.
SIZES = {"seeds": 4, "chunk": 8}
WIDTHS = [8, 16, 32]

DATA = {
    "gaussian": lambda: jf.data.gaussian(jr.key(0), 4, 8, 1),
    "condition 400": lambda: spectrum(jr.key(0), 4, 8, 1, singular_values=[20.0, 5.0, 1.5, 1.0]),
    "two targets": lambda: jf.data.gaussian(jr.key(1), 4, 8, 2),
}


def plan(data, law=None):
    return rate_sweep(data, law or jf.init.Gaussian(), widths=WIDTHS, **SIZES)


def judged(sweep, factor):
    claim = dataclasses.replace(rate_on(sweep), arguments={"factor": factor})
    evidence = claim.evaluate(claim.setting("quick"))
    return evidence, *claim.decide(evidence)


@pytest.fixture(scope="module", params=DATA, ids=lambda name: name.replace(" ", "-"))
def attained(request):
    sweep = attaining_sweep(plan(DATA[request.param]()))
    with shared_runs():
        return sweep, {factor: judged(sweep, factor) for factor in (1.0, 1.05)}


def test_the_instance_has_its_level_and_attains_its_bound(attained):
    _, outcomes = attained
    evidence = outcomes[1.0][0]
    assert evidence.slack.size == 12
    np.testing.assert_allclose(evidence.dataset["c"], 1 + 9 / 4, rtol=1e-12)
    assert not evidence.failed.any()
    assert not evidence.vacuous.any()
    assert evidence.slack.min() > -1e-6
    assert evidence.slack.max() < 1e-5


def test_the_allowance_is_far_below_what_a_mutant_exceeds(attained):
    _, outcomes = attained
    for evidence, *_ in outcomes.values():
        assert 0 <= evidence.allowance < 1e-6


def test_the_theorem_itself_holds_where_it_is_attained(attained):
    _, outcomes = attained
    _, holds, reason = outcomes[1.0]
    assert holds is True, reason


def test_five_per_cent_more_is_broken_by_every_trajectory(attained):
    _, outcomes = attained
    evidence, holds, reason = outcomes[1.05]
    assert holds is False
    assert "12 of 12" in reason
    np.testing.assert_allclose(evidence.slack, 1 / 1.05 - 1, atol=1e-6)


def test_a_rotation_of_the_units_leaves_the_slack_alone(attained):
    sweep, outcomes = attained
    networks = draw(sweep, sweep.cells[0])
    assert networks.V.std(axis=0).min() > 0.1  # they do differ
    assert np.ptp(outcomes[1.0][0].slack) < 1e-9


def test_the_attaining_sweep_keeps_the_inputs_and_the_shapes():
    sweep = plan(DATA["two targets"]())
    turned = attaining_sweep(sweep)
    np.testing.assert_array_equal(turned.data.X, sweep.data.X)
    assert turned.axes == {"width": (2 + 4,)}
    assert turned.trajectories == sweep.trajectories
    assert turned.chunk == sweep.chunk
    net = Attaining()(jr.key(3), turned.data, width=9)
    U1 = turned.data.right.T @ net.U
    np.testing.assert_allclose(U1 @ net.V.T, 0, atol=1e-14)
    np.testing.assert_allclose(U1 @ U1.T, np.diag([4.0, 4.0, 4.0, 1.0]), atol=1e-14)
    np.testing.assert_allclose(net.V @ net.V.T, 2.25 * np.eye(2), atol=1e-14)


def test_the_attaining_sweep_of_several_data_sets_takes_the_first():
    sets = {"a": DATA["gaussian"](), "b": DATA["two targets"]()}
    over = {"data": ["a", "b"], "width": [8]}
    turned = attaining_sweep(plan(sets["a"]).replace(data=sets, over=over))
    np.testing.assert_array_equal(turned.data.X, sets["a"].X)
    assert turned.axes == {"width": (5,)}


def test_on_a_sweep_of_ones_own():
    sweep = plan(DATA["gaussian"]())
    verdict = jf.verify(rate_on(sweep))
    assert verdict.holds is True, verdict.reason
    assert verdict.sound
    assert verdict.trajectories == 12
    assert verdict.failed == verdict.vacuous == 0
    assert verdict.slack > 0
    assert verdict.uncertainty < 1e-6
    assert verdict.measured["rate_over_bound_median"] > 1
    assert verdict.resolution.attained
    assert 0 < verdict.resolution.change < 1e-6 < verdict.room.change
    assert "exp(-1.0000" in verdict.mutant["statement"]
    assert verdict.control["statement"].startswith(verdict.statement)  # tight, and still True
    assert "* 1" not in verdict.statement


def test_in_single_precision_the_control_still_holds():
    double = DATA["gaussian"]()
    single = jf.Regression(*(np.asarray(part, np.float32) for part in (double.X, double.Y)))
    control = rate_on(plan(single)).control
    variants = {True: control, False: control.with_arguments({"factor": 1.05})}
    with shared_runs():
        evidences = {right: v.evaluate(v.setting("quick")) for right, v in variants.items()}
    for expected, evidence in evidences.items():
        assert evidence.dataset["slack"].dtype == np.float32
        holds, reason = variants[expected].decide(evidence)
        assert holds is expected, reason


def test_trajectories_that_end_before_they_stop_are_counted_beside_those_that_stop():
    # Half of the way that the bound promises: the fast ones get to 1e-20, the others do not.
    sweep = plan(DATA["gaussian"]()).replace(ts=measures.BoundTimes(0.5 * np.log(RATIO)))
    evidence = rate_on(sweep).evaluate(sweep)
    assert set(evidence.dataset["status"].values.ravel()) == {1, 4}
    np.testing.assert_array_equal(evidence.failed, evidence.dataset["status"].values.ravel() == 4)
    assert evidence.slack.min() > 0
    assert evidence.decide()[0] is None


def test_without_a_level_there_is_nothing_to_judge():
    verdict = jf.verify(rate_on(plan(DATA["gaussian"](), jf.init.Balanced())))
    assert verdict.holds is None
    # c is zero up to rounding, which decides whether it counts as positive.
    assert "vacuous" in verdict.reason or "none of 12" in verdict.reason
    assert verdict.measured["c_mean"] <= 1e-16  # zero, up to rounding
    assert not verdict.as_expected
    assert verdict.sound  # the mutant and the control have a level of their own


def test_the_clock_ends_where_the_bound_has_promised_the_ratio(key):
    data = DATA["gaussian"]()
    net = jf.init.Gaussian()(key, data, width=20)
    bound = jf.theory.rate_bound(net, data)
    ts = measures.BoundTimes(np.log(RATIO))(net, data)
    assert ts.shape == (257,)
    assert ts[0] == 0
    assert np.all(np.diff(ts) > 0)
    promised = float(bound.rate * ts[-1])
    assert -np.log(RATIO) < promised < -1.01 * np.log(RATIO)
    assert float(bound.log_envelope(ts[-1]) - bound.log_envelope(0.0)) == pytest.approx(-promised)


def test_the_clock_without_a_bound_ends_at_its_fallback(key):
    data = DATA["gaussian"]()
    net = jf.init.Balanced()(key, data, width=20)
    assert float(jf.theory.rate_bound(net, data).rate) == 0
    ts = measures.BoundTimes(np.log(RATIO), fallback=3.0)(net, data)
    np.testing.assert_allclose(ts[-1], -3.0 * np.log(RATIO), rtol=2e-3)


def test_every_factor_is_judged_on_one_run(attained):
    _, outcomes = attained
    assert outcomes[1.0][0].dataset is outcomes[1.05][0].dataset
    slack = {factor: evidence.slack for factor, (evidence, *_) in outcomes.items()}
    np.testing.assert_allclose(1.05 * (1 + slack[1.05]), 1 + slack[1.0], rtol=1e-14)


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_the_papers_setting(preset):
    (claim,) = find("min2021.rate")
    sweep = claim.setting(preset)
    data = sweep.data
    assert sweep.axes["width"] == (500,)
    assert sweep.axes["scale"] == SCALES == ((0.1, 0.1), (0.5, 0.02), (0.05, 0.2))
    np.testing.assert_allclose(data.singular_values, data.singular_values[0], rtol=1e-10)
    if preset == "paper":
        assert (data.samples, data.features, data.outputs) == (100, 400, 1)
        assert sweep.trajectories >= 1000
