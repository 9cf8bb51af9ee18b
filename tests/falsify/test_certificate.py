"""Certificates are proofs: enclosures enclose, steps can be checked alone, and nothing true is
refuted."""

import dataclasses
import json
import subprocess
import sys
from fractions import Fraction

import flint
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from jax.scipy.special import gammaln

from jaxflow.falsify import Certificate, prove
from jaxflow.falsify.certificate import Ball, Undecided, _enclosed, certify, constant
from jaxflow.falsify.charts import Free, Size
from jaxflow.falsify.check_certificate import eigenvalues, number, sides
from jaxflow.papers.min2021.errata import residual_step
from jaxflow.papers.xu2023 import PRINTED

small = st.integers(-(2**20), 2**20).map(lambda n: n / 2**10)
matrices = hnp.arrays(float, st.sampled_from([(1, 1), (2, 2), (3, 3)]), elements=small)


@given(matrices)
def test_eigenvalues_are_enclosed_even_where_they_are_multiple(A):
    A = A + A.T
    found = eigenvalues(*(number(str(Fraction(x))) for x in A.ravel()))
    with mpmath.workdps(60):
        exact = sorted(mpmath.eigsy(mpmath.matrix(A.tolist()), eigvals_only=True))
    for ball, value in zip(found, exact, strict=True):
        near = flint.arb(mpmath.nstr(value, 50)) + flint.arb(0, 1) * flint.arb("1e-40")
        assert ball.overlaps(near)
        assert ball.rad() < 1e-4 * (1 + np.abs(A).max())
    # With the trace and the determinant of the enclosures.
    assert sum(found, flint.arb(0)).overlaps(number(str(sum(map(Fraction, np.diag(A))))))


FUNCTIONS = {
    "a norm": lambda c: jnp.linalg.norm(c["A"]),
    "singular values": lambda c: jnp.sum(jnp.linalg.svdvals(c["A"]) ** 3),
    "eigenvalues": lambda c: jnp.linalg.eigvalsh(c["A"] @ c["A"].T)[0],
    "a frame": lambda c: jnp.sum(jnp.linalg.qr(c["A"])[0] ** 4),
    "elementary functions": lambda c: jnp.sum(jnp.exp(-(c["A"] ** 2)) * jnp.tanh(c["A"])),
    "powers and choices": lambda c: jnp.max(jnp.abs(c["A"])) ** (4 / 3) + jnp.min(c["A"]),
    "where": lambda c: jnp.where(c["A"][0, 0] > 0.25, c["A"][0, 0], 3.0 * c["A"][0, 1]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_enclosures_contain_what_floats_give(name):
    function = FUNCTIONS[name]
    for seed in range(3):
        A = np.round(np.random.default_rng(seed).normal(size=(3, 2)) * 64) / 64
        steps, place, _ = _enclosed(function, lambda c: function(c) - 1.0, {"A": A}, None)
        record = {"bits": 128, "steps": steps, "smaller": place, "larger": place}
        value = float(sides(record)[0])
        assert value == pytest.approx(float(function({"A": A})), rel=1e-13)


def test_a_proof_and_no_proof():
    x = {"x": np.asarray(0.3125)}

    def above(bound, meets=None):
        return prove("x <= ...", lambda c: c["x"], lambda c: bound + 0 * c["x"], x, meets)

    found = above(0.3)
    assert found.check()
    assert found.inputs == {"x": "5/16"}
    assert above(0.3125) is None
    assert above(1.0) is None
    assert above(0.3, lambda c: c["x"] > 0.5) is None  # outside the hypotheses
    assert above(0.3, lambda c: c["x"] > 0.25).check()
    assert prove("x", lambda c: gammaln(c["x"]) + 9, lambda c: c["x"], x) is None  # has no rule


def test_a_constant_stands_for_the_fraction_that_it_was_rounded_from():
    x = {"x": np.asarray(2.0)}

    def less(off):
        return prove("x", lambda c: c["x"] ** (4 / 3), lambda c: c["x"] ** (4 / 3 - off), x)

    assert less(2.0**-52) is None
    assert less(2.0**-48).check()


def test_a_comparison_that_is_open_decides_nothing():
    steps = []
    near = constant(steps, Fraction(1, 3), Fraction(1, 2**60))
    with pytest.raises(Undecided):
        bool(near < 1 / 3)
    assert isinstance(near + 1, Ball)


def test_what_was_tampered_with_is_not_proved(tmp_path):
    chart, size = Free(), Size(1, 1, 1)
    c = {"U": [[0.7]], "V": [[0.2]], "E": [[-3.1]], "s": [3.0]}
    found = certify(residual_step("||S^-1||"), chart, size, c)
    assert found.check()
    # Few digits are enough.
    numbers = [x for rows in found.inputs.values() for x in np.ravel(rows)]
    assert all(Fraction(x).denominator <= 16 for x in numbers)
    other = dataclasses.replace(found, smaller=found.larger, larger=found.smaller)
    assert not other.check()
    found.save(tmp_path / "proof.json")
    record = json.loads((tmp_path / "proof.json").read_text())
    assert Certificate(**record) == found
    # The sound inequality cannot be refuted at the same point.
    assert certify(residual_step("||S||"), chart, size, c) is None


def test_it_is_checked_without_this_package(tmp_path):
    # The printed alpha_0 of Xu et al.: eigenvalues, singular values, roots.
    point = {"U": [[-7.5], [-7]], "V": [[9 / 32768]], "E": [[-4], [-5.5]], "s": [-0.5, -15 / 32]}
    found = certify(PRINTED, Free(), Size(2, 1, 1), point)
    found.save(tmp_path / "proof.json")
    command = [sys.executable, "check_certificate.py", "proof.json"]
    hide = {"PYTHONPATH": "", "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=hide, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "PROVED: the statement is false." in done.stdout
    record = json.loads((tmp_path / "proof.json").read_text())
    (tmp_path / "proof.json").write_text(json.dumps(record | {"larger": record["smaller"]}))
    done = subprocess.run(command, cwd=tmp_path, env=hide, capture_output=True, text=True)
    assert done.returncode == 1
    assert "NOT PROVED" in done.stderr


@settings(max_examples=20)
@given(matrices)
def test_no_true_inequality_is_refuted(A):
    """The operator norm is below Frobenius's, whatever the matrix."""
    least = lambda c: jnp.linalg.svdvals(c["A"])[0]  # noqa: E731
    assert prove("s_1 <= ||A||_F", least, lambda c: jnp.linalg.norm(c["A"]), {"A": A}) is None
