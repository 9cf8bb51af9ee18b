"""Models of descent at the edge of stability, on a loss where everything is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array, Float

import jaxflow as jf
from jaxflow import theory
from jaxflow.networks.activations import Tanh
from jaxflow.networks.edge import Edge

RATE, ALPHA = 0.1, 0.3
NOTHING = jf.Regression(np.ones((1, 1)), np.zeros((1, 4)))


class Numbers(eqx.Module):
    """A network that says what its parameters are, whatever it is asked."""

    p: Float[Array, " m"]

    def __call__(self, x):
        return self.p


def toy(prediction, target):
    """Two copies of `(2 / eta + y) x^2 / 2 - alpha y`: descent is the reduced map of each."""
    x, y = prediction[0, :2], prediction[0, 2:]
    return jnp.sum((2 / RATE + y) * x**2 / 2 - ALPHA * jnp.array([1.0, 0.5]) * y)


def go(rule, p, steps, **more):
    end = jf.gradient_descent(
        Numbers(jnp.asarray(p)), NOTHING, rule, learning_rate=RATE, steps=steps, loss=toy, **more
    )
    return np.asarray(end.network.p)


def mapped(x, y, steps, alpha=ALPHA):
    for _ in range(steps):
        x, y = theory.reduced_step(x, y, RATE, alpha, 1.0)
    return float(x), float(y)


def test_descent_is_the_reduced_map():
    found = go(optax.sgd, [0.05, 0.0, -0.2, 0.0], 150)
    x, y = mapped(0.05, -0.2, 150)
    np.testing.assert_allclose(found[[0, 2]], [x, y], rtol=1e-9)


def test_the_central_flow_stays_at_the_edge():
    # The other copy is far below its edge, and stays there.
    end = go(jf.CentralFlow(), [0.0, 0.0, -0.3, -50.0], 40)
    # Up to the edge y grows by alpha a unit of time, from -0.3 in time 1, of 4 in all.
    np.testing.assert_allclose(end, [0, 0, 0, -50 + 0.5 * ALPHA * 4], atol=1e-9)
    before = go(jf.CentralFlow(), [0.0, 0.0, -0.3, -50.0], 8)
    np.testing.assert_allclose(before[2], -0.3 + 0.8 * ALPHA, rtol=1e-9)


def test_off_the_edge_the_central_flow_is_descent_that_does_not_overshoot():
    slow = [0.02, 0.0, -15.0, -50.0]  # S = 5: x is halved
    np.testing.assert_allclose(go(jf.CentralFlow(), slow, 5), go(optax.sgd, slow, 5), atol=1e-12)
    fast = [0.02, 0.0, -5.0, -50.0]  # S = 15: descent flips its sign and halves it
    end = go(jf.CentralFlow(iterations=20), fast, 1)
    np.testing.assert_allclose(end[:2], 0, atol=2e-5)  # u is a little off the axis of x
    np.testing.assert_allclose(end[2:], go(optax.sgd, fast, 1)[2:], atol=1e-4)


def test_two_eigenvalues_stay_at_the_edge():
    end = go(jf.CentralFlow(unstable=2), [0.0, 0.0, -0.1, -0.05], 60)
    np.testing.assert_allclose(end, 0, atol=1e-7)
    # With one at a time they take turns, a substep each.
    assert go(jf.CentralFlow(unstable=1), [0.0, 0.0, -0.1, -0.05], 60)[2:].max() > 1e-3


def test_the_constrained_trajectory_stays_at_the_edge():
    end = go(jf.ConstrainedTrajectory(), [0.02, 0.0, -0.3, -50.0], 60)
    np.testing.assert_allclose(end[[0, 2]], 0, atol=1e-9)


def test_predicted_dynamics_are_the_reduced_map():
    found = go(jf.PredictedDynamics(iterations=20), [1e-4, 0.0, 0.0, -50.0], 100)
    x, y = mapped(1e-4, 0.0, 100)
    np.testing.assert_allclose(found[[0, 2]], [x, y], rtol=2e-3)


def test_below_the_edge_the_central_flow_is_the_flow(key):
    data = jf.data.gaussian(key, 4, 3, 1)
    network = jf.init.Gaussian()(key, data, width=8)
    flow = jf.gradient_flow(network, data, ts=[0.5], rtol=1e-11).network.product
    errors = []
    for steps in (100, 200):
        found = jf.gradient_descent(
            network, data, jf.CentralFlow(), learning_rate=0.5 / steps, steps=steps
        )
        errors.append(float(jnp.linalg.norm(found.network.product - flow)))
    assert errors[0] < 1e-2
    assert 1.8 < errors[0] / errors[1] < 2.2


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_covariance_is_complementary(k, seed):
    rng = np.random.default_rng(seed)
    third = rng.normal(size=(k, k, 30))
    third = third + third.swapaxes(0, 1)
    rate, dt = 0.1, 0.025
    edge = Edge(
        jnp.asarray(rng.normal(size=30)),
        jnp.asarray(20 + rng.normal(size=k)),
        jnp.zeros((30, k)),
        jnp.asarray(third),
        jnp.zeros((30, k)),
        jnp.asarray(-jnp.inf),
    )
    X = np.asarray(edge.covariance(2 / rate, dt, edge.gradient))
    force = np.asarray(edge.gradient) + 0.5 * np.einsum("ij,ijp->p", X, third)
    A = 2 / rate * np.eye(k) - np.diag(edge.values) + dt * np.einsum("ijp,p->ij", third, force)
    assert np.linalg.eigvalsh(X).min() > -1e-12
    assert np.linalg.eigvalsh(A).min() > -1e-8
    assert abs(np.sum(A * X)) < 1e-8 * (1 + np.linalg.norm(X))


def test_energy_and_spikes():
    x0, eta = 0.05 * (2 * ALPHA) ** 0.5, 1e-4
    first = theory.reduced_energy(x0, 0.0, ALPHA, 1.0)

    def step(_, carry):
        x, y = theory.reduced_step(*carry[:2], eta, ALPHA, 1.0)
        return x, y, jnp.maximum(carry[2], y)

    x, y, top = jax.jit(lambda x: jax.lax.fori_loop(0, 60_000, step, (x, 0.0, 0.0)))(x0)
    assert abs(theory.reduced_energy(x, y, ALPHA, 1.0) / first - 1) < 1e-2
    assert top == pytest.approx(theory.spike_height(x0, ALPHA, 1.0), rel=2e-3)


def test_oscillation_by_hand(key):
    x = np.linspace(-1, 1, 12)
    data = jf.Regression(x[:, None], np.sin(3 * x))
    W, b, V = (
        jax.random.normal(k, s)
        for k, s in zip(jax.random.split(key, 3), [(6, 1), (6,), (1, 6)], strict=True)
    )
    network = jf.ShallowNetwork(W, b, V, activation=Tanh())
    S, step = float(theory.sharpness(network, data)), 1e-4
    found = theory.oscillation(network, data, 2 / S)
    flat, unravel = jax.flatten_util.ravel_pytree((W, b, V))

    def at(p):
        return jf.ShallowNetwork(*unravel(p), activation=Tanh())

    def difference(f):
        moved = step * jnp.eye(len(flat))
        ahead, behind = (jax.lax.map(lambda e, s=s: f(at(flat + s * e)), moved) for s in (1, -1))
        return np.asarray((ahead - behind) / (2 * step))

    def loss(n):
        return 0.5 * jnp.sum((data.Y - jax.vmap(n)(data.X)) ** 2)

    gradient, slope = difference(loss), difference(lambda n: theory.sharpness(n, data))
    variance = 2 * max(0, -gradient @ slope) / (slope @ slope)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(found.loss, loss(network) + variance * S / 2, rtol=1e-5)
    np.testing.assert_allclose(found.gradient, gradient @ gradient + variance * S**2, rtol=1e-4)
    assert theory.oscillation(network, data, 1 / S).variance == 0


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"momentum": 0.9}, "full-batch descent"),
        ({"batch": 1}, "full-batch descent"),
        ({"label_noise": 0.1}, "full-batch descent"),
    ],
)
def test_rules_model_plain_descent(kwargs, match):
    with pytest.raises(ValueError, match=match):
        jf.gradient_descent(
            Numbers(jnp.zeros(4)),
            NOTHING,
            jf.CentralFlow(),
            **{"learning_rate": 0.1, **kwargs},
            steps=2,
        )


@pytest.mark.parametrize(
    "make",
    [
        lambda: jf.CentralFlow(substeps=0),
        lambda: jf.CentralFlow(unstable=0),
        lambda: jf.ConstrainedTrajectory(projections=0),
        lambda: jf.ConstrainedTrajectory(unstable=2),
    ],
)
def test_rules_that_cannot_be(make):
    with pytest.raises(ValueError, match=r"at least 1|unstable must be 1"):
        make()
