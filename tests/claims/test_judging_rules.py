"""The rules that turn evidence into a verdict, on evidence made by hand."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom

import jaxflow as jf
from jaxflow.claims import Evidence, for_all, median_interval, upper_limit, with_probability, within
from jaxflow.claims.rules import FAILED_SHARE

ALLOWANCE = 1e-6


def evidence(slack, *, allowance=ALLOWANCE, failed=False, **more):
    return Evidence(slack, allowance=allowance, failed=failed, **more)


def at(*places, size=200):
    mask = np.zeros(size, bool)
    mask[list(places)] = True
    return mask


def slacks(worst=None, place=0, size=200):
    out = np.linspace(0.1, 1.0, size)
    if worst is not None:
        out[place] = worst
    return out


def test_without_a_violation_it_holds_and_says_in_how_many():
    holds, reason = for_all(evidence(slacks()))
    assert holds is True
    assert "no violation in 200" in reason
    assert "1.00e-01" in reason
    assert "failed" not in reason


@pytest.mark.parametrize(
    ("worst", "expected"),
    [(-1.01 * ALLOWANCE, False), (-0.99 * ALLOWANCE, True), (-ALLOWANCE, True), (0.0, True)],
)
def test_one_violation_counts_beyond_the_allowance_only(worst, expected):
    assert for_all(evidence(slacks(worst)))[0] is expected


def test_every_violation_is_counted_and_the_worst_is_named():
    values = slacks(-0.25)
    values[7] = -0.5
    holds, reason = for_all(evidence(values))
    assert holds is False
    assert "2 of 200" in reason
    assert "-5.00e-01" in reason


def test_no_allowance_leaves_exactly_zero_slack_unbroken():
    assert for_all(evidence(slacks(0.0), allowance=0.0))[0] is True
    assert for_all(evidence(slacks(-1e-300), allowance=0.0))[0] is False


def test_undecided_where_no_trajectory_meets_the_hypotheses():
    holds, reason = for_all(evidence(slacks(-1.0), applies=False))
    assert holds is None
    assert "hypotheses" in reason


def test_a_violation_outside_the_hypotheses_is_none():
    assert for_all(evidence(slacks(-1.0), applies=~at(0)))[0] is True


def test_undecided_where_every_bound_is_vacuous():
    holds, reason = for_all(evidence(slacks(), vacuous=True))
    assert holds is None
    assert "vacuous" in reason


def test_vacuous_trajectories_are_never_evidence():
    assert for_all(evidence(slacks(-1.0), vacuous=at(0)))[0] is True
    holds, reason = for_all(evidence(slacks(), vacuous=~at(3, 4), least=1))
    assert holds is True
    assert "no violation in 2 " in reason


def test_undecided_where_those_that_apply_are_vacuous_and_the_others_are_not():
    assert for_all(evidence(slacks(), applies=at(0, 1), vacuous=at(0, 1)))[0] is None


def test_a_failed_trajectory_that_breaks_the_bound_still_counts():
    holds, reason = for_all(evidence(slacks(-1.0), failed=at(0)))
    assert holds is False
    assert "1 of 200 failed" in reason


def test_a_failed_trajectory_is_not_evidence_for():
    holds, reason = for_all(evidence(slacks(), failed=at(0)))
    assert holds is True
    assert "no violation in 199" in reason
    assert "1 of 200 failed" in reason
    # Nor is the tightest slack read off it.
    assert "tightest slack 1.00e-03" in for_all(evidence(slacks(1e-3)))[1]
    assert "tightest slack 1.00e-03" not in for_all(evidence(slacks(1e-3), failed=at(0)))[1]


@pytest.mark.parametrize(("extra", "expected"), [(0, True), (1, None)])
def test_too_many_failures_leave_it_undecided(extra, expected):
    failed = at(*range(int(FAILED_SHARE * 200) + extra))
    holds, reason = for_all(evidence(slacks(), failed=failed))
    assert holds is expected
    assert f"{failed.sum()} of 200" in reason


def test_undecided_where_all_failed():
    holds, reason = for_all(evidence(slacks(), failed=True))
    assert holds is None
    assert "200 of 200" in reason


def test_not_a_number_is_no_violation_and_no_evidence():
    holds, reason = for_all(evidence(slacks(np.nan), failed=at(0)))
    assert holds is True
    assert "nan" not in reason
    # A trajectory that says it succeeded and has no slack is not evidence either.
    holds, reason = for_all(evidence(slacks(np.nan)))
    assert holds is None or "no violation in 199" in reason


def test_evidence_is_flat_and_counts_what_the_dataset_says_has_failed():
    status = [int(jf.Result.stopped), int(jf.Result.max_steps_reached)]
    dataset = xr.Dataset({"status": ("seed", status)})
    found = Evidence(np.array([[0.5], [0.25]]), dataset=dataset)
    assert found.slack.shape == found.applies.shape == found.failed.shape == (2,)
    np.testing.assert_array_equal(found.failed, [False, True])
    np.testing.assert_array_equal(
        Evidence(np.array([0.5, np.nan]), vacuous=[0, 0]).counts, [True, False]
    )
    assert found.decide() == for_all(found)


def trials(broken, total=1000, **more):
    return evidence(np.where(np.arange(total) < broken, -1.0, 1.0), **more)


@pytest.mark.parametrize(
    ("broken", "expected"), [(0, True), (20, True), (21, True), (50, None), (90, False)]
)
def test_a_probability_is_decided_by_exact_limits(broken, expected):
    delta, level = 0.05, 0.999
    high = upper_limit(broken, 1000, level)
    # By definition: at the limit, this few failures have probability 1 - level.
    assert binom.cdf(broken, 1000, high) == pytest.approx(1 - level, rel=1e-6)
    holds, reason = with_probability(delta)(trials(broken))
    assert holds is expected
    assert f"it fails in {broken} of 1000" in reason
    if expected:
        assert high <= delta
    elif expected is False:
        assert binom.sf(broken - 1, 1000, delta) < 1 - level


def test_few_trials_decide_no_small_probability():
    assert with_probability(0.05)(trials(0, total=100))[0] is None
    assert with_probability(0.05)(trials(0, total=135))[0] is True  # 0.95^135 < 0.001
    assert with_probability(0.05)(trials(0, total=134))[0] is None
    assert upper_limit(3, 3, 0.999) == 1


def test_a_failed_trial_counts_against_an_event_and_not_for_its_failing():
    failed = np.arange(1000) >= 910
    assert with_probability(0.05)(trials(0, failed=failed))[0] is None
    assert with_probability(0.05)(trials(90, failed=failed))[0] is False
    assert with_probability(0.05)(trials(0, applies=False))[0] is None
    assert with_probability(0.05)(trials(90, vacuous=np.arange(1000) < 90))[0] is True


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((-0.51, -0.49), True),
        ((-0.53, -0.47), True),  # the margin itself
        ((-0.54, -0.50), None),
        ((-0.60, -0.40), None),
        ((-0.60, -0.54), False),
        ((-0.40, 0.10), False),
        ((np.nan, np.nan), None),
        (None, None),
    ],
)
def test_a_number_is_judged_by_its_interval(interval, expected):
    found = Evidence(interval=interval, margin=(-0.53, -0.47), rule=within)
    assert found.decide()[0] is expected


@pytest.mark.parametrize(("count", "skip"), [(8, 1), (16, 3), (32, 9), (100, 37)])
def test_the_interval_of_a_median_covers_it(count, skip):
    low, high = median_interval(np.arange(count)[::-1])
    assert (low, high) == (skip - 1, count - skip)
    # Fewer than `skip` of `count` values are below the median with probability 0.5% at most.
    assert binom.cdf(skip - 1, count, 0.5) <= 0.005 or skip == 1
    assert binom.cdf(skip, count, 0.5) > 0.005
