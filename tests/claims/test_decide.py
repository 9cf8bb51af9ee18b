"""The rule shared by all universal bounds, on evidence made by hand."""

import numpy as np
import pytest
import xarray as xr
from jaxflow.claims.decide import FAILED_SHARE, universal

from jaxflow.claims import Evidence

ALLOWANCE = 1e-6


def evidence(slack, *, applies=True, vacuous=False, failed=False, allowance=ALLOWANCE):
    slack = np.asarray(slack, float)
    masks = [np.array(np.broadcast_to(mask, slack.shape)) for mask in (applies, vacuous, failed)]
    return Evidence(slack, *masks, allowance, {}, {}, xr.Dataset())


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
    holds, reason = universal(evidence(slacks()))
    assert holds is True
    assert "no violation in 200" in reason
    assert "1.00e-01" in reason
    assert "failed" not in reason


@pytest.mark.parametrize(
    ("worst", "expected"),
    [(-1.01 * ALLOWANCE, False), (-0.99 * ALLOWANCE, True), (-ALLOWANCE, True), (0.0, True)],
)
def test_one_violation_counts_beyond_the_allowance_only(worst, expected):
    assert universal(evidence(slacks(worst)))[0] is expected


def test_every_violation_is_counted_and_the_worst_is_named():
    values = slacks(-0.25)
    values[7] = -0.5
    holds, reason = universal(evidence(values))
    assert holds is False
    assert "2 of 200" in reason
    assert "-5.00e-01" in reason


def test_no_allowance_leaves_exactly_zero_slack_unbroken():
    assert universal(evidence(slacks(0.0), allowance=0.0))[0] is True
    assert universal(evidence(slacks(-1e-300), allowance=0.0))[0] is False


def test_undecided_where_no_trajectory_meets_the_hypotheses():
    holds, reason = universal(evidence(slacks(-1.0), applies=False))
    assert holds is None
    assert "hypotheses" in reason


def test_a_violation_outside_the_hypotheses_is_none():
    assert universal(evidence(slacks(-1.0), applies=~at(0)))[0] is True


def test_undecided_where_every_bound_is_vacuous():
    holds, reason = universal(evidence(slacks(), vacuous=True))
    assert holds is None
    assert "vacuous" in reason


def test_vacuous_trajectories_are_never_evidence():
    assert universal(evidence(slacks(-1.0), vacuous=at(0)))[0] is True
    holds, reason = universal(evidence(slacks(), vacuous=~at(3, 4)))
    assert holds is True
    assert "no violation in 2 " in reason


def test_undecided_where_those_that_apply_are_vacuous_and_the_others_are_not():
    assert universal(evidence(slacks(), applies=at(0, 1), vacuous=at(0, 1)))[0] is None


def test_a_failed_trajectory_that_breaks_the_bound_still_counts():
    holds, reason = universal(evidence(slacks(-1.0), failed=at(0)))
    assert holds is False
    assert "1 of 200 failed" in reason


def test_a_failed_trajectory_is_not_evidence_for():
    holds, reason = universal(evidence(slacks(), failed=at(0)))
    assert holds is True
    assert "no violation in 199" in reason
    assert "1 of 200 failed" in reason
    # Nor is the tightest slack read off it.
    assert "tightest slack 1.00e-03" in universal(evidence(slacks(1e-3)))[1]
    assert "tightest slack 1.00e-03" not in universal(evidence(slacks(1e-3), failed=at(0)))[1]


@pytest.mark.parametrize(("extra", "expected"), [(0, True), (1, None)])
def test_too_many_failures_leave_it_undecided(extra, expected):
    failed = at(*range(int(FAILED_SHARE * 200) + extra))
    holds, reason = universal(evidence(slacks(), failed=failed))
    assert holds is expected
    assert f"{failed.sum()} of 200" in reason


def test_undecided_where_all_failed():
    holds, reason = universal(evidence(slacks(), failed=True))
    assert holds is None
    assert "200 of 200" in reason


def test_not_a_number_is_no_violation_and_no_evidence():
    holds, reason = universal(evidence(slacks(np.nan), failed=at(0)))
    assert holds is True
    assert "nan" not in reason
    # A trajectory that says it succeeded and has no slack is not evidence either.
    holds, reason = universal(evidence(slacks(np.nan)))
    assert holds is None or "no violation in 199" in reason
