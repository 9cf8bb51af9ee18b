"""Flows with `-log L` as time. Five values of it are saved throughout: one program for most."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxflow as jf
from jaxflow import theory

Diagonal = jf.init.Diagonal

KEY = jr.key(0)
X = np.asarray(jr.normal(jr.key(6), (8, 12)))
DATA = jf.Regression(X, np.sign(X[:, 0] + 0.3 * X[:, 1]))
LOSSES = [jf.ExponentialLoss(), jf.LogisticLoss()]


def clock(loss, margins):
    return -jax.vmap(lambda m: jax.nn.logsumexp(loss.log_terms(m)))(margins)


def first(loss):
    return -float(jnp.log(loss(jnp.zeros((8, 1)), DATA.Y)))


@pytest.mark.parametrize("loss", LOSSES, ids=["exponential", "logistic"])
@pytest.mark.parametrize(("depth", "alpha"), [(2.0, 0.1), (2.0, 10.0), (3.0, 0.3), (4.0, 1.0)])
def test_the_clock_is_right(loss, depth, alpha):
    s = np.r_[first(loss), 0.0, 10.0, 1e3, 1e5]
    found = jf.log_loss_flow(Diagonal(alpha, depth)(KEY, DATA), DATA, s, loss=loss)
    assert found.finished
    np.testing.assert_allclose(clock(loss, found.margins), s, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        found.beta @ (DATA.X * DATA.Y).T, found.margins, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("loss", LOSSES, ids=["exponential", "logistic"])
def test_it_is_the_gradient_flow(loss):
    """At the times it says it took: the ordinary flow of the parameters under the loss."""
    network = Diagonal(0.4, 3.0)(KEY, DATA)
    s = np.array([0.0, 1.0, 2.0, 3.5, 5.0])
    found = jf.log_loss_flow(network, DATA, s, loss=loss)
    plain = jf.gradient_flow(
        network,
        DATA,
        ts=np.exp(found.log_time),
        loss=loss,
        rtol=1e-11,
        measures=[jf.measures.Product()],
    ).check()
    np.testing.assert_allclose(plain.measures["product"][..., 0], found.beta, rtol=1e-6, atol=1e-9)


def test_parameters_and_mirror_coordinates_agree():
    network = Diagonal(0.4)(KEY, DATA)
    s = np.array([1.0, 5.0, 30.0, 200.0, 1000.0])
    mirror = jf.log_loss_flow(network, DATA, s)
    of_weights = jf.measures.along("of_weights", lambda n, data: n.beta)
    parameters = jf.log_loss_flow(
        network, DATA, s, formulation="parameters", rtol=1e-11, measures=[of_weights]
    )
    assert parameters.finished
    betas = parameters.measures["of_weights"]
    np.testing.assert_allclose(betas, mirror.beta, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(parameters.beta, betas, rtol=1e-12)
    np.testing.assert_allclose(parameters.log_time, mirror.log_time, rtol=1e-6)


def test_it_stops_and_is_measured_like_every_flow():
    """Where the loss is e^-20, the time and the margins are those that were asked for there."""
    network = Diagonal(0.4)(KEY, DATA)
    there = jf.log_loss_flow(network, DATA, [1.0, 2.0, 5.0, 10.0, 20.0])
    stopped = jf.log_loss_flow(
        network,
        DATA,
        [1.0, 2.0, 5.0, 10.0, 1000.0],
        until=jf.until.excess(np.exp(-20.0)),
        measures=[jf.measures.Times(), jf.measures.LogExcess()],
    ).check()
    assert stopped.result == jf.Result.stopped
    np.testing.assert_allclose(stopped.t1, 20.0, rtol=1e-9)
    np.testing.assert_allclose(stopped.s, there.s, rtol=1e-9)
    np.testing.assert_allclose(stopped.measures["t"], stopped.s, rtol=1e-12)
    np.testing.assert_allclose(stopped.measures["log_excess"], -there.s, rtol=1e-8)
    np.testing.assert_allclose(stopped.margins, there.margins, rtol=1e-7)
    np.testing.assert_allclose(stopped.log_time, there.log_time, rtol=1e-7)
    np.testing.assert_allclose(stopped.network.beta, there.beta[-1], rtol=1e-6)


@pytest.mark.parametrize("law", [Diagonal(), jf.init.Gaussian(0.5)], ids=["diagonal", "linear"])
def test_it_is_swept_like_every_flow(law):
    """A law over seeds or scales: each trajectory is the flow alone, at the same values of s."""
    s = np.array([1.0, 5.0, 10.0, 20.0, 50.0])
    over = {"alpha": [0.4, 1.0]} if isinstance(law, Diagonal) else {"width": [5]}
    plan = jf.Sweep(
        DATA,
        law,
        over=over,
        seeds=2,
        ts=s,
        loss=jf.ExponentialLoss(),
        # With the implicit solver of mirror coordinates a sweep over two devices fails (in lineax).
        formulation="log_loss_parameters",
        compress=False,  # the networks that are drawn one by one below
        rtol=1e-10,
        measures=[jf.measures.LogExcess(), jf.measures.Product()],
    )
    found = jf.run(plan)
    assert (found.status == 0).all()
    np.testing.assert_allclose(found.log_excess, np.broadcast_to(-s, found.log_excess.shape), 1e-8)
    cell = plan.cells[-1]
    network = cell.law(cell.keys(plan.key, 2)[1], DATA, **cell.arguments)
    alone = jf.log_loss_flow(network, DATA, s)
    np.testing.assert_allclose(
        found["product"].values[-1, 1, ..., 0], alone.beta, rtol=1e-6, atol=1e-9
    )


def test_any_module():
    """A two-layer linear network: the clock is right, and labels become separated."""
    network = jf.init.Gaussian(0.5)(KEY, DATA, width=5)
    start = -float(jnp.log(jf.ExponentialLoss()(jax.vmap(network)(DATA.X), DATA.Y)))
    s = np.array([start, 5.0, 20.0, 50.0, 200.0])
    found = jf.log_loss_flow(network, DATA, s)
    np.testing.assert_allclose(clock(jf.ExponentialLoss(), found.margins), s, rtol=1e-7, atol=1e-7)


def test_late_margins():
    """Depth 2 tends to the l1 margin, from any start; depth 3 to a stationary point of l_(2/3)."""
    least = np.abs(theory.max_margin_l1(DATA).beta).sum()

    s = [1e2, 1e3, 1e4, 3e4, 1e5]

    def unit(depth, alpha):
        found = jf.log_loss_flow(Diagonal(alpha, depth)(KEY, DATA), DATA, s)
        return np.asarray(found.beta) / np.min(found.margins, axis=1, keepdims=True)

    far = np.abs(unit(2.0, 1.0)).sum(axis=1) / least - 1
    assert np.all(np.diff(far) < 0)
    assert 0 < far[-1] < 0.02
    assert theory.stationarity(unit(3.0, 0.1)[-1], DATA, 3.0) < 1e-2


def test_logarithms_of_the_losses():
    margins = np.array([-700.0, -1.0, 0.0, 30.0, 40.0, 1e5])
    np.testing.assert_allclose(jf.ExponentialLoss().log_terms(jnp.asarray(margins)), -margins)
    near = np.log(np.logaddexp(0, -margins[:4]))
    np.testing.assert_allclose(
        jf.LogisticLoss().log_terms(jnp.asarray(margins[:4])), near, rtol=1e-13
    )
    far = jf.LogisticLoss().log_terms(jnp.asarray(margins[4:]))
    np.testing.assert_allclose(far, -margins[4:], rtol=1e-15)
    slopes = jax.vmap(jax.grad(lambda m: jf.LogisticLoss().log_terms(m[None])[0]))(
        jnp.asarray(margins)
    )
    assert np.isfinite(slopes).all()


def test_what_cannot_be_used():
    network = Diagonal()(KEY, DATA)
    with pytest.raises(ValueError, match=r"\+1 and -1"):
        jf.log_loss_flow(network, jf.Regression(X, X[:, 0]), [1.0])
    with pytest.raises(ValueError, match="s is empty"):
        jf.log_loss_flow(network, DATA, [])
    with pytest.raises(ValueError, match="s must hold real numbers, got 'x'"):
        jf.log_loss_flow(network, DATA, "x")
    with pytest.raises(ValueError, match="s must be finite"):
        jf.log_loss_flow(network, DATA, [-100.0])
    with pytest.raises(ValueError, match="s must be finite"):
        jf.log_loss_flow(network, DATA, [1.0, 0.5])
    with pytest.raises(ValueError, match="No formulation 'residual'"):
        jf.log_loss_flow(network, DATA, [1.0], formulation="residual")
    with pytest.raises(ValueError, match="No formulation 'mirror'"):
        jf.log_loss_flow(
            jf.init.Gaussian(0.5)(KEY, DATA, width=5), DATA, [9.0], formulation="mirror"
        )
