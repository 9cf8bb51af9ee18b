"""Stiff flows under any loss: implicit steps of many and of few parameters, log-loss flows of
several classes, and Newton's method at the end."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import mpmath
import numpy as np
import pytest
import scipy.integrate
from hypothesis import given, settings, strategies as st

import jaxflow as jf
from jaxflow import theory
from jaxflow.networks.margins import soft_margins

N, D = 12, 3
_rng = np.random.default_rng(0)
X = _rng.normal(size=(N, D)) * [3.0, 1.0, 0.1]
LABELS = np.arange(N) % 3
CLASSES = jf.Classification(X + 4 * np.eye(3)[LABELS], LABELS)
NUMBERS = jf.Regression(X, np.sin(X[:, :1]) + 0.5 * _rng.normal(size=(N, 1)))


class Own(eqx.Module):
    """A network that the package has never seen."""

    A: jax.Array
    B: jax.Array

    def __init__(self, outputs, width, key):
        a, b = jr.split(key)
        self.A, self.B = jr.normal(a, (width, D)), jr.normal(b, (outputs, width)) / width

    def __call__(self, x):
        return self.B @ jnp.arctan(self.A @ x)


def pseudo_huber(prediction, target):
    """A loss that the package has never seen, with its optimum at 0."""
    return jnp.sum(jnp.sqrt(1 + (prediction - target) ** 2) - 1)


def flat(network):
    return np.asarray(jax.flatten_util.ravel_pytree(eqx.filter(network, eqx.is_array))[0])


@pytest.mark.parametrize(
    ("data", "loss"),
    [(CLASSES, "cross_entropy"), (NUMBERS, pseudo_huber), (NUMBERS, "squared")],
    ids=["cross_entropy", "own", "squared"],
)
@pytest.mark.parametrize("width", [2, 40], ids=["few", "many"])
def test_implicit_steps_are_those_of_the_flow(data, loss, width):
    """Both kinds of stages (few parameters, many) against the explicit solver."""
    network = Own(data.outputs, width, jr.key(1))
    options = {"ts": [0.5, 4.0], "loss": loss, "formulation": "parameters", "rtol": 1e-8}
    implicit = jf.gradient_flow(network, data, solver="implicit", **options).check()
    explicit = jf.gradient_flow(network, data, solver="explicit", **options).check()
    assert implicit.stats["implicit"]
    assert not explicit.stats["implicit"]
    wanted = flat(explicit.network)
    close = 2e-8 * np.linalg.norm(wanted)
    np.testing.assert_allclose(flat(implicit.network), wanted, rtol=0, atol=close)
    np.testing.assert_allclose(implicit.log_excess, explicit.log_excess, atol=1e-7)


def test_a_curvature_of_the_network_as_stiff_as_the_rest():
    """One target far out, whose pull stays: 690 steps, where 10,000 did not do unmixed."""
    far = jf.Regression(X, NUMBERS.Y.at[0].set(100.0))
    options = {"ts": [10.0, 300.0], "loss": pseudo_huber, "formulation": "parameters"}
    found = jf.gradient_flow(
        Own(1, 40, jr.key(1)), far, solver="implicit", rtol=1e-8, **options
    ).check()
    assert found.stats["steps"] < 1000


@pytest.mark.parametrize("width", [2, 40], ids=["few", "many"])
def test_rates_of_parameters(width):
    """`theta' = -D grad L`, beside SciPy, by implicit and by explicit steps."""
    network = Own(1, width, jr.key(1))
    fast = jf.with_rates(network, (lambda n: n.A, 4.0), (lambda n: n, 0.5))
    start, unravel = jax.flatten_util.ravel_pytree(network)
    D = flat(
        eqx.tree_at(lambda n: n.A, jax.tree.map(lambda v: 0 * v + 0.5, network), 0 * network.A + 2)
    )

    @jax.jit
    def field(theta):
        return jax.grad(lambda w: pseudo_huber(jax.vmap(unravel(w))(X), NUMBERS.Y))(theta)

    wanted = scipy.integrate.solve_ivp(
        lambda t, y: -D * np.asarray(field(y)), (0, 2.0), start, rtol=1e-10, atol=1e-12
    ).y[:, -1]
    options = {"ts": [0.5, 2.0], "loss": pseudo_huber, "rtol": 1e-8}
    for solver in ("implicit", "explicit"):
        found = jf.gradient_flow(fast, NUMBERS, solver=solver, **options).check()
        np.testing.assert_allclose(flat(found.network.network), wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(flat(fast.network), start, rtol=1e-15)


def test_rates_that_cannot_be():
    network = Own(1, 2, jr.key(1))
    with pytest.raises(ValueError, match="rate must be positive"):
        jf.with_rates(network, (lambda n: n.A, 0.0))
    with pytest.raises(ValueError, match="pairs"):
        jf.with_rates(network, (lambda n: n.nothing, 2.0))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_the_expected_loss_over_gaussian_inputs(seed):
    """Two erf networks, teacher and student, beside the closed form of Saad and Solla (1995)."""
    rng = np.random.default_rng(seed)
    W, B = rng.normal(size=(3, 2)) / 2, 0.5 * rng.normal(size=(2, 2))
    v = rng.normal(size=3)

    def net(weights, outer):
        return lambda x: (outer @ jax.scipy.special.erf(weights @ x / np.sqrt(2)))[None]

    data, weights = jf.data.gauss_hermite(net(B, np.ones(2)), 2, nodes=40)
    found = jf.WeightedLoss(weights)(jax.vmap(net(W, v))(data.X), data.Y)
    rows, signs = np.concatenate([W, B]), np.append(v, -np.ones(2))
    Q = rows @ rows.T
    norms = np.sqrt(1 + np.diag(Q))
    wanted = signs @ np.arcsin(Q / np.outer(norms, norms)) @ signs / np.pi
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)


def test_a_weighted_loss_and_a_stop_by_other_data():
    """Weights of 1 and 2 are samples that stand once and twice; the loss on them stops the flow."""
    network, w = Own(1, 2, jr.key(1)), 1 + np.arange(N) % 2
    stop = jf.until.loss_on(NUMBERS, 5.0, loss="squared")
    one = jf.gradient_flow(
        network, NUMBERS, loss=jf.WeightedLoss(jnp.asarray(w, float), pseudo_huber), until=stop
    ).check()
    twice = jf.Regression(np.repeat(X, w, axis=0), np.repeat(NUMBERS.Y, w, axis=0))
    two = jf.gradient_flow(network, twice, loss=pseudo_huber, until=stop).check()
    np.testing.assert_allclose(one.t1, two.t1, rtol=1e-6)
    np.testing.assert_allclose(flat(one.network), flat(two.network), atol=1e-6)
    left = np.asarray(NUMBERS.Y) - jax.vmap(one.network)(X)
    np.testing.assert_allclose(0.5 * np.sum(left**2), 5.0, rtol=1e-6)


def test_derivatives_of_implicit_steps():
    """Of the loss at the end by the targets, against central differences, for both kinds."""

    options = {"ts": [1.0], "loss": pseudo_huber, "solver": "implicit", "rtol": 1e-9}

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def end(shift, network):
        data = jf.Regression(NUMBERS.X, NUMBERS.Y + shift)
        return jf.gradient_flow(network, data, **options).log_excess1

    for width in (2, 40):
        network, h = Own(1, width, jr.key(1)), 1e-4
        (low, _), (_, slope), (high, _) = (end(jnp.array(0.1 + d), network) for d in (-h, 0.0, h))
        np.testing.assert_allclose(slope, (high - low) / (2 * h), rtol=1e-5)


def test_a_minimum_of_positive_loss():
    """Fewer parameters than residuals: auto takes them as the system, to where SciPy's BDF ends."""
    rng = np.random.default_rng(2)
    data = jf.Regression(rng.normal(size=(60, 2)) * [10, 0.1], rng.normal(size=(60, 1)))
    network = eqx.nn.MLP(2, 1, 2, 1, activation=jnp.tanh, key=jr.key(3), dtype=jnp.float64)
    parameters, rest = eqx.partition(network, eqx.is_array)
    start, unravel = jax.flatten_util.ravel_pytree(parameters)

    @jax.jit
    def field(theta):
        def loss(theta):
            f = jax.vmap(eqx.combine(unravel(theta), rest))(data.X)
            return 0.5 * jnp.sum((f - data.Y) ** 2)

        return -jax.grad(loss)(theta)

    jacobian = jax.jit(jax.jacfwd(field))
    found = jf.gradient_flow(network, data, ts=[300.0], solver="implicit").check()
    wanted = scipy.integrate.solve_ivp(
        lambda t, y: np.asarray(field(y)),
        (0, 300.0),
        np.asarray(start),
        method="BDF",
        rtol=1e-9,
        atol=1e-11,
        jac=lambda t, y: np.asarray(jacobian(y)),
    )
    np.testing.assert_allclose(flat(found.network), wanted.y[:, -1], rtol=0, atol=1e-6)
    assert found.stats["steps"] < len(wanted.t)

    polished = jf.polish(found.network, data)
    assert polished.gradient < 1e-12
    H = theory.hessian(polished.network, data)
    values = np.linalg.eigvalsh(H)
    np.testing.assert_allclose(polished.eigenvalues, values, atol=1e-10 * values[-1])
    assert polished.signature == (np.sum(values < -1e-9), 0, np.sum(values > 1e-9))
    assert "zero" in repr(polished)


def test_polish_of_many_parameters(monkeypatch):
    """MINRES steps end where dense ones do; a frozen layer stays."""
    network = Own(1, 20, jr.key(1))
    near = jf.gradient_flow(network, NUMBERS, until=jf.until.loss_ratio(1e-12)).network
    dense = jf.polish(near, NUMBERS)
    monkeypatch.setattr("jaxflow.dynamics.newton.DENSE", 10)
    krylov = jf.polish(near, NUMBERS)
    assert max(dense.gradient, krylov.gradient) < 1e-11
    assert krylov.signature is None
    np.testing.assert_allclose(krylov.loss, dense.loss, atol=1e-12)
    frozen = jf.polish(near, NUMBERS, where=lambda n: n.B)
    np.testing.assert_array_equal(frozen.network.A, near.A)
    with pytest.raises(ValueError, match="steps"):
        jf.polish(near, NUMBERS, steps=0)


def test_the_flow_time_of_several_classes():
    """On the clock `-log L` the flow is where it is at that time, and says what time it is."""
    network = Own(3, 20, jr.key(1))
    s = [-2.0, 0.0, 2.0, 4.0]
    clock = jf.log_loss_flow(network, CLASSES, s, loss=jf.CrossEntropyLoss(), rtol=1e-9).check()
    flow = jf.gradient_flow(
        network, CLASSES, ts=np.exp(clock.log_time), loss="cross_entropy", rtol=1e-9
    ).check()
    np.testing.assert_allclose(flow.log_excess, -np.asarray(s), atol=1e-6)
    np.testing.assert_allclose(flat(flow.network), flat(clock.network), rtol=0, atol=1e-6)
    outputs = jax.vmap(clock.network)(CLASSES.X)
    np.testing.assert_allclose(clock.margins[-1], soft_margins(outputs, CLASSES.Y), rtol=1e-10)


def test_a_linear_predictor_of_several_classes_tends_to_the_largest_margin():
    """Soudry et al.: down to a loss of e^-1e7, where the direction is optimal up to 1e-6."""
    network = eqx.nn.Linear(D, 3, use_bias=False, key=jr.key(0), dtype=jnp.float64)
    s = np.array([1e2, 1e4, 1e7])
    kept = jf.measures.along("weight", lambda network, data: network.weight)
    found = jf.log_loss_flow(
        network, CLASSES, s, loss=jf.CrossEntropyLoss(), rtol=1e-7, measures=[kept]
    ).check()
    best = theory.max_margin_l2(CLASSES)
    assert 0 <= best.gap < 1e-8
    assert theory.max_margin_l1(CLASSES).gap < 1e-8
    target = best.beta.T - best.beta.T.mean(0)  # the flow keeps the mean over classes
    weights = np.asarray(found.measures["weight"])
    weights = weights - weights.mean(1, keepdims=True)
    far = np.linalg.norm(
        weights / np.linalg.norm(weights, axis=(1, 2), keepdims=True)
        - target / np.linalg.norm(target),
        axis=(1, 2),
    )
    assert np.all(np.diff(far) < 0)
    assert far[-1] < 1e-5
    margin = found.margins[-1].min() / np.linalg.norm(weights[-1])
    assert 1 - margin * np.linalg.norm(target) < 1e-5
    # The multipliers are the optimality condition: the gradients of the margins sum to beta.
    ahead = np.asarray(CLASSES.Y)[:, None, :] - np.eye(3)[None]
    rows = np.asarray(CLASSES.X)[:, None, :, None] * ahead[:, :, None, :]
    np.testing.assert_allclose(
        np.einsum("nk,nkdm->dm", best.multipliers, rows), best.beta, rtol=1e-6, atol=1e-9
    )


def test_the_cross_entropy_of_large_margins():
    """Value and gradient to all digits where `1 - p` is far below rounding."""
    f, y = jnp.array([[80.0, 0.0, -1.0]]), jnp.array([[1.0, 0.0, 0.0]])
    value, slope = jax.value_and_grad(jf.CrossEntropyLoss())(f, y)
    with mpmath.workdps(60):
        rest = mpmath.exp(-80) + mpmath.exp(-81)
        wanted = mpmath.log1p(rest)
        slopes = [-rest / (1 + rest), mpmath.exp(-80) / (1 + rest), mpmath.exp(-81) / (1 + rest)]
    np.testing.assert_allclose(value, float(wanted), rtol=1e-13)
    np.testing.assert_allclose(slope[0], [float(v) for v in slopes], rtol=1e-13)
    soft = jf.CrossEntropyLoss()(f, jnp.array([[0.2, 0.5, 0.3]]))
    np.testing.assert_allclose(soft, 0.5 * 80 + 0.3 * 81, rtol=1e-14)
    np.testing.assert_allclose(jf.LogisticLoss()(f, y), value, rtol=1e-13)


def test_auto_weighs_every_loss():
    """Explicit steps where the loss falls like 1/t, implicit ones down to a far minimum."""
    network = Own(1, 20, jr.key(1))
    far = jf.gradient_flow(
        network, NUMBERS, loss=pseudo_huber, until=jf.until.gradient_norm(1e-6), max_steps=2000
    ).check()
    assert far.stats["implicit"]
    near = jf.gradient_flow(
        Own(3, 20, jr.key(1)), CLASSES, loss="cross_entropy", until=jf.until.loss(0.1)
    ).check()
    assert not near.stats["implicit"]
