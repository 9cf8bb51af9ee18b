"""Every formulation is the same flow, in coordinates of its own."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jaxtyping import Array, Float

import jaxflow as jf
from jaxflow.dynamics.formulations import (
    Filippov,
    LogLossParameters,
    Parameters,
    Residual,
    TwoLayerResidual,
    choose,
    formulations,
)

LINEAR = (TwoLayerResidual, Residual, Parameters)
SQUARED = jf.SquaredLoss()


# n, D, r, m, h: any of them the largest, the rank full or not. A shape is a program.
SHAPES = [(1, 1, 1, 1, 1), (4, 3, 2, 1, 2), (2, 5, 2, 2, 1), (2, 3, 1, 4, 2), (4, 5, 4, 2, 6)]


@st.composite
def problems(draw):
    """A network and data of any rank up to min(n, D), with any of n, m, D, h the largest."""
    n, D, r, m, h = draw(st.sampled_from(SHAPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    X = rng.normal(size=(n, r)) @ rng.normal(size=(r, D))
    data = jf.Regression(X, rng.normal(size=(n, m)), rank_tolerance=1e-10)
    assert data.rank == r
    network = jf.TwoLayerLinear(
        jnp.asarray(rng.normal(size=(D, h))), jnp.asarray(rng.normal(size=(m, h)))
    )
    return network, data


@eqx.filter_jit
def tangents(kind, network, data):
    """The state, its field, the network's velocity, and the state's velocity if the network moves
    with that."""
    form = kind.build(network, data, SQUARED)
    state = form.start(network)
    field = form.field(0.0, state, None)
    _, velocity = jax.jvp(lambda s: form.lift(s, network), (state,), (field,))
    _, back = jax.jvp(form.start, (network,), (velocity,))
    return form.lift(state, network), velocity, field, back, form.log_excess(state)


def close(got, expected, **tolerance):
    got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


@pytest.mark.parametrize("kind", LINEAR, ids=lambda kind: kind.name)
@settings(max_examples=20)
@given(problem=problems())
def test_field_is_minus_the_gradient(kind, problem):
    network, data = problem
    X, Y, U, V = (np.asarray(a) for a in (data.X, data.Y, network.U, network.V))
    lifted, velocity, field, back, log_excess = tangents(kind, network, data)
    close(lifted, network, rtol=0, atol=1e-13)
    G = X.T @ (Y - X @ U @ V.T)
    size = 1 + np.abs(X).max() ** 2 * (1 + np.abs(U).max() * np.abs(V).max()) ** 2
    np.testing.assert_allclose(velocity.U, G @ V, rtol=0, atol=1e-11 * size)
    np.testing.assert_allclose(velocity.V, G.T @ U, rtol=0, atol=1e-11 * size)
    # The redundant coordinate moves as the weights make it move.
    close(back, field, rtol=1e-9, atol=1e-10 * size)
    fit = np.linalg.lstsq(X, Y, rcond=1e-10)[0]
    excess = 0.5 * np.sum((X @ (fit - U @ V.T)) ** 2)
    np.testing.assert_allclose(np.exp(log_excess), excess, rtol=1e-9, atol=1e-13 * size)


@pytest.mark.parametrize("kind", [Residual, Parameters], ids=lambda kind: kind.name)
def test_field_of_any_module_is_minus_the_gradient(kind):
    rng = np.random.default_rng(0)
    data = jf.Regression(rng.normal(size=(4, 3)), rng.normal(size=(4, 2)))
    network = eqx.nn.MLP(3, 2, 4, 2, activation=jnp.tanh, key=jax.random.key(0))
    form = eqx.filter_jit(kind.build)(network, data, SQUARED)
    state = eqx.filter_jit(form.start)(network)
    lifted = eqx.filter_jit(form.lift)(state, network)
    assert jax.tree.structure(lifted) == jax.tree.structure(network)
    parameters, frozen = eqx.partition(network, eqx.is_inexact_array)

    @jax.jit
    def loss(parameters):
        prediction = jax.vmap(eqx.combine(parameters, frozen))(data.X)
        return 0.5 * jnp.sum((data.Y - prediction) ** 2)

    field = eqx.filter_jit(form.field)(0.0, state, None)
    moved = field.weights if kind is Residual else field
    gradient = jax.jit(jax.grad(loss))(parameters)
    close(moved, jax.tree.map(jnp.negative, gradient), rtol=1e-12, atol=1e-14)
    # And the gradient itself is what central differences say.
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), parameters)
    ends = [
        loss(jax.tree.map(lambda p, d, h=h: p + h * d, parameters, direction))
        for h in (1e-5, -1e-5)
    ]
    slope = sum(
        np.sum(np.asarray(a) * np.asarray(b))
        for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose(-slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-8)
    if kind is Residual:
        _, back = jax.jit(lambda *at: jax.jvp(lambda p: form.start(eqx.combine(p, frozen)), *at))(
            (parameters,), (moved,)
        )
        close(back.E, field.E, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", LINEAR, ids=lambda kind: kind.name)
def test_fastest_rate_is_that_of_the_loss_or_more(kind):
    rng = np.random.default_rng(1)
    data = jf.Regression(rng.normal(size=(4, 3)), rng.normal(size=(4, 2)))
    network = jf.TwoLayerLinear(
        jnp.asarray(rng.normal(size=(3, 5))), jnp.asarray(rng.normal(size=(2, 5)))
    )

    @eqx.filter_jit
    def rates(network, data):
        form = kind.build(network, data, SQUARED)
        state = form.start(network)
        field = form.field(0.0, state, None)
        return jax.jvp(form.log_excess, (state,), (field,))[1], form.fastest_rate(state)

    slope, fastest = rates(network, data)
    assert 0 < -slope <= 2.0001 * fastest


def test_no_drift_at_the_start():
    data = jf.Regression(np.eye(2), np.ones((2, 1)))
    network = jf.TwoLayerLinear(jnp.ones((2, 3)), jnp.ones((1, 3)))
    for kind in LINEAR:
        form = kind.build(network, data, SQUARED)
        assert form.discrepancy(form.start(network)) <= 1e-15
    form = TwoLayerResidual.build(network, data, SQUARED)
    state = form.start(network)
    off = eqx.tree_at(lambda s: s.weights.V, state, state.weights.V + 0.1)
    np.testing.assert_allclose(form.discrepancy(off), 0.3, rtol=1e-12)


# Which one is used


def log_cosh(prediction, target):
    return jnp.sum(jnp.log(jnp.cosh(prediction - target)))


@pytest.fixture
def linear():
    data = jf.Regression(np.eye(2), np.ones((2, 1)))
    return jf.TwoLayerLinear(jnp.ones((2, 3)), jnp.ones((1, 3))), data


def test_most_reduced_comes_first(linear):
    network, data = linear
    assert type(choose("auto", network, data, SQUARED)) is TwoLayerResidual
    assert type(choose("auto", network, data, log_cosh)) is Parameters
    smooth, kinked = (
        eqx.nn.MLP(2, 1, 3, 1, activation=phi, key=jax.random.key(0))
        for phi in (jnp.tanh, jax.nn.relu)
    )
    assert type(choose("auto", smooth, data, SQUARED)) is Residual
    assert type(choose("auto", kinked, data, SQUARED)) is Filippov
    for kind in LINEAR:
        assert type(choose(kind.name, network, data, SQUARED)) is kind


@pytest.mark.parametrize("name", ["two_layer_residual", "residual"])
def test_only_what_applies_can_be_chosen(linear, name):
    with pytest.raises(ValueError, match="one of 'auto', 'parameters'"):
        choose(name, *linear, log_cosh)


class Cubic(eqx.Module):
    """`f(x) = w^3 . x`: a network of the user's own."""

    w: Float[Array, " D"]

    def __call__(self, x):
        return jnp.sum(self.w**3 * x)[None]


class Marked(Parameters):
    """The same coordinates under a name of the user's own."""

    name: ClassVar[str] = "marked"
    calls: ClassVar[list[str]] = []

    def field(self, t, state, args):
        self.calls.append("field")
        return super().field(t, state, args)


def test_formulation_of_the_users_own_is_used():
    before = formulations(Cubic(jnp.ones(2)))
    assert before == (Filippov, Residual, Parameters, LogLossParameters)
    formulations.register(Cubic, lambda network: (Marked, *before))
    rng = np.random.default_rng(2)
    data = jf.Regression(rng.normal(size=(2, 2)), rng.normal(size=(2, 1)))
    network = Cubic(jnp.array([0.9, -0.4]))
    assert type(choose("auto", network, data, SQUARED)) is Marked
    own = jf.gradient_flow(network, data, ts=[0.0, 0.3], rtol=1e-11)
    assert Marked.calls
    Marked.calls.clear()
    residual = jf.gradient_flow(network, data, ts=[0.0, 0.3], rtol=1e-11, formulation="residual")
    assert not Marked.calls
    np.testing.assert_allclose(own.network.w, residual.network.w, rtol=1e-9)
    # Other networks are not touched.
    assert formulations(jf.TwoLayerLinear(jnp.ones((2, 1)), jnp.ones((1, 1)))) == (
        *LINEAR,
        LogLossParameters,
    )
