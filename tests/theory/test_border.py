"""What the functions of `jaxflow.theory` say of arguments that they cannot take."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow as jf

DATA = jf.Regression(np.eye(4)[:3], np.ones(3))
NETWORK = jf.TwoLayerLinear(jnp.ones((4, 2)), jnp.ones((1, 2)))
LINEAR = eqx.nn.Linear(4, 1, key=jax.random.key(0))

REFUSED = {
    "no data": ("imbalance", (NETWORK, 3), r"data must be a jf.Regression\(X, Y\), got 3"),
    "another network": (
        "imbalance",
        (LINEAR, DATA),
        "imbalance needs a two-layer linear network, ",
    ),
    "no network": ("sharpness", (3, DATA), r"called as network\(x\)"),
    "no shallow one": ("roughness", (LINEAR,), r"roughness needs a ShallowNetwork, got Linear\."),
    "no law": ("zeta", (LINEAR, 0.0), r"zeta needs a Shallow, got Linear\."),
    "text": ("saxe", (1.0, "x", 0.1), r"s must hold real numbers, got 'x'\."),
    "no matrix": ("braun", (1.0, np.eye(3), np.eye(3), 1.0), r"W1 must have shape \(h, n\), got"),
    "sizes": ("braun", (np.eye(3), np.eye(2), np.eye(3), 1.0), r"W2 .*\(m, h\) with h = 3, got"),
    "no integer": ("hessian_eigenpairs", (LINEAR, DATA, 1.5), "k must be a plain integer, got 1.5"),
    "no flag": (
        "rate_bound",
        (NETWORK, DATA),
        "margin must be True or False, got 3",
        {"margin": 3},
    ),
}


@pytest.mark.parametrize("given", REFUSED.values(), ids=REFUSED)
def test_what_theory_cannot_take_gets_a_sentence(given, unchecked):
    name, args, match, *more = given
    with pytest.raises(ValueError, match=match):
        getattr(jf.theory, name)(*args, **(more[0] if more else {}))


def test_arguments_that_are_missing_are_named(unchecked):
    with pytest.raises(TypeError, match="saxe: missing a required argument: 'a0'"):
        jf.theory.saxe(1.0, 2.0)


def test_a_list_is_taken_for_an_array(unchecked):
    x, y = [0.5, 1.0], [0.1, 0.2]
    assert np.array_equal(
        jf.theory.reduced_energy(x, y, 1.0, 2.0),
        jf.theory.reduced_energy(np.array(x), np.array(y), 1.0, 2.0),
    )
    with pytest.raises(ValueError, match="x0 must be positive and finite, got 0"):
        jf.theory.spike_height(0.0, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"scale must be a pair \(su, sv\), got 0\.5"):
        jf.theory.bias_law(DATA, 100, scale=0.5)


def test_no_step_is_short_enough_for_a_kernel_that_vanishes():
    zero = jf.TwoLayerLinear(jnp.zeros((4, 2)), jnp.zeros((1, 2)))
    assert jf.theory.kernel_range(zero, DATA).least == 0
    assert jf.theory.descent_bound(zero, DATA, 0.1).largest_rate == 0


def test_a_kernel_of_less_rank_than_samples_is_said_to_be_singular(unchecked):
    line = jf.Regression([[-1.0], [0.0], [1.0]], [1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match=r"The kernel is singular on these samples.*ridge > 0\."):
        jf.theory.interpolant(lambda x, z: x @ z.T, line)
    with pytest.raises(ValueError, match=r"kernel\(X, X\) must have shape \(3, 3\), got \(2,\)"):
        jf.theory.interpolant(lambda x, z: np.ones(2), line)
    with pytest.raises(ValueError, match=r"Points must have shape \(n, d\), got \(\)"):
        jf.theory.infinite_width_kernel(jf.init.Shallow(), 0.5)
