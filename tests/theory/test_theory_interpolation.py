"""The programs whose solutions the flows of diagonal networks end at, and pass."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.optimize import minimize

import jaxflow as jf
from jaxflow import theory
from jaxflow.theory import MirrorMap

LINE = jf.Regression(np.array([[1.0, 1, 1], [3, 0, 1]]), np.array([3.0, 3]))


def line_limit(depth):
    """The closed form of Wind, Antun and Hansen (2023)."""
    if depth == 2:
        t = (4 - 6 * 2 ** (1 / 3) + 9 * 2 ** (2 / 3)) / 31
    else:
        t = 1 / (1 + (3 ** (2 / depth) / (2 ** (2 / depth) + 1)) ** (-depth / (depth - 2)))
    return np.array([1 - t, 2 * (1 - t), 3 * t])


@pytest.mark.parametrize("depth", [2.0, 2.5, 3.0, 4.0])
def test_selected_minimizer_of_the_line(depth):
    np.testing.assert_allclose(theory.least_l1(LINE, depth=depth), line_limit(depth), atol=1e-13)
    # Without a depth: any of them.
    assert np.abs(theory.least_l1(LINE)).sum() == pytest.approx(3, abs=1e-9)


@pytest.mark.parametrize("more", [1e-5, 1e-9, 1e-13])
def test_the_limit_is_continuous_in_the_depth_at_two(more):
    at = theory.least_l1(LINE, depth=2.0)
    gap = np.abs(theory.least_l1(LINE, depth=2.0 + more) - at).max()
    assert gap <= 0.1 * more + 1e-13


@pytest.mark.parametrize(("depth", "alpha"), [(2.0, 1e-8), (2.5, 1e-4), (3.0, 1e-3)])
def test_small_starts_end_near_it(depth, alpha):
    found = theory.least_potential(MirrorMap(alpha, depth), LINE)
    np.testing.assert_allclose(found.beta, line_limit(depth), atol=1e-8)


def test_a_plane_of_minimizers():
    """Where the face has two dimensions: the potential itself, far down, agrees."""
    data = jf.Regression(np.array([[2.0, -1, 0, 1], [0, 3, 2, 0]]), np.array([0.0, 6]))
    for depth, alpha in ((2.0, 1e-12), (3.0, 1e-4)):
        near = theory.least_potential(MirrorMap(alpha, depth), data)
        np.testing.assert_allclose(theory.least_l1(data, depth=depth), near.beta, atol=1e-7)


@pytest.mark.parametrize("depth", [2.0, 2.5, 3.0, 4.0])
@pytest.mark.parametrize("alpha", [1e-2, 0.3, 10.0])
def test_optimality(depth, alpha):
    """Feasible, and its gradient in the row space of X: a convex program needs no more."""
    data = jf.data.gaussian(jr.key(1), 3, 7, 1)
    mirror = MirrorMap(alpha, depth, 0.2)
    found = theory.least_potential(mirror, data)
    assert found.residual < 1e-13
    np.testing.assert_allclose(data.X @ found.beta, data.Y[:, 0], rtol=1e-11)
    q = mirror.gradient(found.beta)
    off = q - data.right @ (data.right.T @ q)
    assert jnp.linalg.norm(off) < 1e-9 * jnp.linalg.norm(q)


def test_no_other_interpolator_has_less_potential():
    data = jf.data.gaussian(jr.key(2), 3, 7, 1)
    mirror = MirrorMap(0.2, 3.0)
    found = theory.least_potential(mirror, data)
    null = np.linalg.svd(np.asarray(data.X))[2][3:].T

    def potential(t):
        return float(mirror.potential(found.beta + jnp.asarray(null @ t)))

    best = minimize(potential, np.full(4, 0.1), method="Nelder-Mead", options={"xatol": 1e-9})
    assert np.linalg.norm(best.x) < 1e-4
    assert potential(np.zeros(4)) <= best.fun + 1e-13


def test_the_ends_are_the_least_norms():
    data = jf.data.gaussian(jr.key(3), 3, 7, 1)
    large = theory.least_potential(MirrorMap(1e3, 2.0), data)
    np.testing.assert_allclose(large.beta, data.min_norm[:, 0], rtol=1e-6)
    small = theory.least_potential(MirrorMap(1e-40, 2.0), data)
    np.testing.assert_allclose(small.beta, theory.least_l1(data, depth=2.0), atol=1e-6)
    # Beyond the digits of the dual variable, where Newton's method has none.
    far = theory.flow_limit(MirrorMap(1e-30, 4.0), data)
    np.testing.assert_array_equal(far, theory.least_l1(data, depth=4.0))
    near = theory.flow_limit(MirrorMap(0.1, 4.0), data)
    np.testing.assert_allclose(
        near, theory.least_potential(MirrorMap(0.1, 4.0), data).beta, rtol=1e-12
    )


def test_it_maps_over_scales_and_depths():
    data = jf.data.gaussian(jr.key(4), 3, 7, 1)
    alphas, depths = jnp.asarray([0.01, 0.1, 1.0]), jnp.asarray([2.0, 3.0, 4.0])
    many = jax.jit(jax.vmap(lambda a, L: theory.least_potential(MirrorMap(a, L), data)))
    found = many(alphas, depths)
    for i in range(3):
        alone = theory.least_potential(MirrorMap(alphas[i], depths[i]), data)
        np.testing.assert_allclose(found.beta[i], alone.beta, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("program", ["least_potential", "flow_limit", "least_l1"])
def test_what_cannot_be_interpolated(program):
    solve = getattr(theory, program)
    arguments = () if program == "least_l1" else (MirrorMap(1.0),)
    with pytest.raises(ValueError, match="single output"):
        solve(*arguments, jf.data.gaussian(jr.key(5), 3, 6, 2))
    with pytest.raises(ValueError, match="No beta solves"):
        solve(*arguments, jf.data.gaussian(jr.key(5), 6, 3, 1))


def labelled(seed=6, samples=10, features=15):
    X = np.asarray(jr.normal(jr.key(seed), (samples, features)))
    return jf.Regression(X, np.sign(X[:, 0] + 0.3 * X[:, 1]))


def check_separator(found, data, dual):
    """Feasible, multipliers of the right sign, complementary: then it is the optimum."""
    A = np.asarray(data.Y * data.X)
    margins = A @ found.beta
    assert margins.min() > 1 - 1e-8
    assert found.multipliers.min() >= 0
    assert np.abs(found.multipliers * (margins - 1)).max() < 1e-7 * found.multipliers.max()
    np.testing.assert_allclose(A.T @ found.multipliers, dual, atol=1e-7 * np.abs(dual).max())


def test_margins():
    data = labelled()
    l2 = theory.max_margin_l2(data)
    check_separator(l2, data, l2.beta)
    for depth in (2.0, 3.0):
        mirror = MirrorMap(0.2, depth)
        found = theory.max_margin_potential(mirror, data)
        check_separator(found, data, np.asarray(mirror.gradient(jnp.asarray(found.beta))))
    l1 = theory.max_margin_l1(data)
    A = np.asarray(data.Y * data.X)
    assert (A @ l1.beta).min() > 1 - 1e-8
    assert np.abs(A.T @ l1.multipliers).max() < 1 + 1e-8
    # No gap between the programs.
    assert l1.multipliers.sum() == pytest.approx(np.abs(l1.beta).sum(), rel=1e-8)


def test_potential_margins_lie_between_those_of_the_norms():
    data = labelled()
    kernel = theory.max_margin_potential(MirrorMap(1e3), data).beta
    np.testing.assert_allclose(kernel, theory.max_margin_l2(data).beta, rtol=1e-5)
    rich = theory.max_margin_potential(MirrorMap(1e-60), data).beta
    np.testing.assert_allclose(rich, theory.max_margin_l1(data).beta, atol=1e-6)


def test_stationarity_of_the_l1_margin_at_depth_2():
    """At depth 2 the problem is convex: its solution is stationary, another point is not."""
    data = labelled()
    assert theory.stationarity(theory.max_margin_l1(data).beta, data, 2.0) < 1e-7
    assert theory.stationarity(theory.max_margin_l2(data).beta, data, 2.0) > 0.1


@pytest.mark.parametrize("program", ["max_margin_l1", "max_margin_l2"])
def test_labels_that_no_beta_separates(program):
    X = np.array([[1.0, 0], [-1, 0], [0, 1]])
    with pytest.raises(ValueError, match="separates"):
        getattr(theory, program)(jf.Regression(X, np.ones(3)))
    with pytest.raises(ValueError, match=r"\+1 and -1"):
        getattr(theory, program)(jf.Regression(X, np.array([0.0, 1, 1])))


def test_a_separator_has_to_separate():
    data = labelled()
    with pytest.raises(ValueError, match="does not separate"):
        theory.stationarity(-theory.max_margin_l2(data).beta, data, 3.0)


def test_interpolators_are_differentiable():
    """By the scale of the start: implicit differences agree."""
    data = jf.data.gaussian(jr.key(7), 3, 6, 1)
    mirror = MirrorMap(0.3, 3.0)
    found = theory.least_potential(mirror, data)
    assert isinstance(found, eqx.Module)
    other = theory.least_potential(MirrorMap(0.3 * (1 + 1e-6), 3.0), data)
    change = (other.beta - found.beta) / 1e-6
    assert 1e-3 < jnp.linalg.norm(change) < 1
