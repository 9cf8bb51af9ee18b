"""Classification: labels, losses by name with their optima, margins, accuracy and their stops."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import jaxflow as jf

X = np.random.default_rng(0).normal(size=(6, 4))
LABELS = ["b", "a", "c", "c", "a", "b"]
DATA = jf.Classification(X, LABELS)
NETWORK = eqx.nn.MLP(4, 3, 5, 1, activation=jnp.tanh, key=jr.key(0))
MEASURES = [jf.measures.Accuracy(), jf.measures.Margin()]


def test_labels_become_targets():
    assert DATA.classes == ("a", "b", "c")
    np.testing.assert_array_equal(DATA.Y, np.eye(3)[[1, 0, 2, 2, 0, 1]])
    numbers = jf.Classification(X, [10, 2, 2, 10, 10, 2])
    assert numbers.classes == ("2", "10")
    np.testing.assert_array_equal(numbers.Y[:, 0], [1, -1, -1, 1, 1, -1])
    both = jf.Classification(X, numbers.Y[:, 0], one_hot=True)
    np.testing.assert_array_equal(both.Y, np.eye(2)[[1, 0, 0, 1, 1, 0]])


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (np.linspace(0, 1, 6), "labels must be integers or texts"),
        ([1] * 6, "nothing to learn from one class"),
        (np.eye(6, dtype=int), "several columns"),
        (["a", "b"], "one row per sample"),
    ],
)
def test_what_is_no_label_is_refused(labels, match):
    with pytest.raises(ValueError, match=match):
        jf.Classification(X, labels)


def test_losses_and_their_optima():
    outputs = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)))
    want = optax.softmax_cross_entropy(outputs, DATA.Y).sum()
    np.testing.assert_allclose(jf.CrossEntropyLoss()(outputs, DATA.Y), want, rtol=1e-14)
    want = optax.huber_loss(outputs, DATA.Y, delta=0.7).sum()
    np.testing.assert_allclose(jf.HuberLoss(0.7)(outputs, DATA.Y), want, rtol=1e-14)
    # One input twice with one class, another three times with two: 3 times the entropy of 1/3.
    twice = jf.Classification(X[[0, 0, 1, 1, 1, 2]], ["a", "a", "b", "b", "c", "c"])
    entropy = -3 * (2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    np.testing.assert_allclose(jf.CrossEntropyLoss().optimum(twice), entropy, rtol=1e-12)
    assert jf.CrossEntropyLoss().optimum(DATA) == 0


@pytest.mark.parametrize(
    ("data", "loss", "match"),
    [
        (DATA, "hinge", "No loss is called 'hinge': choose one of 'squared', 'cross_entropy'"),
        (jf.Regression(X, np.eye(6)[:, :3]), "logistic", "must be one-hot"),
        (jf.Regression(X, [0, 1, 0, 1, 1, 0]), "logistic", r"single output of \+1 and -1"),
        (jf.Regression(X, np.ones(6)), "cross_entropy", "needs an output per class, got 1"),
        (DATA, lambda p, y: jnp.sum((p - y) ** 2, axis=1), "must return one number"),
    ],
)
def test_losses_that_do_not_fit_get_a_sentence(data, loss, match):
    with pytest.raises(ValueError, match=match):
        jf.gradient_flow(eqx.nn.Linear(4, data.outputs, key=jr.key(0)), data, t1=1.0, loss=loss)
    with pytest.raises(ValueError, match=match):
        jf.Sweep(data, lambda key, data: NETWORK, seeds=1, t1=1.0, loss=loss)


def test_curvature_knows_losses_by_name():
    found = jf.theory.hessian(NETWORK, DATA, loss="cross_entropy")
    np.testing.assert_array_equal(
        found, jf.theory.hessian(NETWORK, DATA, loss=jf.CrossEntropyLoss())
    )
    with pytest.raises(ValueError, match="No loss is called 'hinge'"):
        jf.theory.sharpness(NETWORK, DATA, loss="hinge")


def outputs(network):
    return np.asarray(jax.vmap(network)(DATA.X))


@pytest.mark.parametrize(
    ("until", "met"),
    [
        (jf.until.accuracy(0.8), lambda right, margin, loss: right >= 0.8),
        (jf.until.margin(0.5), lambda right, margin, loss: margin >= 0.5),
        (jf.until.loss(1.0), lambda right, margin, loss: loss <= 1.0),
    ],
)
def test_descent_ends_where_the_rule_is_first_met(until, met):
    found = jf.gradient_descent(
        NETWORK,
        DATA,
        optax.sgd,
        learning_rate=0.05,
        steps=400,
        saves=range(401),
        loss="cross_entropy",
        until=until,
        measures=MEASURES,
    )
    assert found.result == jf.Result.stopped
    end = int(found.stats["steps"])
    values = zip(found.measures["accuracy"], found.measures["margin"], found.loss, strict=True)
    assert [bool(met(*each)) for each in values][: end + 1] == [False] * end + [True]
    f = outputs(found.network)
    right = np.argmax(DATA.Y, axis=1)
    ahead = f[np.arange(6), right] - np.max(np.where(DATA.Y > 0, -np.inf, f), axis=1)
    np.testing.assert_allclose(found.measures["margin"][-1], ahead.min(), rtol=1e-12)
    assert found.measures["accuracy"][-1] == pytest.approx(np.mean(np.argmax(f, 1) == right))


def test_a_flow_under_the_cross_entropy_ends_at_its_margin():
    found = jf.gradient_flow(
        NETWORK, DATA, loss="cross_entropy", until=jf.until.margin(1.0), measures=MEASURES
    )
    assert found.result == jf.Result.stopped
    np.testing.assert_allclose(found.measures["margin"][-1], 1.0, rtol=1e-8)
    want = optax.softmax_cross_entropy(jnp.asarray(outputs(found.network)), DATA.Y).sum()
    np.testing.assert_allclose(found.loss[-1], want, rtol=1e-10)
