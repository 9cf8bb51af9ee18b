"""How fine a check is: moved numbers, near misses, and what a verdict says of them."""

import json
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import jaxflow as jf
from jaxflow.claims import (
    Evidence,
    Moves,
    Paper,
    Verdict,
    at_least,
    at_most,
    for_all,
    near,
    power,
    presets,
)
from jaxflow.claims.resolution import beyond, edge

ONE = presets(quick=1.0, paper=1.0, large=1.0)
FACTOR, DIFFERENCE = Moves("x"), Moves("x", by="difference")


@given(st.floats(-13, math.log10(math.log(1e6)) - 0.01), st.sampled_from([1, -1]))
def test_an_edge_is_found_to_the_accuracy_asked_for(size, sign):
    where = 3.0 * math.exp(sign * 10**size)

    def changed(value):
        return value >= where if sign > 0 else value <= where

    found = edge(FACTOR, 3.0, changed, 0.02)
    assert changed(found)
    # 3.0 itself is rounded.
    assert abs(math.log(found / 3)) == pytest.approx(10**size, rel=0.021, abs=1e-15)


@pytest.mark.parametrize("value", [0.0, -0.5, 7.0])
def test_the_nearer_of_two_edges(value):
    found = edge(DIFFERENCE, value, lambda x: not value - 0.3 < x < value + 0.01, 0.005)
    assert found == pytest.approx(value + 0.01, abs=1e-4)


def test_no_edge_where_nothing_changes():
    assert edge(FACTOR, 1.0, lambda x: False, 0.1) is None
    assert edge(DIFFERENCE, 1.0, lambda x: False, 0.1) is None
    assert edge(FACTOR, 0.0, lambda x: True, 0.1) is None  # no factor moves a zero


@given(st.floats(-9, 5), st.sampled_from([1, -1]), st.sampled_from([FACTOR, DIFFERENCE]))
def test_a_near_miss_is_beyond_the_edge_and_at_most_a_twentieth_and_a_digit_beyond(
    size, sign, moves
):
    distance = sign * 10 ** min(size, 1.0)
    at = moves.at(2.0, distance)
    found = beyond(moves, 2.0, at)
    assert (found - at) * sign > 0
    far = math.log(found / 2) if moves.by == "factor" else found - 2
    # Two digits of the change: of a factor far below 1, of what is left of it.
    if sign > 0 or moves.by == "difference":
        assert abs(far) <= abs(distance) + min(abs(distance), 0.05) + 0.11 * abs(distance) + 0.1


def claim(judge, **fields):
    paper = Paper("mine", "own", provenance="derived")
    paper.claim(fields.pop("statement", "x >= {factor:times}1"), settings=ONE, **fields)(judge)
    return paper.claims[0]


def bound(x, factor=1.0) -> Evidence:
    return at_least("x", np.linspace(1.5, 3, 20) * x, factor)


def test_a_bound_with_room_to_spare_says_how_much_and_its_mutant_is_just_beyond():
    verdict = jf.verify(claim(bound, moves=Moves("factor", "bound")), preset="large")
    assert verdict.as_expected
    assert verdict.resolution.edge == pytest.approx(1.5, rel=0.006)
    assert verdict.resolution.edge >= 1.5
    assert verdict.resolution.words(True).startswith("a bound 1.5 times as large")
    assert verdict.mutant["holds"] is False
    assert verdict.mutant["statement"] == "x >= 1.58 * 1"
    assert verdict.control is None
    assert verdict.room is None


def test_it_is_finer_where_the_statement_is_attained():
    attained = presets(quick=1 / 1.5, paper=1 / 1.5, large=1 / 1.5)
    verdict = jf.verify(claim(bound, moves="factor", tight=attained))
    assert verdict.as_expected
    assert verdict.resolution.attained
    assert 0 < verdict.resolution.change < 1e-12
    assert "instance that attains it" in verdict.resolution.words(True)
    assert verdict.room.edge == pytest.approx(1.5, rel=0.06)
    assert verdict.control["holds"] is True
    assert verdict.control["statement"] != verdict.statement
    # Where the other instance is no nearer, it is not said to attain anything.
    farther = presets(quick=2.0, paper=2.0, large=2.0)
    verdict = jf.verify(claim(bound, moves="factor", tight=farther))
    assert not verdict.resolution.attained
    assert verdict.room is None
    assert verdict.mutant["holds"] is False


def test_beside_what_is_refuted_the_near_miss_holds():
    refuted = claim(lambda x, factor=2.0: bound(x, factor), moves="factor", expected=False)
    verdict = jf.verify(refuted)
    assert (verdict.holds, verdict.as_expected) == (False, True)
    assert verdict.resolution.edge == pytest.approx(1.5, rel=0.06)
    assert "would not have been refuted" in verdict.resolution.words(False)
    assert verdict.mutant is None
    assert verdict.control["holds"] is True


def test_evidence_moves_itself_where_the_statement_has_no_number():
    def judged(evidence):
        return jf.verify(claim(lambda x: evidence, statement="x")).resolution

    errors = np.linspace(1e-13, 1e-12, 20)
    fine = judged(at_most("relative_error", errors, 1e-8))
    assert fine.edge == pytest.approx(1e-8, rel=0.11)  # beside which the least error is nothing
    assert fine.words(True) == "a relative error of 1e-08 would have been refuted"
    assert judged(at_least("ratio", [1.2] * 8)).edge == pytest.approx(1.2, rel=0.02)
    fine = judged(near("slope", 0.5, (0.49, 0.51), 0.52, 0.1))
    assert fine.edge == pytest.approx(0.61, abs=0.01)
    widths = np.array([10.0, 100.0, 1000.0])
    fine = judged(power("exponent", widths, widths[:, None] ** [[-0.5] * 8], -0.5, 0.03))
    assert abs(fine.change) == pytest.approx(0.03, rel=0.11)
    assert judged(Evidence(np.ones(8))) is None
    assert judged(Evidence(np.ones(8), vacuous=True)) is None


def test_what_cannot_be_computed_far_away_tells_nothing():
    def fragile(x, factor=1.0) -> Evidence:
        if factor > 2:
            raise ValueError("too far")
        return bound(10 * x, factor)

    verdict = jf.verify(claim(fragile, moves="factor"))
    assert verdict.holds is True
    assert verdict.resolution is None
    assert verdict.mutant is None


def test_an_argument_that_is_to_be_moved_has_to_exist():
    with pytest.raises(ValueError, match=r"move 'rate'.*factor"):
        claim(bound, moves="rate")


def test_a_verdict_needs_eight_trials_or_says_that_there_are_no_more():
    assert for_all(Evidence(np.ones(8)))[0] is True
    holds, reason = for_all(Evidence(np.ones(7), trials="networks"))
    assert holds is None
    assert reason == "too few networks: 7, and a verdict needs 8"
    assert for_all(Evidence(np.ones(7), least=1))[0] is True
    assert for_all(Evidence(-np.ones(1)))[0] is False  # one counterexample is enough
    few = near("slope", 0.5, (0.49, 0.51), 0.5, 0.1, count=7)
    assert few.decide()[0] is None


def test_a_verdict_comes_back_from_its_json():
    verdict = jf.verify(claim(bound, moves="factor"))
    again = Verdict.from_json(json.loads(json.dumps(verdict.to_json())))
    assert again == verdict
    assert verdict.to_json()["resolution"]["words"] == verdict.resolution.words(True)
