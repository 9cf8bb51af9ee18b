"""Descent by Optax's optimizers, those that want more than the gradient among them, by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import jaxflow as jf

X = np.random.default_rng(0).normal(size=(5, 4))
DATA = jf.Regression(X, np.random.default_rng(1).normal(size=5))
NETWORK = eqx.nn.MLP(4, 1, 3, 1, activation=jnp.tanh, key=jr.key(0))
STEPS = 12


def plateau(rate):
    return optax.chain(optax.sgd(rate), optax.contrib.reduce_on_plateau(patience=2, factor=0.5))


def line_search(rate):
    search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=5)
    return optax.chain(optax.sgd(10 * rate), search)


def sharpness_aware(rate):
    return optax.contrib.sam(optax.sgd(rate), optax.sgd(0.05), opaque_mode=True)


def decay(rate):
    return optax.adamw(rate, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim == 2, tree))


def accumulated(rate):
    return optax.MultiSteps(optax.sgd(rate), every_k_schedule=3).gradient_transformation()


@pytest.mark.parametrize(
    "optimizer",
    [plateau, optax.polyak_sgd, line_search, optax.lbfgs, sharpness_aware, decay, accumulated],
)
def test_optimizers_are_given_what_they_want(optimizer):
    def loss(parameters):
        outputs = jax.vmap(eqx.combine(parameters, rest))(DATA.X)
        return 0.5 * jnp.sum((DATA.Y - outputs) ** 2)

    transform = optax.with_extra_args_support(optimizer(0.05))

    @jax.jit
    def step(parameters, state):
        value, gradient = jax.value_and_grad(loss)(parameters)
        more = {"value": value, "grad": gradient, "value_fn": loss}
        if optimizer is sharpness_aware:
            more = {"grad_fn": lambda parameters, _: jax.grad(loss)(parameters)}
        updates, state = transform.update(gradient, state, parameters, **more)
        return optax.apply_updates(parameters, updates), state

    parameters, rest = eqx.partition(NETWORK, eqx.is_inexact_array)
    # Optax's own code promotes and broadcasts as it likes.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        state = transform.init(parameters)
        for _ in range(STEPS):
            parameters, state = step(parameters, state)
        found = jf.gradient_descent(
            NETWORK, DATA, optimizer, learning_rate=0.05, steps=STEPS, saves=[0, STEPS]
        )
    assert not jnp.array_equal(parameters.layers[0].weight, NETWORK.layers[0].weight)
    for got, want in zip(*map(jax.tree.leaves, (found.network, parameters)), strict=False):
        if eqx.is_inexact_array(got):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)
