import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import assume, example, given, strategies as st
from scipy.integrate import solve_ivp

from jaxflow import theory

mp = mpmath.mpf
scalar, scalar_residual = jax.jit(theory.scalar), jax.jit(theory.scalar_residual)
TIMES = np.array([0.0, 1e-12, 1e-3, 0.7, 3.0, 90.0, 300.0, 1e4])


def exact(t, y, u0, v0, digits=60):
    """`(u, v, log |E|, sign E)` from the matrix form with mpmath's own exponential."""
    t, y, u0, v0 = map(mp, (t, y, u0, v0))
    w = mpmath.sqrt((u0**2 - v0**2) ** 2 / 4 + y**2)
    # Digits for what e^(-2 w t) cancels.
    with mpmath.workdps(digits + int(0.9 * w * t)):
        t, y, u0, v0 = map(mp, (t, y, u0, v0))
        d = u0**2 - v0**2
        w = mpmath.sqrt(d**2 / 4 + y**2)
        F = mpmath.matrix([[d / 2, y], [y, -d / 2]])
        q0, one = mpmath.matrix([u0, v0]), mpmath.eye(2)
        if w == 0:
            grow, total = one, t * one
        else:
            grow = mpmath.cosh(w * t) * one + mpmath.sinh(w * t) / w * F
            total = mpmath.sinh(2 * w * t) / (2 * w) * one
            total += (mpmath.cosh(2 * w * t) - 1) / (2 * w**2) * F
        q = grow * q0 / mpmath.sqrt(1 + (q0.T * total * q0)[0])
        E = y - q[0] * q[1]
        log = float(mpmath.log(abs(E))) if E else -np.inf
        return float(q[0]), float(q[1]), log, float(mpmath.sign(E))


@pytest.mark.parametrize("s", [-1.5, -1e-9, 0.0, 1e-9, 0.8, 3.0])
@pytest.mark.parametrize("a0", [1e-200, 1e-6, 0.5, 20.0])
def test_saxe_is_the_logistic_curve(s, a0):
    found = theory.saxe(TIMES, s, a0)
    with mpmath.workdps(60):
        for t, a in zip(TIMES, found, strict=True):
            x = 2 * mp(s) * mp(t)
            rise = mpmath.expm1(x) / mp(s) if s else 2 * mp(t)
            expected = mp(a0) * mpmath.exp(x) / (1 + mp(a0) * rise)
            rtol = 1e-12 + 2e-16 * abs(float(x))
            np.testing.assert_allclose(a, float(expected), rtol, atol=1e-300)


def test_saxe_solves_its_equation_for_many_modes():
    s, a0, ts = np.array([1.0, 0.3, 0.0, -0.4]), np.array([1e-3, 0.6, 0.2, 0.1]), [0.5, 4.0, 9.0]
    out = solve_ivp(lambda _, a: 2 * a * (s - a), (0, 9), a0, "DOP853", ts, rtol=1e-12, atol=1e-14)
    found = theory.saxe(np.array(ts), s, a0)
    assert found.shape == (3, 4)
    np.testing.assert_allclose(found, out.y.T, atol=1e-10)
    assert np.all(theory.saxe(TIMES, s, 0.0) == 0)
    with pytest.raises(ValueError, match="negative"):
        theory.saxe(1.0, 1.0, -0.1)


@pytest.mark.parametrize(("s", "a0", "t"), [(1.3, 1e-4, 2.0), (0.0, 0.4, 5.0), (-0.5, 2.0, 1.0)])
def test_saxe_time_inverts_saxe(s, a0, t):
    np.testing.assert_allclose(theory.saxe_time(s, a0, theory.saxe(t, s, a0)), t, rtol=1e-12)


def test_saxe_time_of_what_is_not_ahead():
    assert theory.saxe_time(1.0, 0.1, 1.0) == np.inf
    assert theory.saxe_time(1.0, 0.5, 0.1) < 0
    assert np.isnan(theory.saxe_time(1.0, 0.5, 2.0))
    np.testing.assert_allclose(
        theory.saxe_time(np.array([1e-13, 0.0]), 0.5, 0.2), 0.5 * (1 / 0.2 - 1 / 0.5), rtol=1e-10
    )


STARTS = [
    (0.7, 0.3, -0.2),
    (-1.1, 0.3, 0.9),
    (0.0, 0.8, 0.3),
    (0.0, -0.4, 0.4),
    (1.0, 0.5, 0.5),
    (-2.0, 1e-5, 1e-5),
    (1.5, 0.4, -0.4),
    (0.9, 3.0, 0.0),
    (1e-8, 1.0, 0.2),
    (2.0, 1e-3, -1.0001e-3),
    (0.3, -2.0, 2.0 + 1e-9),
]


@pytest.mark.parametrize(("y", "u0", "v0"), STARTS)
def test_scalar_weights_and_residual_at_all_times(y, u0, v0):
    u, v = scalar(TIMES, y, u0, v0)
    log, sign = scalar_residual(TIMES, y, u0, v0)
    for i, t in enumerate(TIMES):
        q = np.hypot(u0**2 - v0**2, 2 * y)
        if q * t > 1000:
            # The oracle would need thousands of digits, for what is an exponential by now.
            np.testing.assert_allclose([u[i], v[i]], [u[i - 1], v[i - 1]], rtol=0, atol=2e-14)
            if abs(u0) != abs(v0) or y * u0 * v0 > 0:
                step = q * (t - TIMES[i - 1])
                np.testing.assert_allclose(log[i] - log[i - 1], -step, rtol=1e-14)
            continue
        eu, ev, elog, esign = exact(t, y, u0, v0)
        np.testing.assert_allclose([u[i], v[i]], [eu, ev], rtol=0, atol=2e-14)
        np.testing.assert_allclose(log[i], elog, rtol=0, atol=1e-13 + 1e-15 * q * t)
        assert sign[i] == esign


@pytest.mark.parametrize(("y", "u0", "v0"), STARTS)
def test_scalar_is_the_flow(y, u0, v0):
    ts = np.array([0.1, 1.0, 4.0])

    def field(_, z):
        E = y - z[0] * z[1]
        return [E * z[1], E * z[0]]

    out = solve_ivp(field, (0, 4.0), [u0, v0], "DOP853", ts, rtol=1e-13, atol=1e-16)
    # Near the saddle's manifold the integration, not the formula, loses digits.
    np.testing.assert_allclose(scalar(ts, y, u0, v0), out.y, atol=1e-10)


@given(*[st.floats(-3, 3)] * 3, st.floats(-8, 4))
@example(1.0, 0.5, 0.5 + 1e-12, 3.0)
@example(1e-3, 2.0, -2.0, 1.0)
def test_scalar_residual_keeps_its_digits(y, u0, v0, log_t):
    t = 10.0**log_t
    q = np.hypot(u0**2 - v0**2, 2 * y)
    # The oracle's cost grows with q t; the rounding of y - u0 v0 is part of the question.
    assume(q * t < 1500)
    E0 = abs(y - u0 * v0)
    assume(1e-3 * max(abs(y), abs(u0 * v0)) < E0)
    # No data closer to the subnormal numbers than any experiment.
    assume(all(x == 0 or abs(x) > 1e-30 for x in (y, u0, v0, E0)))
    log, sign = scalar_residual(t, y, u0, v0)
    _, _, expected, expected_sign = exact(t, y, u0, v0)
    assert abs(log - expected) < 2e-12 + 2e-15 * q * t
    assert sign == expected_sign


def test_the_residual_underflows_long_after_the_weights_are_blind():
    log, _ = scalar_residual(np.array([400.0, 1e4]), 1.0, 0.9, 0.2)
    q = np.hypot(0.9**2 - 0.2**2, 2.0)
    assert -1000 < log[0] < -600
    np.testing.assert_allclose(log[1] - log[0], -9600 * q, rtol=1e-13)
    u, v = scalar(400.0, 1.0, 0.9, 0.2)
    assert abs(1 - u * v) < 1e-15


def test_the_residual_without_imbalance_is_that_of_saxe():
    t = np.linspace(0, 5, 9)
    log, sign = scalar_residual(t, 1.2, 0.3, 0.3)
    np.testing.assert_allclose(sign * np.exp(log), 1.2 - theory.saxe(t, 1.2, 0.09), rtol=1e-11)


def test_exact_states_of_rest():
    for y in (0.5, -0.5):
        u, v = scalar(TIMES, y, 0.4, -0.4 * np.sign(y))
        # On the stable manifold of the saddle, and never off it.
        np.testing.assert_allclose([u[-1], v[-1]], 0, atol=1e-300)
        log, _ = scalar_residual(TIMES, y, 0.4, -0.4 * np.sign(y))
        np.testing.assert_allclose(log[-1], np.log(0.5), rtol=1e-14)
    u, v = scalar(TIMES, 1.0, 2.0, 0.5)
    np.testing.assert_allclose(u, 2.0, rtol=1e-14)
    np.testing.assert_allclose(v, 0.5, rtol=1e-14)
    log, sign = scalar_residual(TIMES, 1.0, 2.0, 0.5)
    assert np.all(log == -np.inf)
    assert np.all(sign == 0)
    assert np.all(np.asarray(scalar(TIMES, 1.0, 0.0, 0.0)) == 0)


@given(*[st.floats(-3, 3)] * 3, st.floats(0, 1e4))
def test_scalar_conserves_its_imbalance(y, u0, v0, t):
    u, v = scalar(t, y, u0, v0)
    np.testing.assert_allclose(u**2 - v**2, u0**2 - v0**2, atol=1e-12)
    log, _ = scalar_residual(t, y, u0, v0)
    assert log <= np.log(max(abs(y - u0 * v0), 1e-300)) + 1e-12


def test_shapes_dtypes_and_transformations():
    t, y = np.linspace(0, 1, 6).reshape(2, 3), np.array([1.0, -0.5, 0.2, 0.0])
    for found in (*theory.scalar(t, y, 0.3, 0.1), *theory.scalar_residual(t, y, 0.3, 0.1)):
        assert found.shape == (2, 3, 4)
    assert theory.saxe(t, y, 0.3).shape == (2, 3, 4)
    whole = theory.scalar(t, y, 0.3, 0.1)[0]
    mapped = jax.jit(jax.vmap(lambda y: theory.scalar(t, y, 0.3, 0.1)[0], out_axes=-1))(y)
    np.testing.assert_allclose(mapped, whole, rtol=1e-14)
    one = jnp.float32(1.0)
    for found in (
        *theory.scalar(t, one, 0.3, 0.1),
        *theory.scalar_residual(t, one, 0.3, 0.1),
        theory.saxe(t, one, 0.1),
        theory.saxe_time(one, 0.1, 0.5),
    ):
        assert found.dtype == jnp.float32
    assert theory.scalar(1, 1, 1, 0)[0].dtype == jnp.float64
    assert jax.jit(lambda t: theory.saxe(t, 1.0, 0.5))(0.3) == theory.saxe(0.3, 1.0, 0.5)
