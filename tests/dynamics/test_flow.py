"""The flow against SciPy, against every closed form, and against itself."""

from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp
from tracing import Traces, traced

import jaxflow as jf
from jaxflow import Result, gradient_flow, theory
from jaxflow.dynamics.flow import solve
from jaxflow.dynamics.settings import flow_settings, times
from jaxflow.dynamics.status import failed, flags, retryable
from jaxflow.measures import ImbalanceDrift, Product

# As many as in GRID: one program for both.
TIMES = np.array([0.0, 0.1, 0.4, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0])
TIGHT = 1e-12
D, M, H, R = 6, 2, 5, 3


class Weights(jf.Measure):
    """All parameters, in one vector, at every saved time."""

    name: ClassVar[str] = "weights"
    dims: ClassVar[tuple[str, ...]] = ("time", "entry")

    def update(self, t, view, fixed):
        return flat(view.network)

    def finish(self, ts, saved, last, fixed):
        return saved


MEASURES = (Product(), Weights(), ImbalanceDrift(along=True))


def flat(network):
    return ravel_pytree(eqx.filter(network, eqx.is_inexact_array))[0]


def problem(singular_values=(1.5, 1.0, 0.6), features=D, outputs=M, seed=0):
    """A Regression with this spectrum, two samples more than its rank, and L* > 0."""
    rng = np.random.default_rng(seed)
    r = len(singular_values)
    left = np.linalg.qr(rng.normal(size=(r + 2, r)))[0]
    right = np.linalg.qr(rng.normal(size=(features, r)))[0]
    X = left * np.asarray(singular_values) @ right.T
    return jf.Regression(X, rng.normal(size=(r + 2, outputs)), rank_tolerance=1e-12)


def draw(data, width=H, size=0.7, seed=0):
    rng = np.random.default_rng(seed)
    return jf.TwoLayerLinear(
        jnp.asarray(size * rng.normal(size=(data.features, width))),
        jnp.asarray(size * rng.normal(size=(data.outputs, width))),
    )


@eqx.filter_jit
def solve_batch(networks, data, ts, settings):
    return eqx.filter_vmap(lambda network: solve(network, data, ts, settings))(networks)


def names(result):
    return [Result(i).name for i in np.asarray(result)]


def scipy_two_layer(network, data, ts):
    """The weights at ts, from the gradient in U and V themselves."""
    X, Y = np.asarray(data.X), np.asarray(data.Y)
    U0, V0 = np.asarray(network.U), np.asarray(network.V)

    def field(_, z):
        U, V = z[: U0.size].reshape(U0.shape), z[U0.size :].reshape(V0.shape)
        G = X.T @ (Y - X @ (U @ V.T))
        return np.concatenate([(G @ V).ravel(), (G.T @ U).ravel()])

    start = np.concatenate([U0.ravel(), V0.ravel()])
    out = solve_ivp(field, (0, ts[-1]), start, "DOP853", ts, rtol=TIGHT, atol=1e-14)
    assert out.success
    return out.y.T


def scipy_general(network, data, ts, loss):
    start, unravel = ravel_pytree(eqx.filter(network, eqx.is_inexact_array))
    frozen = eqx.filter(network, eqx.is_inexact_array, inverse=True)

    @jax.jit
    @jax.grad
    def gradient(z):
        return loss(jax.vmap(eqx.combine(unravel(z), frozen))(data.X), data.Y)

    def field(_, z):
        return -np.asarray(gradient(jnp.asarray(z)))

    out = solve_ivp(field, (0, ts[-1]), start, "DOP853", ts, rtol=TIGHT, atol=1e-14)
    assert out.success
    return out.y.T


@pytest.fixture(scope="module")
def data():
    return problem()


@pytest.fixture(scope="module")
def network(data):
    return draw(data)


@pytest.fixture(scope="module")
def oracle(data, network):
    return scipy_two_layer(network, data, TIMES)


@pytest.fixture(scope="module")
def tight(data, network):
    return gradient_flow(network, data, ts=TIMES, rtol=TIGHT, measures=MEASURES).check()


# Against SciPy


def test_weights_and_product_are_those_of_scipy(data, network, oracle, tight):
    np.testing.assert_allclose(tight.measures["weights"], oracle, rtol=0, atol=1e-10)
    U, V = oracle[:, : D * H].reshape(-1, D, H), oracle[:, D * H :].reshape(-1, M, H)
    product = U @ V.transpose(0, 2, 1)
    np.testing.assert_allclose(tight.measures["product"], product, rtol=0, atol=1e-10)
    np.testing.assert_allclose(tight.product, product[-1], rtol=0, atol=1e-10)
    assert tight.measures["imbalance_drift"] <= 1e-12
    residual = np.asarray(data.Y) - np.asarray(data.X) @ product
    loss = 0.5 * np.sum(residual**2, axis=(1, 2))
    assert loss[-1] > 0.1  # L* counts
    np.testing.assert_allclose(tight.loss, loss, rtol=1e-10)
    np.testing.assert_allclose(tight.excess, loss - np.asarray(data.optimal_loss), atol=1e-10)


def test_default_tolerance_keeps_eight_digits(data, network, oracle):
    solution = gradient_flow(network, data, ts=TIMES, measures=MEASURES)
    np.testing.assert_allclose(solution.measures["weights"], oracle, rtol=0, atol=2e-7)
    assert np.max(np.abs(np.asarray(solution.measures["weights"]) - oracle)) > 1e-13


@pytest.mark.parametrize("formulation", ["residual", "parameters"])
def test_formulations_agree(data, network, tight, formulation):
    other = gradient_flow(
        network, data, ts=TIMES, rtol=TIGHT, measures=MEASURES, formulation=formulation
    )
    for name in ("weights", "product"):
        np.testing.assert_allclose(
            other.measures[name], tight.measures[name], rtol=0, atol=1e-10, err_msg=name
        )
    np.testing.assert_allclose(other.log_excess, tight.log_excess, rtol=0, atol=1e-7)
    np.testing.assert_allclose(other.loss, tight.loss, rtol=1e-10)


# Against closed forms

GRID = np.array([0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 20.0])


def along(network, data, rtol, measures=MEASURES):
    solution = gradient_flow(network, data, ts=GRID, rtol=rtol, measures=measures).check()
    return np.asarray(solution.measures["product"])


def padded(network):
    """The network with units of weight zero, which stay zero, up to the width of the others."""
    more = ((0, 0), (0, H - network.width))
    return jf.TwoLayerLinear(*(jnp.asarray(np.pad(W, more)) for W in (network.U, network.V)))


@pytest.fixture(scope="module")
def isotropic():
    return problem(singular_values=(1.3,) * 3)


@pytest.mark.parametrize(("rtol", "atol"), [(TIGHT, 1e-10), (None, 1e-8)])
def test_saxe(isotropic, rtol, atol):
    data = isotropic
    network = jf.init.Spectral(scale=(0.1, 0.1))(jr.key(1), data, width=2)
    A, s, Bt = np.linalg.svd(np.asarray(data.span_solution), full_matrices=False)
    modes = np.asarray(theory.saxe(1.3**2 * GRID, s, 0.01))
    expected = np.einsum("dr,rk,tk,km->tdm", np.asarray(data.right), A, modes, Bt)
    np.testing.assert_allclose(along(padded(network), data, rtol), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("lam", [0.8, 0.0, -0.8])
@pytest.mark.parametrize(("rtol", "atol"), [(TIGHT, 1e-10), (None, 1e-8)])
def test_lambda_balanced(isotropic, lam, rtol, atol):
    data = isotropic
    network = jf.init.LambdaBalanced(lam=lam, scale=0.6)(jr.key(2), data, width=2)
    gram = theory.lambda_balanced(network, data, GRID)
    expected = np.asarray(data.right) @ np.asarray(gram.product)
    np.testing.assert_allclose(along(padded(network), data, rtol), expected, rtol=0, atol=atol)


def scalar_problem(y):
    return jf.Regression([[1.0]], [[y]])


def scalar_network(u, v):
    return jf.TwoLayerLinear(jnp.array([[u]]), jnp.array([[v]]))


@pytest.mark.parametrize(("rtol", "atol"), [(TIGHT, 1e-10), (None, 1e-8)])
@pytest.mark.parametrize("y", [0.9, -0.9])
@pytest.mark.parametrize(("u", "v"), [(1.2, 0.3), (-1.2, 0.3), (0.2, -0.9), (-0.2, -1.5)])
def test_scalar(y, u, v, rtol, atol):
    expected = np.prod([np.asarray(w) for w in theory.scalar(GRID, y, u, v)], axis=0)
    product = along(scalar_network(u, v), scalar_problem(y), rtol, [Product()])
    np.testing.assert_allclose(product.ravel(), expected, rtol=0, atol=atol)


# What the flow conserves, where it starts, where it ends


@pytest.mark.parametrize("seed", range(4))
def test_imbalance_is_conserved(data, seed):
    network = jf.init.Gaussian()(jr.key(seed), data, width=H)
    solution = gradient_flow(network, data, ts=TIMES, rtol=1e-8, measures=MEASURES)
    assert 0 < solution.measures["imbalance_drift"] <= 2e-9


def test_time_zero_is_the_start(network, tight):
    np.testing.assert_array_equal(tight.measures["weights"][0], flat(network))
    assert tight.ts[0] == 0
    assert tight.log_excess[0] == tight.stats["initial_log_excess"]


def test_no_time_at_all(data, network):
    solution = gradient_flow(network, data, ts=0.0, rtol=TIGHT).check()
    np.testing.assert_array_equal(flat(solution.network), flat(network))
    assert solution.ts.shape == (1,)
    assert solution.t1 == 0


@pytest.mark.parametrize("seed", range(2))
def test_limit_is_the_min_norm_solution_plus_what_is_off_the_span(data, seed):
    start = draw(data, seed=seed)
    end = gradient_flow(start, data, ts=60 * TIMES, measures=MEASURES).check()
    right = np.asarray(data.right)
    off_span = np.asarray(start.U) - right @ (right.T @ np.asarray(start.U))
    np.testing.assert_allclose(
        np.asarray(end.network.U) - right @ (right.T @ np.asarray(end.network.U)),
        off_span,
        atol=1e-14,
    )
    min_norm = np.linalg.pinv(np.asarray(data.X)) @ np.asarray(data.Y)
    bias = off_span @ np.asarray(end.network.V).T
    assert np.linalg.norm(bias) > 0.1
    np.testing.assert_allclose(end.product, min_norm + bias, rtol=0, atol=1e-13)
    np.testing.assert_allclose(end.network.product, min_norm + bias, rtol=0, atol=1e-6)


def test_orthogonal_start_ends_at_the_min_norm_solution(data):
    network = jf.init.Orthogonal(scale=(0.5, 0.4))(jr.key(0), data, width=H)
    end = gradient_flow(network, data, ts=60 * TIMES, rtol=TIGHT, measures=MEASURES).check()
    np.testing.assert_allclose(end.product, data.min_norm, rtol=0, atol=1e-11)


def test_two_segments_are_one(data, network, tight):
    first = gradient_flow(network, data, ts=TIMES / 4, rtol=TIGHT, measures=MEASURES)
    second = gradient_flow(first.network, data, ts=3 * TIMES / 4, rtol=TIGHT, measures=MEASURES)
    np.testing.assert_allclose(flat(second.network), flat(tight.network), rtol=0, atol=1e-10)


def test_vector_of_times_is_its_scalar_times(data, network, tight):
    for t, expected in zip(TIMES[1:4], tight.measures["weights"][1:4], strict=True):
        alone = gradient_flow(network, data, ts=float(t), rtol=TIGHT)
        assert alone.t1 == t
        np.testing.assert_allclose(flat(alone.network), expected, rtol=0, atol=1e-11)


def test_default_times():
    ts = np.asarray(times(None, 8.0, jnp.float64))
    assert ts.shape == (257,)
    assert ts[0] == 0
    assert ts[-1] == 8
    even, spaced = np.arange(1, 128) / 16, np.geomspace(8e-6, 8, 129)
    np.testing.assert_allclose(ts[1:], np.sort(np.r_[even, spaced]), rtol=1e-12)


def test_start_at_a_minimum_stays():
    network, data = scalar_network(2.0, 0.5), scalar_problem(1.0)
    solution = gradient_flow(network, data, ts=GRID, measures=(Product(),)).check()
    assert np.all(np.asarray(solution.log_excess) == -np.inf)
    np.testing.assert_array_equal(flat(solution.network), [2.0, 0.5])
    assert solution.loss[-1] == 0


# Stops


@pytest.fixture(scope="module")
def seeds(data):
    law = jf.init.Gaussian()
    return jax.jit(jax.vmap(lambda key: law(key, data, width=H)))(jr.split(jr.key(3), 24))


@pytest.mark.parametrize("ratio", [1e-20, 1e-200])
def test_stop_always_fires_at_its_ratio(data, seeds, ratio):
    settings = flow_settings(jnp.float64, until=jf.until.loss_ratio(ratio))
    solution = solve_batch(seeds, data, None, settings).check()
    assert set(names(solution.result)) == {"stopped"}
    fall = solution.log_excess1 - solution.stats["initial_log_excess"]
    np.testing.assert_allclose(fall, np.log(ratio), rtol=0, atol=1e-9)
    # What lies beyond the end reads as the end.
    late = np.asarray(solution.ts[:, -1])
    np.testing.assert_array_equal(late, solution.t1)
    np.testing.assert_array_equal(solution.log_excess[:, -1], solution.log_excess1)
    assert np.all(np.diff(np.asarray(solution.ts), axis=1) >= 0)


SIGNS = [(1.2, 0.3), (-1.2, 0.3), (0.2, -0.9), (-0.4, -1.5), (0.8, 0.81), (1e-3, 0.1)]
LONG = np.linspace(0.0, 400.0, 61)


def scalar_batch(pairs, *, ratio=1e-200, rtol=1e-8, ts=LONG):
    pairs = [*pairs, *SIGNS][: len(SIGNS)]  # always of one size: one program
    U, V = np.array(pairs).T[:, :, None, None]
    networks = jax.vmap(jf.TwoLayerLinear)(jnp.asarray(U), jnp.asarray(V))
    settings = flow_settings(
        jnp.float64, until=jf.until.loss_ratio(ratio), rtol=rtol, max_steps=200
    )
    return solve_batch(networks, scalar_problem(0.7), jnp.asarray(ts), settings)


def test_residual_keeps_its_accuracy_to_any_depth():
    solution = scalar_batch(SIGNS).check()
    assert set(names(solution.result)) == {"stopped"}
    for i, (u, v) in enumerate(SIGNS):
        # What lies beyond the end reads as the end.
        ts = np.append(np.asarray(solution.ts[i]), solution.t1[i])
        got = np.append(np.asarray(solution.log_excess[i]), solution.log_excess1[i])
        log_residual, _ = theory.scalar_residual(ts, 0.7, u, v)
        expected = 2 * np.asarray(log_residual) - np.log(2)
        assert expected[-1] < np.log(1e-199)
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


def test_every_end_has_its_code():
    # Near the saddle, overflowing, at a minimum; and four that stop.
    pairs = [(1e-30, 0.0), (1e200, 1e200), (1.0, 0.7)]
    solution = scalar_batch(pairs, ts=LONG / 40, ratio=1e-3)
    codes = names(solution.result)
    assert codes == ["not_stopped", "not_finite", *["stopped"] * 4]
    assert solution.t1[0] == 10
    assert solution.t1[2] < 1e-6  # a relative stop is met where nothing is left to fall
    with pytest.raises(RuntimeError, match="2 of 6 trajectories failed"):
        solution.check()
    assert jax.tree.map(lambda leaf: leaf[3], solution).check().t1 > 0.1


def test_overflow_ends_at_once():
    solution = scalar_batch([(1e200, 1e200), (1e200, 1.0)])
    assert names(solution.result) == ["not_finite"] * 2 + ["stopped"] * 4
    assert np.all(solution.stats["steps"][:2] < 100)
    assert not np.any(np.asarray(solution.log_excess[:2]) == -np.inf)  # not a minimum


def test_too_few_steps_is_a_code():
    solution = scalar_batch([(1e-30, 0.0)] * len(SIGNS))
    assert set(names(solution.result)) == {"max_steps_reached"}
    assert np.all(np.asarray(solution.stats["steps"]) == 200)
    assert np.all(np.isfinite(solution.log_excess1))
    with pytest.raises(RuntimeError, match=r"6 of 6 trajectories failed.*maximum number of steps"):
        solution.check()
    one = jax.tree.map(lambda leaf: leaf[0], solution)
    with pytest.raises(RuntimeError, match=r"^The maximum number of steps"):
        one.check()


def test_check_returns_the_solution(tight):
    assert tight.check() is tight
    assert tight.result == Result.finished


def test_results_explain_themselves():
    codes = np.array([-1, *Result])
    assert [Result(c).name for c in codes[failed(codes)]] == [
        "max_steps_reached",
        "not_finite",
        "not_stopped",
        "diverged",
        "stalled",
        "crowded",
        "too_stiff",
    ]
    assert {Result(c) for c in codes[retryable(codes)]} == {
        Result.max_steps_reached,
        Result.not_finite,
        Result.stalled,
    }
    np.testing.assert_array_equal(failed(jnp.asarray(codes)), failed(codes))
    meanings = dict(zip(flags()["flag_values"], flags()["flag_meanings"].split(), strict=True))
    assert meanings == {-1: "not_run", **{r.value: r.name for r in Result}}
    assert all(f"`{r.name}`: {r.message}" in Result.__doc__ for r in Result)


# Any module, any loss


def squared(prediction, target):
    return 0.5 * jnp.sum((prediction - target) ** 2)


def log_cosh(prediction, target):
    return jnp.sum(jnp.log(jnp.cosh(prediction - target)))


@pytest.fixture(scope="module")
def few():
    rng = np.random.default_rng(5)
    return jf.Regression(rng.normal(size=(4, 3)), rng.normal(size=(4, 2)))


def mlp(key):
    return eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=key)


@pytest.mark.parametrize("loss", [None, log_cosh], ids=["squared", "log_cosh"])
def test_module_of_the_users_own(few, loss):
    network = mlp(jr.key(0))
    solution = gradient_flow(
        network, few, ts=TIMES, rtol=TIGHT, loss=loss, measures=(Weights(),)
    ).check()
    function = loss or squared
    expected = scipy_general(network, few, TIMES, function)
    np.testing.assert_allclose(solution.measures["weights"], expected, rtol=0, atol=1e-9)
    prediction = jax.vmap(solution.network)(few.X)
    np.testing.assert_allclose(solution.loss[-1], function(prediction, few.Y), rtol=1e-8)
    assert solution.product is None
    assert isinstance(solution.network, eqx.nn.MLP)


class Shifted(eqx.Module):
    """The squared loss plus a constant that it declares."""

    optimum: ClassVar[float] = 3.0

    def __call__(self, prediction, target):
        return squared(prediction, target) + 3.0


def test_declared_optimum_is_subtracted():
    data, network = scalar_problem(0.9), scalar_network(1.2, 0.3)
    plain, solution = (
        gradient_flow(network, data, ts=GRID, loss=loss, rtol=TIGHT, measures=(Product(),))
        for loss in (None, Shifted())
    )
    np.testing.assert_allclose(solution.excess, plain.excess, rtol=0, atol=1e-10)
    np.testing.assert_allclose(solution.loss, plain.loss + 3, rtol=1e-10)


def test_stop_fires_for_a_general_module(few):
    networks = eqx.filter_vmap(mlp)(jr.split(jr.key(1), 8))
    settings = flow_settings(jnp.float64, until=jf.until.loss_ratio(1e-20), max_steps=100_000)

    solution = solve_batch(networks, few, None, settings)
    assert names(solution.result) == ["stopped"] * 8
    fall = solution.log_excess1 - solution.stats["initial_log_excess"]
    np.testing.assert_allclose(fall, np.log(1e-20), rtol=0, atol=1e-9)
    assert np.all(np.asarray(solution.stats["discrepancy"]) < 1e-6)


# Derivatives, tracing, precision


def test_gradients_through_the_flow():
    data = problem(singular_values=(1.2, 0.8), features=3, outputs=1)
    network = draw(data, width=2, seed=1)
    ts = jnp.array([0.0, 0.5, 1.5])

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def value_and_grad(moving, settings):
        network, targets = moving
        problem = jf.Regression(np.asarray(data.X), data.left @ targets)
        solution = solve(network, problem, ts, settings)
        return solution.log_excess[1] + jnp.sum(solution.product**2) + flat(solution.network)[0]

    at = (network, data.targets)
    solver = diffrax.Dopri8()
    loose, tight = (
        flow_settings(jnp.float64, rtol=rtol, solver=solver, max_steps=4096)
        for rtol in (1e-9, 1e-12)
    )
    gradient = flat(value_and_grad(at, loose)[1])
    start, unravel = ravel_pytree(at)
    direction = jr.normal(jr.key(0), (3, start.size))
    h = 1e-4
    for d in direction:
        ends = [value_and_grad(unravel(start + x * d), tight)[0] for x in (h, -h)]
        np.testing.assert_allclose(gradient @ d, (ends[0] - ends[1]) / (2 * h), rtol=1e-6)
    assert np.all(np.asarray(gradient) != 0)


def test_values_do_not_retrace():
    measures = (Traces(),)

    def run(u, *, ts=(0.0, 1.0, 2.0), ratio=1e-5, rtol=1e-8, y=0.9):
        until = jf.until.loss_ratio(ratio)
        data = scalar_problem(y)
        gradient_flow(
            scalar_network(u, 0.3), data, ts=ts, until=until, rtol=rtol, measures=measures
        )
        return traced()

    once = run(1.2)
    assert once > 0
    assert run(0.7) == once
    assert run(1.2, ts=(0.0, 0.5, 3.0)) == once
    assert run(1.2, ts=np.array([0.0, 0.5, 3.5])) == once
    assert run(1.2, ratio=1e-9) == once
    assert run(1.2, rtol=1e-6) == once
    assert run(1.2, y=-0.4) == once


def test_dtype_out_is_dtype_in(data, network, oracle):
    single = jf.Regression(np.float32(data.X), np.float32(data.Y), rank_tolerance=1e-5)
    net = jf.TwoLayerLinear(jnp.float32(network.U), jnp.float32(network.V))
    until = jf.until.loss_ratio(1e-3)
    solution = gradient_flow(net, single, ts=TIMES, measures=MEASURES, until=until)
    leaves = jax.tree.leaves(eqx.filter(solution, eqx.is_inexact_array))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    running = np.asarray(solution.ts) < np.asarray(solution.t1)
    assert running.sum() >= 3
    np.testing.assert_allclose(
        solution.measures["weights"][running], oracle[running], rtol=0, atol=1e-4
    )
    with pytest.raises(ValueError, match="out of reach in float32"):
        gradient_flow(net, single, ts=TIMES, rtol=1e-9)


# Bad input


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({}, "Say how far to go"),
        ({"ts": [0.0, 1.0], "t1": 1.0}, "not both"),
        ({"ts": [1.0, 0.5]}, "must increase"),
        ({"ts": [-1.0, 0.5]}, "non-negative"),
        ({"ts": []}, "empty"),
        ({"ts": [0.0, np.nan]}, "finite"),
        ({"ts": [0.0, np.inf]}, "finite"),
        ({"ts": [[0.0, 1.0]]}, "vector of times"),
        ({"t1": 0.0}, "t1 must be positive"),
        ({"t1": np.inf}, "t1 must be positive"),
        ({"t1": 1.0, "formulation": "nonsense"}, "No formulation 'nonsense'.*two_layer_residual"),
        ({"t1": 1.0, "measures": (Product(), Product())}, "share a name"),
        ({"t1": 1.0, "max_steps": 0}, "max_steps"),
        ({"t1": 1.0, "rtol": 1e-17}, "out of reach in float64"),
        ({"t1": 1.0, "rtol": np.nan}, "out of reach"),
        ({"t1": 1.0, "loss": log_cosh, "formulation": "residual"}, "choose"),
        ({"t1": "1"}, "t1 must be positive and finite, got '1'"),
        ({"ts": "x"}, "ts must be one time or a vector of times, got 'x'"),
        ({"t1": 1.0, "max_steps": 1.5}, "max_steps must be a plain integer"),
        ({"t1": 1.0, "rtol": "x"}, "rtol must be a number, got 'x'"),
        ({"t1": 1.0, "solver": diffrax.Euler()}, r"No solver Euler\(\).*an error estimate"),
        ({"t1": 1.0, "solver": np.ones(2)}, "No solver array"),
        ({"t1": 1.0, "formulation": np.ones(2)}, "formulation must be a name, such as 'auto'"),
        ({"t1": 1.0, "adjoint": 3}, "adjoint must be Diffrax's, such as"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments(data, network, kwargs, match):
    with pytest.raises(ValueError, match=match):
        gradient_flow(network, data, **kwargs)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_bad_stops(ratio):
    with pytest.raises(ValueError, match="ratio"):
        jf.until.loss_ratio(ratio)
    if not ratio > 0:
        with pytest.raises(ValueError, match="value"):
            jf.until.excess(ratio)


def test_network_that_does_not_fit(data, few, unchecked):
    with pytest.raises(ValueError, match=r"R\^6 to R\^2.*3 features"):
        gradient_flow(draw(data), few, t1=1.0)
    narrow = eqx.nn.MLP(3, 1, 4, 1, key=jr.key(0))
    with pytest.raises(ValueError, match="targets have shape"):
        gradient_flow(narrow, few, t1=1.0)


def test_network_without_parameters(few):
    with pytest.raises(ValueError, match="no trainable parameters"):
        gradient_flow(eqx.nn.Lambda(jnp.tanh), few, t1=1.0)
