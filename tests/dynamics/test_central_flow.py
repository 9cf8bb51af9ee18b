"""Central flows of methods: what is known by hand, the optimizers themselves, and the edge."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, strategies as st
from jaxtyping import Array, Float
from scipy.integrate import solve_ivp

import jaxflow as jf
from jaxflow import theory
from jaxflow.dynamics.formulations import Parameters
from jaxflow.networks.complementarity import complementary

RATE, ALPHA = 0.1, np.array([0.3, 0.15])
NOTHING = jf.Regression(np.ones((1, 1)), np.zeros((1, 4)))
SOLVE = jax.jit(complementary)


class Numbers(eqx.Module):
    """A network that says what its parameters are, whatever it is asked."""

    p: Float[Array, " m"]

    def __call__(self, x):
        return self.p


class AdaGrad(jf.Method):
    """A method of a user's own, in three lines."""

    def init(self, theta):
        return jnp.full_like(theta, 1e-3)

    def update(self, state, gradient):
        return state + gradient**2

    def scale(self, state):
        return 1 / jnp.sqrt(state)


def toy(prediction, target):
    """Two copies of `(2 / eta + y) x^2 / 2 - alpha y`, and 10."""
    x, y = prediction[0, :2], prediction[0, 2:]
    return 10 + jnp.sum((2 / RATE + y) * x**2 / 2 - ALPHA * y)


def small():
    """Six samples, two outputs, 22 parameters: two eigenvalues rise together."""
    rng = np.random.default_rng(0)
    network = eqx.nn.MLP(2, 2, 4, 1, jnp.tanh, key=jax.random.key(1))
    return network, jf.Regression(rng.normal(size=(6, 2)), rng.normal(size=(6, 2)))


def flat(network):
    return np.asarray(jax.flatten_util.ravel_pytree(eqx.filter(network, eqx.is_inexact_array))[0])


@pytest.mark.parametrize("k", [1, 2, 3])
@given(seed=st.integers(0, 2**32 - 1))
def test_the_complementarity_problem_by_its_conditions(k, seed):
    rng = np.random.default_rng(seed)
    size = 10 ** rng.uniform(-1, 1, k)
    T = rng.normal(size=(k, k, 20)) + 2 * rng.normal(size=20)
    T = (T + T.swapaxes(0, 1)) * np.sqrt(np.outer(size, size))[:, :, None]
    M = 0.5 * np.einsum("ijp,klp->ijkl", T, T)
    B = rng.normal(size=(k, k)) * 10 ** rng.uniform(-4, 0)
    B = B + B.T
    if k > 1 and seed % 2:  # a direction far below the edge
        M[-1], M[:, -1], M[:, :, -1], M[:, :, :, -1] = 0, 0, 0, 0
        B[-1, :-1], B[:-1, -1], B[-1, -1] = 0, 0, 10
    X = np.asarray(SOLVE(jnp.asarray(B), jnp.asarray(M)))
    A = B + np.einsum("ijkl,kl->ij", M, X)
    low = max(-np.linalg.eigvalsh(B)[0], 0)
    if low == 0:
        assert not X.any()
        return
    length = np.linalg.norm(X)
    assert np.linalg.eigvalsh(X)[0] > -1e-9 * length
    assert np.linalg.eigvalsh(A)[0] > -1e-7 * low
    assert abs(np.sum(A * X)) < 1e-7 * low * length


@pytest.mark.parametrize(
    ("method", "optimizer"),
    [
        (jf.GradientDescent(), optax.sgd),
        (
            jf.RMSProp(beta2=0.9),
            lambda r: optax.rmsprop(r, decay=0.9, eps=1e-8, eps_in_sqrt=False),
        ),
        (
            jf.RMSProp(beta2=0.95, eps=1e-3, bias_correction=True),
            lambda r: optax.rmsprop(r, 0.95, 1e-3, eps_in_sqrt=False, bias_correction=True),
        ),
        (jf.Adam(), optax.adam),
    ],
)
def test_methods_are_those_of_optax(method, optimizer):
    network, data = small()
    with jax.numpy_dtype_promotion("standard"):  # Optax counts steps by integers
        ends = [
            jf.gradient_descent(network, data, rule, learning_rate=0.02, steps=30).network
            for rule in (method, optimizer)
        ]
    np.testing.assert_allclose(flat(ends[0]), flat(ends[1]), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", [jf.ScalarRMSProp(beta2=0.9, eps=0.0), AdaGrad()])
def test_methods_without_optax_by_hand(method):
    network, data = small()
    found = jf.gradient_descent(network, data, method, learning_rate=0.02, steps=5).network
    form = Parameters.build(network, data, jf.SquaredLoss())
    p, unravel = jax.flatten_util.ravel_pytree(form.start(network))
    gradient = jax.jit(jax.grad(lambda p: form.excess(unravel(p))))
    scalar = isinstance(method, jf.ScalarRMSProp)
    state = 0.0 if scalar else np.full(len(p), 1e-3)
    for _ in range(5):
        g = np.asarray(gradient(p))
        state = 0.9 * state + 0.1 * g @ g if scalar else state + g**2
        p = p - 0.02 * g / np.sqrt(state)
    np.testing.assert_allclose(flat(found), p, rtol=1e-10)


def test_the_oscillation_of_scalar_rmsprop_by_hand():
    # With c = (1 - beta2) / beta2 and S = 2 sqrt(nu) / eta, that S eta / sqrt(nu) stays 2 says
    # c (alpha^2 + v S^2 - nu) / (eta sqrt(nu)) = (eta / sqrt(nu)) (alpha - v / 2), v the variance.
    beta2, eta, alpha = 0.9, 0.2, ALPHA[0]
    c = (1 - beta2) / beta2
    p = jnp.asarray([0.0, 0.0, -0.5, -15.0])
    S = 2 / RATE - 0.5
    nu = (eta * S / 2) ** 2
    total = np.sum(ALPHA**2)
    variance = (eta**2 * alpha - c * (total - nu)) / (c * S**2 + eta**2 / 2)
    assert variance > 0
    flow = jf.CentralFlow(jf.ScalarRMSProp(beta2=beta2, eps=0.0), unstable=1, substeps=10**6)
    form = Parameters.build(Numbers(p), NOTHING, toy)
    parameters = form.start(Numbers(p))
    memory = eqx.filter_jit(flow.start)(form, parameters, eta)
    state = eqx.tree_at(lambda s: s.square, memory.state, jnp.asarray(nu))
    memory = eqx.tree_at(
        lambda m: (m.state, m.sizes), memory, (state, jnp.asarray(eta / np.sqrt(nu)))
    )
    found = eqx.filter_jit(flow.averages)(form, parameters, memory)
    u = found.vectors[:, 0]
    np.testing.assert_allclose(found.values, 2, rtol=1e-9)
    np.testing.assert_allclose(found.X[0, 0] * u @ u, variance, rtol=1e-4)
    np.testing.assert_allclose(found.loss, toy(p[None], None) + S * variance / 2, rtol=1e-4)
    np.testing.assert_allclose(found.gradient, total + S**2 * variance, rtol=1e-4)


def test_the_average_of_nu_is_the_published_one():
    # nu' = (1 - beta2) / beta2 ((grad L)^2 + 4 nu / eta^2 diag(Sigma) - nu)
    network, data = small()
    method = jf.RMSProp(beta2=0.9, eps=0.0, bias_correction=False)
    flow = jf.CentralFlow(method, unstable=3, iterations=50, substeps=1000)
    form = Parameters.build(network, data, jf.SquaredLoss())
    parameters = form.start(network)
    x, unravel = jax.flatten_util.ravel_pytree(parameters)

    def loss(x):
        return form.excess(unravel(x))

    # At a learning rate at which the largest eigenvalue of P^-1 H is just beyond 2.
    memory = eqx.filter_jit(flow.start)(form, parameters, 1.0)
    top = theory.effective_sharpness(network, data, memory.sizes)
    rate = 2.02 / top
    root = jnp.sqrt(rate * memory.sizes)
    looked = eqx.filter_jit(lambda x, *memory: flow.oscillation(loss, x, *memory))
    edge, X, drift = looked(x, memory.state, memory.vectors, root)
    U = np.asarray(edge.vectors * root[:, None])
    nu, g = np.asarray(memory.state.square), np.asarray(jax.grad(loss)(x))
    spread = np.diag(U @ np.asarray(X) @ U.T)
    assert spread.max() > 0
    expected = (0.1 / 0.9) * (g**2 + 4 * nu / float(rate) ** 2 * spread - nu)
    np.testing.assert_allclose(drift.square, expected, rtol=1e-6, atol=1e-9 * nu.max())


@pytest.mark.parametrize("method", [jf.ScalarRMSProp(beta2=0.9), jf.RMSProp(beta2=0.9)])
def test_stable_flows_are_those_of_scipy(method):
    network, data = small()
    form = Parameters.build(network, data, jf.SquaredLoss())
    x, unravel = jax.flatten_util.ravel_pytree(form.start(network))
    gradient = jax.jit(jax.grad(lambda x: form.excess(unravel(x))))
    scalar = isinstance(method, jf.ScalarRMSProp)
    first = np.asarray(gradient(x))
    nu = 0.1 * np.atleast_1d(first @ first if scalar else first**2)

    def field(t, y):
        w, nu = y[: len(x)], y[len(x) :]
        g = np.asarray(gradient(w))
        change = (0.1 / 0.9) * ((g @ g if scalar else g**2) - nu)
        return np.concatenate([-0.01 / (np.sqrt(nu) + 1e-8) * g, change])

    end = solve_ivp(field, (0, 10), np.concatenate([x, nu]), rtol=1e-9, atol=1e-11)
    errors = []
    for substeps in (50, 100):
        rule = jf.StableFlow(method, substeps=substeps)
        found = jf.gradient_descent(network, data, rule, learning_rate=0.01, steps=10)
        errors.append(np.linalg.norm(flat(found.network) - end.y[: len(x), -1]))
    moved = np.linalg.norm(end.y[: len(x), -1] - np.asarray(x))
    assert errors[0] < 0.01 * moved
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize(
    ("method", "rate"),
    [
        (jf.GradientDescent(), 0.15),
        (jf.ScalarRMSProp(beta2=0.95, bias_correction=True), 0.15),
        (jf.RMSProp(beta2=0.95, bias_correction=True), 0.01),
        (AdaGrad(), 0.03),
    ],
)
def test_central_flows_stay_at_the_edge(method, rate):
    network, data = small()
    saves = range(0, 301, 20)
    found = jf.gradient_descent(
        network,
        data,
        jf.CentralFlow(method, unstable=3),
        learning_rate=rate,
        steps=300,
        saves=saves,
        measures=[jf.measures.EffectiveSharpness()],
    ).check()
    height = np.asarray(found.measures["effective_sharpness"])
    assert height.max() < 2.02
    if not isinstance(method, AdaGrad):  # whose step sizes only fall
        np.testing.assert_allclose(height[-5:], 2, rtol=5e-3)
        stable = jf.gradient_descent(
            network,
            data,
            jf.StableFlow(method),
            learning_rate=rate,
            steps=200,
            saves=[0, 60, 120, 200],
            measures=[jf.measures.EffectiveSharpness()],
        )
        assert np.max(stable.measures["effective_sharpness"]) > 2.1


def test_two_directions_of_the_toy_by_hand():
    p = np.zeros(4)
    found = theory.oscillation(Numbers(jnp.asarray(p)), NOTHING, RATE, loss=toy)
    np.testing.assert_allclose(found.variance, 2 * ALPHA.sum(), rtol=1e-9)
    np.testing.assert_allclose(found.loss, 10 + 2 * ALPHA.sum() / RATE, rtol=1e-9)
    one = theory.oscillation(Numbers(jnp.asarray(p)), NOTHING, RATE, loss=toy, unstable=1)
    assert one.variance < 0.7 * found.variance
    # Descent itself, from a small displacement: the average of its loss, with the slow variable y
    # where the central flow has it.
    eta, alpha = 0.002, ALPHA[:, None] / 4
    x, y, losses = np.array([[0.2], [0.15]]), np.zeros((2, 1)), []
    for _ in range(60000):
        losses.append(np.sum((2 / eta + y) * x**2 / 2 - alpha * y))
        x, y = -(1 + eta * y) * x, y + eta * (alpha - x**2 / 2)
    assert np.mean(losses) == pytest.approx(2 * alpha.sum() / eta, rel=0.02)


def test_the_rate_may_change_from_step_to_step():
    def schedule(step):
        return RATE * (1 + 1e-4 * step)

    start = Numbers(jnp.asarray([0.0, 0.0, -0.1, -0.05]))
    end = jf.gradient_descent(
        start, NOTHING, jf.CentralFlow(), learning_rate=schedule, steps=60, loss=toy
    )
    np.testing.assert_allclose(end.network.p[2:], 2 / schedule(59) - 2 / RATE, atol=1e-6)
    np.testing.assert_allclose(end.t1, sum(schedule(k) for k in range(60)), rtol=1e-12)


def test_more_unstable_eigenvalues_than_the_flow_follows():
    start = Numbers(jnp.asarray([0.0, 0.0, 0.5, 0.4]))
    end = jf.gradient_descent(
        start, NOTHING, jf.CentralFlow(unstable=1), learning_rate=RATE, steps=2, loss=toy
    )
    assert end.result == jf.Result.crowded
    with pytest.raises(RuntimeError, match="Raise `unstable`"):
        end.check()


def test_a_stable_flow_of_too_many_substeps():
    start = Numbers(jnp.asarray([0.0, 0.0, 0.5, 0.4]))
    end = jf.gradient_descent(
        start, NOTHING, jf.StableFlow(most=4), learning_rate=RATE, steps=2, loss=toy
    )
    assert end.result == jf.Result.too_stiff
    with pytest.raises(RuntimeError, match="Raise `most`"):
        end.check()


def test_midpoints_of_midpoints():
    network, data = small()
    kwargs = {"learning_rate": 0.02, "steps": 10}
    measure = jf.measures.along("w", lambda n, d: n.layers[0].weight, dims=("i", "j"))
    each, twice = (
        jf.gradient_descent(network, data, optax.sgd, **kwargs, **more, measures=[measure])
        for more in ({"saves": range(11)}, {"saves": [0, 4, 8], "midpoints": 2})
    )
    w = np.asarray(each.measures["w"])
    np.testing.assert_allclose(
        twice.measures["w"], (w[[0, 4, 8]] + 2 * w[[1, 5, 9]] + w[[2, 6, 10]]) / 4, rtol=1e-12
    )
    np.testing.assert_allclose(twice.ts, 0.02 * np.array([1, 5, 9]), rtol=1e-12)


def quartic(prediction, target):
    """A loss of a user's own."""
    gap = prediction - target
    return jnp.sum(gap**2 / 2 + gap**4 / 40)


@pytest.mark.parametrize("loss", [None, quartic])
def test_the_mean_loss_is_that_of_the_oscillation(loss):
    network, data = small()
    rate = 0.15 if loss is None else 0.13
    found = jf.gradient_descent(
        network,
        data,
        jf.CentralFlow(unstable=3),
        learning_rate=rate,
        steps=200,
        saves=[100, 200],
        loss=loss,
        measures=[jf.measures.MeanLoss()],
    ).check()
    beside = theory.oscillation(found.network, data, rate, loss=loss, unstable=3)
    added = beside.variance / rate
    assert added > 0
    if loss is None:  # two directions: the first one alone says something else
        alone = theory.oscillation(found.network, data, rate, unstable=1)
        assert abs(alone.variance - beside.variance) > 0.05 * beside.variance
    mean = float(found.measures["mean_loss"][-1])
    assert abs(mean - float(beside.loss)) < 0.02 * float(added)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda n, d: jf.CentralFlow(3), "must be a method"),
        (lambda n, d: jf.RMSProp(beta2=1.0), "beta2 must lie in"),
        (lambda n, d: jf.Adam(beta1=-0.1), "beta1 must lie in"),
        (lambda n, d: theory.effective_sharpness(n, d, np.ones(3)), "one per parameter, 22"),
        (
            lambda n, d: jf.gradient_descent(
                n, d, optax.sgd, learning_rate=0.1, steps=1, measures=[jf.measures.MeanLoss()]
            ),
            "central flow",
        ),
        (
            lambda n, d: jf.gradient_flow(
                n, d, t1=0.1, measures=[jf.measures.EffectiveSharpness()]
            ),
            "Step sizes are known",
        ),
    ],
)
def test_what_cannot_be(call, match):
    with pytest.raises(ValueError, match=match):
        call(*small())


def test_the_effective_sharpness_of_one_step_size_is_the_sharpness_times_it():
    network, data = small()
    S = theory.sharpness(network, data)
    np.testing.assert_allclose(theory.effective_sharpness(network, data, 0.3), 0.3 * S, rtol=1e-8)
    tree = jax.tree.map(lambda x: jnp.full_like(x, 0.3), eqx.filter(network, eqx.is_inexact_array))
    np.testing.assert_allclose(theory.effective_sharpness(network, data, tree), 0.3 * S, rtol=1e-8)
