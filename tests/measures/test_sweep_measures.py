"""Measures that hold a trajectory against a prediction, at the networks of the trajectory."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxflow as jf
from jaxflow import measures, theory

TS = np.linspace(0.0, 0.5, 6)


def squared_rate(network, data, residual):
    return theory.rate_bound(network, data, margin=True, residual=residual).rate


def singular_values(network, data):
    return jnp.linalg.svdvals(data.right.T @ network.product)


def last_layer(network, data):
    return network.V


MEASURES = (
    measures.Sharpness(),
    measures.SingularValues(),
    measures.InstantaneousRate(),
    measures.KernelMovement(),
    measures.RestartSlack(squared_rate),
    measures.along("spectrum", singular_values, dims=("mode",)),
    measures.at_end("last_layer", last_layer, dims=("output", "hidden")),
)


@pytest.fixture(scope="module")
def problem():
    data = jf.data.gaussian(jr.key(1), 4, 7, 2)
    return data, jf.init.Gaussian(0.5)(jr.key(0), data, width=9)


@pytest.fixture(scope="module")
def solution(problem):
    """One flow with all measures."""
    network, data = problem[1], problem[0]
    return jf.gradient_flow(network, data, ts=TS, measures=MEASURES, rtol=1e-10)


@pytest.fixture(scope="module")
def networks(problem):
    """The networks at the saved times, each from a trajectory of its own."""
    data, network = problem
    ends = [
        jf.gradient_flow(network, data, ts=TS / TS[-1] * t, measures=MEASURES, rtol=1e-10).network
        for t in TS[1:]
    ]
    return [network, *ends]


def test_instantaneous_rate_is_the_slope_of_the_log_loss(problem):
    data, network = problem
    ts = np.linspace(0.0, 0.4, 401)
    rate = measures.InstantaneousRate()
    solution = jf.gradient_flow(network, data, ts=ts, measures=[rate], rtol=1e-10)
    slope = -np.gradient(np.asarray(solution.log_excess), ts, edge_order=2)
    found = np.asarray(solution.measures["instantaneous_rate"])
    np.testing.assert_allclose(found[5:-5], slope[5:-5], rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sharpness", theory.sharpness),
        ("singular_values", lambda n, data: jnp.linalg.svdvals(data.right.T @ n.U @ n.V.T)),
        ("spectrum", lambda n, data: jnp.linalg.svdvals(data.right.T @ n.U @ n.V.T)),
        ("instantaneous_rate", theory.instantaneous_rate),
    ],
)
def test_saved_values_are_those_of_the_networks(problem, solution, networks, name, expected):
    data, found = problem[0], solution.measures[name]
    np.testing.assert_allclose(found[0], expected(networks[0], data), rtol=1e-8)
    for row, network in zip(found[1:], networks[1:], strict=True):
        np.testing.assert_allclose(row, expected(network, data), rtol=1e-6)


def test_kernel_movement_is_relative_to_the_start(problem, solution, networks):
    data = problem[0]
    then, now = (theory.tangent_kernel(networks[i], data) for i in (0, -1))
    expected = np.linalg.norm(now - then) / np.linalg.norm(then)
    np.testing.assert_allclose(solution.measures["kernel_movement"], expected, rtol=1e-6)


def test_restart_slack_is_the_worst_stretch(problem, solution, networks):
    data = problem[0]
    rates = np.array([theory.rate_bound(n, data, margin=True).rate for n in networks[:-1]])
    decay = -np.diff(np.asarray(solution.log_excess))
    assert (rates > 0).all()
    expected = (decay / (rates * np.diff(TS)) - 1).min()
    assert expected > 0
    np.testing.assert_allclose(solution.measures["restart_slack"], expected, rtol=1e-5)


def test_functions_of_any_module_are_measures(problem):
    """`along` and `at_end` in a flow of an MLP: at the start, at the end, and in between."""
    data = problem[0]
    network = eqx.nn.MLP(7, 2, 5, 1, activation=jnp.tanh, key=jr.key(3))

    def predictions(network, data):
        return jax.vmap(network)(data.X)

    asked = [
        measures.along("predictions", predictions, dims=("sample", "output")),
        measures.at_end("last", predictions, dims=("sample", "output")),
    ]
    solution = jf.gradient_flow(network, data, ts=TS, measures=asked)
    along, last = solution.measures["predictions"], solution.measures["last"]
    assert asked[0].dims == ("time", "sample", "output")
    np.testing.assert_allclose(along[0], predictions(network, data), rtol=1e-12)
    np.testing.assert_allclose(last, predictions(solution.network, data), rtol=1e-12)
    np.testing.assert_allclose(along[-1], last, rtol=1e-9)
    loss = 0.5 * np.sum((data.Y[None] - along) ** 2, axis=(1, 2))
    np.testing.assert_allclose(loss, solution.loss, rtol=1e-6)


def test_functions_are_measures_in_a_sweep(problem, solution):
    data, network = problem
    asked = [MEASURES[-2], MEASURES[-1], measures.SingularValues()]
    plan = jf.Sweep(
        data, lambda key, data: network, seeds=2, ts=TS, measures=asked, compress=False, rtol=1e-10
    )
    found = jf.run(plan)
    assert found.spectrum.dims == ("seed", "time", "mode")
    assert found.last_layer.dims == ("seed", "output", "hidden")
    np.testing.assert_allclose(found.spectrum, found.singular_values, rtol=1e-9)
    for seed in range(2):
        for name in ("spectrum", "last_layer"):
            np.testing.assert_allclose(found[name][seed], solution.measures[name], rtol=1e-6)


def test_a_measure_of_nothing_is_refused(problem):
    class Nothing(jf.Measure):
        name = "nothing"

    data, network = problem
    with pytest.raises(NotImplementedError, match="Nothing has neither `update` nor `finish`"):
        jf.gradient_flow(network, data, ts=TS, measures=[Nothing()])


@pytest.mark.parametrize("width", [3, 40])
def test_sharpness_and_rates_need_no_rotation_of_the_data(width):
    """What a sweep computes without the inputs off the span, and at width m + r, is the same."""
    data = jf.data.gaussian(jr.key(2), 4, 9, 2)
    law = jf.init.Gaussian(0.5)
    full = law(jr.key(0), data, width=width)
    small = jf.networks.base.rotate(jf.compress(full, data), data)
    for quantity in (theory.sharpness, theory.instantaneous_rate):
        np.testing.assert_allclose(quantity(full, data), quantity(small, data.rotated()), rtol=1e-9)
    kernels = [theory.tangent_kernel(full, data), theory.tangent_kernel(small, data.rotated())]
    spectra = [np.linalg.eigvalsh(k) for k in kernels]
    np.testing.assert_allclose(spectra[0], spectra[1], rtol=1e-9)


def test_sharpness_is_the_largest_eigenvalue_of_the_hessian(problem):
    data, network = problem
    flat, unravel = jax.flatten_util.ravel_pytree(network)

    def loss(flat):
        return 0.5 * jnp.sum((data.Y - jax.vmap(unravel(flat))(data.X)) ** 2)

    expected = np.linalg.eigvalsh(jax.hessian(loss)(flat))[-1]
    np.testing.assert_allclose(theory.sharpness(network, data), expected, rtol=1e-9)
