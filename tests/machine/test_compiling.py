"""Compiled functions: options of the compiler at top level, and programs that are kept on disk."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxflow as jf
from jaxflow.dynamics.flow import solve
from jaxflow.dynamics.settings import flow_settings, times
from jaxflow.machine.compiling import BRIEF, jit


def total(x, scale=2.0):
    return jnp.sum(scale * x**2)


@pytest.mark.parametrize("compiled", [jit(total), jit(total, BRIEF), jit(total, {"xla_none": 1})])
def test_options_of_the_compiler_hold_inside_transformations_too(compiled):
    x = jnp.arange(3.0)
    assert compiled(x) == 10.0
    assert compiled(x, scale=1.0) == 5.0
    np.testing.assert_array_equal(jax.grad(compiled)(x), 4 * x)
    assert jax.jit(compiled)(x) == 10.0
    assert jax.jit(lambda: compiled(np.arange(3.0)))() == 10.0
    np.testing.assert_array_equal(jax.vmap(compiled)(x[:, None]), 2 * x**2)


def test_flows_have_no_callbacks():
    data = jf.Regression(np.eye(2), [1.0, 2.0])
    network = eqx.nn.MLP(2, 1, 2, 1, activation=jnp.tanh, key=jax.random.key(0))
    for until, ts in ((None, times(None, 1.0, data.X.dtype)), (jf.until.loss_ratio(0.1), None)):
        settings = flow_settings(data.X.dtype, until=until)
        arrays, rest = eqx.partition((network, data, ts, settings), eqx.is_array)

        def flow(arrays, rest=rest):
            return eqx.filter(solve(*eqx.combine(arrays, rest)), eqx.is_array)

        assert "callback" not in str(jax.make_jaxpr(flow)(arrays))
