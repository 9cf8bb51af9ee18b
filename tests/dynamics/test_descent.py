"""Descent against a plain loop, and against the flow that it becomes."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tracing import Traces, traced

import jaxflow as jf
from jaxflow import Result, gradient_descent, gradient_flow
from jaxflow.dynamics.descent import save_steps
from jaxflow.measures import OffSpanDistance, Product

sgd = optax.sgd
momentum = functools.partial(optax.sgd, momentum=0.9)
nesterov = functools.partial(optax.sgd, momentum=0.9, nesterov=True)


def problem(seed=0, features=6, outputs=2):
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(5, 3)))[0]
    right = np.linalg.qr(rng.normal(size=(features, 3)))[0]
    X = left * np.array([1.5, 1.0, 0.6]) @ right.T
    return jf.Regression(X, rng.normal(size=(5, outputs)), rank_tolerance=1e-12)


def draw(data, width=5, size=0.5, seed=0):
    rng = np.random.default_rng(seed)
    return jf.TwoLayerLinear(
        jnp.asarray(size * rng.normal(size=(data.features, width))),
        jnp.asarray(size * rng.normal(size=(data.outputs, width))),
    )


def by_hand(network, data, rates, *, beta=0.0, nesterov=False):
    """The weights after each of the steps of these rates, the start included."""
    X, Y = np.asarray(data.X), np.asarray(data.Y)
    U, V = np.asarray(network.U), np.asarray(network.V)
    bu, bv = np.zeros_like(U), np.zeros_like(V)
    path = [(U, V)]
    for rate in rates:
        G = X.T @ (X @ U @ V.T - Y)
        gu, gv = G @ V, G.T @ U
        bu, bv = gu + beta * bu, gv + beta * bv
        du, dv = (gu + beta * bu, gv + beta * bv) if nesterov else (bu, bv)
        U, V = U - rate * du, V - rate * dv
        path.append((U, V))
    return path


def loss(data, U, V):
    return 0.5 * np.sum((np.asarray(data.Y) - np.asarray(data.X) @ U @ V.T) ** 2)


@pytest.fixture(scope="module")
def data():
    return problem()


@pytest.fixture(scope="module")
def network(data):
    return draw(data)


@pytest.mark.parametrize(
    ("optimizer", "kwargs"),
    [(sgd, {}), (momentum, {"beta": 0.9}), (nesterov, {"beta": 0.9, "nesterov": True})],
    ids=["sgd", "momentum", "nesterov"],
)
def test_is_a_plain_loop(data, network, optimizer, kwargs):
    solution = gradient_descent(
        network, data, optimizer, learning_rate=0.02, steps=200, saves=12, measures=(Product(),)
    ).check()
    path = by_hand(network, data, [0.02] * 200, **kwargs)
    np.testing.assert_allclose(solution.network.U, path[-1][0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(solution.network.V, path[-1][1], rtol=0, atol=1e-12)
    at = [path[k] for k in save_steps(200, 12)]
    np.testing.assert_allclose(solution.loss, [loss(data, *w) for w in at], rtol=1e-12)
    np.testing.assert_allclose(
        solution.measures["product"], [U @ V.T for U, V in at], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(solution.ts, 0.02 * save_steps(200, 12), rtol=1e-12)
    assert solution.stats["steps"] == 200
    assert solution.result == Result.finished


def test_saved_steps_start_at_zero_and_end_at_the_last():
    for steps, saves in [(1, 2), (200, 2), (1, 257), (7, 257), (10_000, 257), (10**9, 5)]:
        saved = save_steps(steps, saves)
        assert saved[0] == 0
        assert saved[-1] == steps
        assert len(saved) <= saves
        assert np.all(np.diff(saved) > 0)
    np.testing.assert_array_equal(save_steps(7, 257), range(8))


def test_small_steps_are_the_flow(data, network):
    flow = gradient_flow(network, data, ts=[1.0], rtol=1e-12).network.product
    counts = 2 ** np.arange(5, 10, 2)
    errors = [
        float(
            jnp.linalg.norm(
                gradient_descent(
                    network, data, sgd, learning_rate=1 / int(k), steps=int(k), saves=2
                ).network.product
                - flow
            )
        )
        for k in counts
    ]
    slope = np.polyfit(np.log(1 / counts), np.log(errors), 1)[0]
    assert abs(slope - 1) < 0.05
    assert errors[-1] < 1e-2


def schedule(step):
    return 0.05 / (1 + step.astype(float))


def test_schedule_sets_steps_and_clock(data, network):
    solution = gradient_descent(network, data, sgd, learning_rate=schedule, steps=50, saves=9)
    rates = 0.05 / (1 + np.arange(50))
    U, V = by_hand(network, data, rates)[-1]
    np.testing.assert_allclose(solution.network.U, U, rtol=0, atol=1e-12)
    np.testing.assert_allclose(solution.network.V, V, rtol=0, atol=1e-12)
    clock = np.concatenate([[0], np.cumsum(rates)])
    np.testing.assert_allclose(solution.ts, clock[save_steps(50, 9)], rtol=1e-12)
    assert solution.t1 == solution.ts[-1]


def test_ready_made_transformation_brings_its_own_clock(data, network):
    solution = gradient_descent(network, data, optax.sgd(0.02), dt=0.5, steps=30, saves=5)
    U, _ = by_hand(network, data, [0.02] * 30)[-1]
    np.testing.assert_allclose(solution.network.U, U, rtol=0, atol=1e-12)
    np.testing.assert_allclose(solution.t1, 15.0, rtol=1e-12)


def test_stop_ends_at_the_first_step_below(data, network):
    until = jf.until.loss_ratio(1e-3)
    solution = gradient_descent(
        network, data, sgd, learning_rate=0.05, steps=5000, saves=9, until=until
    ).check()
    steps = int(solution.stats["steps"])
    path = by_hand(network, data, [0.05] * steps)
    excess = [loss(data, *w) - float(data.optimal_loss) for w in (path[0], *path[-2:])]
    assert excess[2] <= 1e-3 * excess[0] < excess[1]
    assert solution.result == Result.stopped
    np.testing.assert_allclose(solution.t1, 0.05 * steps, rtol=1e-10)
    # Saves beyond the end read as the end.
    assert solution.ts[-1] == solution.ts[-2] == solution.t1
    assert solution.log_excess[-1] == solution.log_excess1


def test_stop_that_is_not_met(data, network):
    until = jf.until.loss_ratio(1e-9)
    solution = gradient_descent(
        network, data, sgd, learning_rate=0.01, steps=40, saves=9, until=until
    )
    assert solution.result == Result.not_stopped
    with pytest.raises(RuntimeError, match="before the stopping rule"):
        solution.check()


def test_divergence_is_a_code(data, network):
    solution = gradient_descent(network, data, sgd, learning_rate=30.0, steps=200, saves=12)
    assert solution.result == Result.diverged
    assert solution.stats["steps"] < 50
    with pytest.raises(RuntimeError, match="diverged"):
        solution.check()


@pytest.mark.parametrize("optimizer", [momentum, nesterov], ids=["heavy ball", "nesterov"])
def test_compressed_network_descends_alike(data, optimizer):
    wide = draw(data, width=40, size=0.2, seed=3)
    narrow = jf.compress(wide, data)
    assert narrow.width == 5
    full, small = (
        gradient_descent(
            net,
            data,
            optimizer,
            learning_rate=0.01,
            steps=500,
            saves=6,
            measures=(Product(), OffSpanDistance()),
        )
        for net in (wide, narrow)
    )
    np.testing.assert_allclose(
        small.measures["product"], full.measures["product"], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        small.measures["off_span_distance"], full.measures["off_span_distance"], rtol=1e-11
    )


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("kwargs", [{"momentum": 0.9}, {"batch": 3}], ids=["momentum", "batches"])
def test_any_width_descends_alike_for_long(kwargs):
    # Rounding of sums over the units grows with the root of the width: 10,000 are enough to see it.
    problem = jf.data.gaussian(jax.random.key(1), 6, 8, 2, whiten=True)
    wide = jf.init.Gaussian()(jax.random.key(2), problem, width=10_000)
    ends = [
        gradient_descent(net, problem, sgd, learning_rate=2e-3, steps=5000, saves=2, **kwargs)
        for net in (wide, jf.compress(wide, problem))
    ]
    size = np.linalg.norm(ends[0].product)
    assert np.linalg.norm(ends[0].product - ends[1].product) < 1e-12 * size


def test_momentum_by_its_name_and_its_clock(data, network):
    for nest, ready in ((False, momentum), (True, nesterov)):
        a, b = (
            gradient_descent(network, data, which, learning_rate=0.02, steps=50, saves=5, **more)
            for which, more in ((sgd, {"momentum": 0.9, "nesterov": nest}), (ready, {}))
        )
        np.testing.assert_allclose(a.network.U, b.network.U, atol=1e-13)
        np.testing.assert_allclose(a.ts, 10 * b.ts, rtol=1e-12)
    # On that clock it is near the flow.
    flow = gradient_flow(network, data, ts=[1.0], rtol=1e-10)
    end = gradient_descent(
        network, data, sgd, learning_rate=1e-5, momentum=0.9, steps=10_000, saves=2
    )
    assert np.linalg.norm(end.network.product - flow.product) < 1e-3


def test_label_noise_is_of_its_size(data, network):
    def end(seed, noise):
        return gradient_descent(
            network,
            data,
            sgd,
            learning_rate=1e-2,
            steps=1,
            saves=2,
            label_noise=noise,
            key=jax.random.key(seed),
        ).network.V

    still = gradient_descent(network, data, sgd, learning_rate=1e-2, steps=1, saves=2).network.V
    moved = np.stack([np.asarray(end(seed, 0.5)) for seed in range(200)]) - np.asarray(still)
    # One step moves V by eta noise^T X U.
    expected = 1e-2 * 0.5 * np.linalg.norm(np.asarray(data.X @ network.U), axis=0)
    spread = moved.std(axis=0)
    np.testing.assert_allclose(spread, np.tile(expected, (2, 1)), rtol=0.25)
    assert np.all(np.abs(moved.mean(axis=0)) < 4 * spread / 200**0.5)
    np.testing.assert_array_equal(end(3, 0.5), end(3, 0.5))


def test_midpoints_and_steps_of_ones_own(data, network):
    saves = [0, 3, 10]
    found = gradient_descent(
        network,
        data,
        sgd,
        learning_rate=0.02,
        steps=12,
        saves=saves,
        midpoints=True,
        measures=(Product(),),
    )
    path = by_hand(network, data, [0.02] * 12)
    for i, k in enumerate(saves):
        U, V = (0.5 * (a + b) for a, b in zip(path[k], path[k + 1], strict=True))
        np.testing.assert_allclose(found.measures["product"][i], U @ V.T, atol=1e-12)
    np.testing.assert_allclose(found.ts, 0.02 * (np.array(saves) + 0.5), rtol=1e-12)
    np.testing.assert_allclose(found.network.U, path[-1][0], atol=1e-12)
    assert found.stats["steps"] == 12


def test_any_module_any_loss(data):
    key = jax.random.key(0)
    network = eqx.nn.MLP(6, 2, 3, 1, activation=jnp.tanh, key=key)

    def objective(prediction, target):
        return jnp.sum(jnp.abs(prediction - target) ** 3)

    solution = gradient_descent(
        network, data, sgd, learning_rate=1e-3, steps=20, saves=4, loss=objective
    )
    params, frozen = eqx.partition(network, eqx.is_inexact_array)
    for _ in range(20):
        grad = jax.grad(lambda p: objective(jax.vmap(eqx.combine(p, frozen))(data.X), data.Y))(
            params
        )
        params = jax.tree.map(lambda p, g: p - 1e-3 * g, params, grad)
    for got, expected in zip(
        jax.tree.leaves(eqx.filter(solution.network, eqx.is_inexact_array)),
        jax.tree.leaves(params),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    assert solution.product is None


def test_values_do_not_retrace(data, network):
    def run(rate=0.01, ratio=1e-3, net=network):
        until = jf.until.loss_ratio(ratio)
        gradient_descent(
            net,
            data,
            momentum,
            learning_rate=rate,
            steps=10,
            saves=3,
            until=until,
            measures=(Traces(),),
        )
        return traced()

    once = run()
    assert once > 0
    assert run(rate=0.02) == once
    assert run(rate=1) == once
    assert run(net=draw(data, seed=8)) == once
    assert run(ratio=1e-5) == once


def test_single_precision_stays_single(network):
    wide = problem()
    data = jf.Regression(np.float32(wide.X), np.float32(wide.Y), rank_tolerance=1e-5)
    net = jf.TwoLayerLinear(jnp.float32(network.U), jnp.float32(network.V))
    solution = gradient_descent(
        net, data, sgd, learning_rate=0.02, steps=20, saves=4, until=jf.until.loss_ratio(1e-4)
    )
    leaves = jax.tree.leaves(eqx.filter(solution, eqx.is_inexact_array))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def greedy(rate):
    """Of an optimizer whose update asks for what nobody gives it."""
    return optax.GradientTransformation(lambda p: (), lambda g, state, p, *, hessian: (g, state))


@pytest.mark.parametrize(
    ("optimizer", "kwargs", "match"),
    [
        (sgd, {"steps": 5}, "learning_rate"),
        (sgd, {"steps": 5, "dt": 0.1}, "learning_rate"),
        (sgd, {"steps": 5, "dt": 0.1, "learning_rate": 0.1}, "learning_rate"),
        (sgd(0.1), {"steps": 5}, "needs dt="),
        (sgd(0.1), {"steps": 5, "dt": 0.1, "learning_rate": 0.1}, "no learning_rate"),
        (sgd(0.1), {"steps": 5, "dt": 0.0}, "positive and finite"),
        (sgd, {"steps": 5, "learning_rate": -0.1}, "positive and finite"),
        (sgd, {"steps": 5, "learning_rate": np.nan}, "positive and finite"),
        (sgd, {"steps": 5, "learning_rate": np.inf}, "positive and finite"),
        (sgd, {"steps": 0, "learning_rate": 0.1}, "steps must be"),
        (sgd, {"steps": 5, "learning_rate": 0.1, "saves": 1}, "saves must be"),
        (sgd, {"steps": 5, "learning_rate": 0.1, "saves": [0, 6]}, "saves must be"),
        (sgd, {"steps": 5, "learning_rate": 0.1, "saves": [2, 2]}, "saves must be"),
        (sgd, {"steps": 5, "learning_rate": 0.1, "batch": 6}, "batch must lie"),
        (sgd, {"steps": 5, "learning_rate": 0.0}, "positive and finite"),
        (sgd, {"steps": 5, "learning_rate": 0.1, "momentum": 1.0}, "momentum must lie"),
        (sgd, {"steps": 5, "learning_rate": 0.1, "nesterov": True}, "nesterov needs"),
        (sgd, {"steps": 5, "learning_rate": 0.1, "label_noise": -1.0}, "positive and finite"),
        (sgd(0.1), {"steps": 5, "dt": 0.1, "momentum": 0.9}, "no learning_rate or momentum"),
        (
            sgd,
            {"steps": 5, "learning_rate": 0.1, "measures": (Product(), Product())},
            "share a name",
        ),
        (sgd, {"steps": 1.5, "learning_rate": 0.1}, "steps must be a plain integer"),
        (sgd, {"steps": 5, "learning_rate": "x"}, "learning_rate must be positive"),
        (sgd, {"steps": 5, "learning_rate": 0.1, "saves": [0.5]}, "saves must be a plain integer"),
        (sgd, {"steps": 5, "learning_rate": 0.1, "saves": []}, "saves must be increasing"),
        (sgd, {"steps": 5, "learning_rate": 0.1, "batch": 2.5}, "batch must be a plain integer"),
        (sgd, {"steps": 5, "learning_rate": 0.1, "momentum": "x"}, r"lie in \[0, 1\), got 'x'"),
        (sgd, {"steps": 5, "learning_rate": lambda: 0.1}, "sgd makes no step.*TypeError"),
        (sgd, {"steps": 5, "learning_rate": lambda step: jnp.ones(2)}, "a number for every step"),
        ("sgd", {"steps": 5, "learning_rate": 0.1}, "'sgd' makes no step: give an Optax factory"),
        (greedy, {"steps": 5, "learning_rate": 0.1}, "makes no step: give one whose update takes"),
        (jf.CentralFlow, {"steps": 5, "learning_rate": 0.1}, "CentralFlow makes no step"),
        (optax.adam, {"steps": 5, "learning_rate": 0.1, "momentum": 0.5}, "adam makes no step"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments(data, network, optimizer, kwargs, match):
    with pytest.raises(ValueError, match=match):
        gradient_descent(network, data, optimizer, **kwargs)


def test_network_that_does_not_fit(data, unchecked):
    other = problem(features=4)
    with pytest.raises(ValueError, match=r"fits|features"):
        gradient_descent(draw(data), other, sgd, learning_rate=0.1, steps=3)
