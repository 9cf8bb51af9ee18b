"""Compiled functions: as `equinox.filter_jit` makes them, and on CPU compiled in half the time."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

F = TypeVar("F", bound=Callable[..., Any])

# The loop of an ODE solver compiles in half the time without XLA's emitters of fused kernels (8.3
# -> 4.0 s of CPU for an MLP of 19 parameters) and runs as fast; descent would run a quarter slower.
LOOP = {"xla_cpu_use_fusion_emitters": False}
# A draw of random networks compiles in half the time (4.9 -> 2.2 s) and runs half as fast.
BRIEF = {"xla_backend_optimization_level": 0}


def jit(function: F, options: Mapping[str, Any] = MappingProxyType(LOOP)) -> F:
    """`equinox.filter_jit`, with options of the compiler where it is the outermost one.

    JAX accepts such options at top level only: under a user's own `jit`, `grad` or `vmap` the
    function is compiled as a part of what is around it.
    """
    compiled: Any = eqx.filter_jit
    inside = compiled(function)

    @functools.cache
    def outside() -> Any:
        return compiled(function, compiler_options=_known(tuple(options.items())))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return (inside if _traced((args, kwargs)) else outside())(*args, **kwargs)

    return call  # type: ignore[return-value]


def _traced(tree: Any) -> bool:
    """Whether this is called inside a transformation of JAX."""
    leaves = [jnp.zeros(()), *jax.tree.leaves(tree)]
    return any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)


@functools.cache
def _known(options: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """The options, if this is a CPU and its compiler knows them."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=dict(options)).lower().compile()
    except jax.errors.JaxRuntimeError:  # no such option
        return {}
    return dict(options)
