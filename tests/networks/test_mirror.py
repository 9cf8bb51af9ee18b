"""The mirror map of the diagonal network, against its definition in multiprecision."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jaxflow.networks import DiagonalLinear, MirrorMap


def exact(q, alpha, depth, skip, digits=60):
    """beta, its slope and the conjugate at q, from the parameters, with these digits."""
    with mpmath.workdps(digits):
        q, alpha, L, skip = map(mpmath.mpf, (q, alpha, depth, skip))
        e = L - 2
        x = L * alpha**e * q
        u = alpha * (mpmath.exp(x) if e == 0 else (1 - e * x) ** (-1 / e))
        v = alpha * (mpmath.exp(-x) if e == 0 else (1 + e * x) ** (-1 / e))
        return (
            u**L - v**L + skip**2 * q,
            L**2 * (u ** (2 * L - 2) + v ** (2 * L - 2)) + skip**2,
            (u**2 + v**2 - 2 * alpha**2) / (2 * L) + skip**2 * q**2 / 2,
        )


def off(found, expected):
    return abs(float((mpmath.mpf(float(found)) - expected) / expected))


depths = st.sampled_from([2.0, 2.3, 3.0, 4.0, 7.0])
scales = st.floats(-30, 2).map(lambda p: 10.0**p)
skips = st.sampled_from([0.0, 0.1, 2.0])
sizes = st.floats(-8, 3).map(lambda p: 10.0**p)


@given(depths, scales, skips, sizes, st.booleans())
def test_against_its_definition(depth, alpha, skip, size, negative):
    lost = (alpha**depth / size) ** ((depth - 2) / depth) if skip == 0 else 1.0
    if lost < 1e-10:
        return  # no digits left: see the docstring
    mirror = MirrorMap(alpha, depth, skip)
    beta = jnp.asarray([-size if negative else size])
    q = mirror.gradient(beta)
    tolerance = 3e-13 / min(lost, 1.0)
    np.testing.assert_allclose(mirror.inverse(q), beta, rtol=tolerance)
    value, slope, conjugate = exact(float(q[0]), alpha, depth, skip)
    assert off(mirror.inverse(q)[0], value) < tolerance
    assert off(mirror.slope(q)[0], slope) < 2 * tolerance
    assert off(mirror.conjugate(q), conjugate) < 2 * tolerance


@given(depths, st.floats(-2, 1).map(lambda p: 10.0**p), skips)
@settings(max_examples=20)
def test_derivatives(depth, alpha, skip):
    mirror = MirrorMap(alpha, depth, skip)
    beta = jnp.asarray([-0.3, 0.0, 0.02, 1.1])
    q = mirror.gradient(beta)
    np.testing.assert_allclose(jax.grad(mirror.potential)(beta), q, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(jax.grad(mirror.conjugate)(q), beta, rtol=1e-8, atol=1e-12)
    slope = jax.jvp(mirror.inverse, (q,), (jnp.ones(4),))[1]
    np.testing.assert_allclose(slope, mirror.slope(q), rtol=1e-8)
    back = jax.jvp(mirror.gradient, (beta,), (jnp.ones(4),))[1]
    np.testing.assert_allclose(back * slope, 1.0, rtol=1e-8)
    bend = jax.jvp(lambda q: jnp.log(mirror.slope(q)), (q,), (jnp.ones(4),))[1]
    assert np.all(np.abs(bend) <= mirror.bend(q) * (1 + 1e-12))


def test_hypentropy():
    """At depth 2 the potential is a quarter of `a^2 sum (2 - sqrt(4 + z^2) + z asinh(z/2))`."""
    beta, alpha = jnp.asarray([-0.7, 0.2, 1.5]), 0.3
    z = beta / alpha**2
    expected = alpha**2 * jnp.sum(2 - jnp.sqrt(4 + z**2) + z * jnp.arcsinh(z / 2)) / 4
    np.testing.assert_allclose(MirrorMap(alpha).potential(beta), expected, rtol=1e-12)


@pytest.mark.parametrize("depth", [2.5, 3.0, 4.0])
def test_potential_of_greater_depth_is_the_one_in_print(depth):
    """`q_L = int_0^z h_L^-1`, `h_L(z) = (1 - z)^(-L/(L-2)) - (1 + z)^(-L/(L-2))`, by quadrature."""
    beta, alpha = 0.8, 0.5
    p = mpmath.mpf(depth) / (depth - 2)

    def h(z):
        return (1 - z) ** -p - (1 + z) ** -p

    ends = {"solver": "bisect", "maxsteps": 200, "tol": 1e-15}
    end = mpmath.findroot(lambda z: h(z) - beta / alpha**depth, (0, 0.999), **ends)
    # The area under the inverse: a rectangle less that under the function.
    value = end * beta / alpha**depth - mpmath.quad(h, [0, end])
    expected = alpha**2 / (depth * (depth - 2)) * value
    np.testing.assert_allclose(
        MirrorMap(alpha, depth).potential(jnp.asarray([beta])), float(expected), rtol=1e-11
    )


def test_scales_beyond_the_range_of_numbers():
    mirror = MirrorMap(log_alpha=-1000.0)
    beta = jnp.asarray([2.0, -1e-3, 0.0])
    np.testing.assert_allclose(mirror.inverse(mirror.gradient(beta)), beta, rtol=1e-12)


def test_it_maps_over_scales_depths_and_skips():
    beta = jnp.asarray([0.5, -0.1])
    alphas, depths, skips = jnp.asarray([0.1, 1.0]), jnp.asarray([2.0, 3.0]), jnp.asarray([0, 0.3])
    made = jax.vmap(lambda a, L, s: MirrorMap(a, L, s).gradient(beta))(alphas, depths, skips)
    for row, a, L, s in zip(made, alphas, depths, skips, strict=True):
        np.testing.assert_allclose(row, MirrorMap(a, L, s).gradient(beta), rtol=1e-13)


def test_a_network_has_the_mirror_map_of_its_start():
    u, v = jnp.asarray([0.4, 0.7]), jnp.asarray([0.9, 0.7])
    network = DiagonalLinear(u, v, 3.0, w=jnp.asarray([1.0, 2.0]), skip=0.5)
    np.testing.assert_allclose(
        network.mirror.inverse(jnp.zeros(2)) + network.offset, network.beta, rtol=1e-14
    )
    q = jnp.asarray([0.2, -0.1])
    moved = network.at(q)
    np.testing.assert_allclose(moved.beta, network.mirror.inverse(q) + network.offset, rtol=1e-13)
    np.testing.assert_allclose(moved.w, network.w + 0.5 * q)


def test_give_one_of_alpha_and_its_logarithm():
    with pytest.raises(ValueError, match="one of them"):
        MirrorMap()
