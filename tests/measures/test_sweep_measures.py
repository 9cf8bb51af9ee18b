"""Measures that hold a trajectory against a prediction, at the networks of the trajectory."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxflow as jf
from jaxflow import measures, theory


@pytest.fixture
def problem(key):
    data = jf.data.gaussian(jr.key(1), 4, 7, 2)
    return data, jf.init.Gaussian(0.5)(key, data, width=9)


def flow(network, data, measure, ts):
    return jf.gradient_flow(network, data, ts=ts, measures=[measure], rtol=1e-10)


def ends(network, data, ts):
    """The networks at these times, each from a trajectory of its own."""
    return [jf.gradient_flow(network, data, t1=t, rtol=1e-10).network for t in ts[1:]]


def test_instantaneous_rate_is_the_slope_of_the_log_loss(problem):
    data, network = problem
    ts = np.linspace(0.0, 0.4, 401)
    solution = flow(network, data, measures.InstantaneousRate(), ts)
    slope = -np.gradient(np.asarray(solution.log_excess), ts, edge_order=2)
    found = np.asarray(solution.measures["instantaneous_rate"])
    np.testing.assert_allclose(found[5:-5], slope[5:-5], rtol=1e-3)


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (measures.Sharpness(), theory.sharpness),
        (
            measures.SingularValues(),
            lambda n, data: jnp.linalg.svdvals(data.right.T @ n.U @ n.V.T),
        ),
        (measures.InstantaneousRate(), theory.instantaneous_rate),
    ],
    ids=["sharpness", "singular_values", "instantaneous_rate"],
)
def test_saved_values_are_those_of_the_networks(problem, measure, expected):
    data, network = problem
    ts = np.array([0.0, 0.01, 0.05, 0.2])
    found = flow(network, data, measure, ts).measures[measure.name]
    np.testing.assert_allclose(found[0], expected(network, data), rtol=1e-8)
    for row, end in zip(found[1:], ends(network, data, ts), strict=True):
        np.testing.assert_allclose(row, expected(end, data), rtol=1e-6)


def test_kernel_movement_is_relative_to_the_start(problem):
    data, network = problem
    ts = np.array([0.0, 0.1])
    (end,) = ends(network, data, ts)
    then, now = theory.tangent_kernel(network, data), theory.tangent_kernel(end, data)
    expected = np.linalg.norm(now - then) / np.linalg.norm(then)
    found = flow(network, data, measures.KernelMovement(), ts).measures["kernel_movement"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_restart_slack_is_the_worst_stretch(problem):
    data, network = problem
    ts = np.linspace(0.0, 0.5, 6)

    def bound(network, data, residual):
        return theory.rate_bound(network, data, margin=True, residual=residual).rate

    solution = flow(network, data, measures.RestartSlack(bound), ts)
    starts = [network, *ends(network, data, ts)]
    rates = np.array([theory.rate_bound(n, data, margin=True).rate for n in starts[:-1]])
    decay = -np.diff(np.asarray(solution.log_excess))
    assert (rates > 0).all()
    expected = (decay / (rates * np.diff(ts)) - 1).min()
    assert expected > 0
    np.testing.assert_allclose(solution.measures["restart_slack"], expected, rtol=1e-5)


@pytest.mark.parametrize("width", [3, 40])
def test_sharpness_and_rates_need_no_rotation_of_the_data(width, key):
    """What a sweep computes without the inputs off the span, and at width m + r, is the same."""
    data = jf.data.gaussian(jr.key(2), 4, 9, 2)
    law = jf.init.Gaussian(0.5)
    full = law(key, data, width=width)
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
