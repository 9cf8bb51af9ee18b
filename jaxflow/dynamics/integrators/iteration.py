"""The iteration by which the equations of a stage are solved."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

# Share of what a step may err by that the equations of a stage are solved to.
NEWTON_SHARE = 5e-3
NEWTON_STEPS = 10
# Of the iteration that mixes: in more iterations than are easy it converges, and steps get shorter.
MIXED_STEPS, EASY = 20, 14
# The iteration converges at a rate in proportion to the step; above this one steps get shorter.
RATE = 0.4
# At a kink the iteration may go back and forth between two sides of it: where these differ by less
# than this share of what a step may err by, either is as good.
KINK_SHARE = 0.3

ON, FOUND, LOST = range(3)


def iterate(
    improve: Callable[[Any], tuple[Any, Array]],
    x: Any,
    tolerance: Array,
    rounding: Any = 0.0,
    units: Any = None,
) -> Any:
    """x, improved until the change that is still to come is within the tolerance, and its strain.

    `improve` also returns the size of the change that it made. The strain is the worst rate of
    convergence in units of `RATE`, and at least 2 if no solution was found. With `units`, the sizes
    of the leaves of x, iterates are mixed, and the strain is the number of iterations.
    """
    dtype = tolerance.dtype
    floor = jnp.maximum(100 * float(jnp.finfo(dtype).eps), still(rounding)).astype(dtype)
    target = jnp.maximum(NEWTON_SHARE * tolerance, floor)
    mixes = units is not None
    most, apart = (MIXED_STEPS, 100) if mixes else (NEWTON_STEPS, 2)

    def go(carry: Any) -> Any:
        x, memory, last, strain, _, n = carry
        new, moved = improve(x)
        x, memory = _mixed(x, new, memory, units) if mixes else (new, memory)
        rate = moved / last
        if mixes:
            strain = ((n + 1) / EASY).astype(dtype)
        else:
            counts = (n > 1) & (moved > target)  # the first change is of another kind
            strain = jnp.maximum(strain, jnp.where(counts, rate / RATE, 0))
        left = jnp.where(rate < 1, moved * rate / (1 - rate), jnp.inf)
        around = (n == most - 1) & (moved <= KINK_SHARE * tolerance)
        found = ((n > 0) & (left <= target)) | (moved <= floor) | around
        lost = ~jnp.isfinite(moved) | ((n > 0) & (rate > apart) & (moved > KINK_SHARE * tolerance))
        state = jnp.where(found, FOUND, jnp.where(lost, LOST, ON)).astype(n.dtype)
        return x, memory, moved, strain, state, n + 1

    def going(carry: Any) -> Array:
        return (carry[4] == ON) & (carry[5] < most)

    n = jnp.zeros((), jnp.int32)
    one = jnp.ones((), dtype)
    memory = (x, jax.tree.map(jnp.zeros_like, x)) if mixes else None
    x, _, _, strain, state, _ = jax.lax.while_loop(going, go, (x, memory, one, 0 * one, n + ON, n))
    least = jnp.where(state == FOUND, 0, 2).astype(dtype)
    return x, jnp.clip(jnp.where(jnp.isnan(strain), 2, strain), least, 4)


def _mixed(x: Any, new: Any, memory: Any, units: Any) -> tuple[Any, Any]:
    """Anderson's mixing, one change back: the next iterate, and what is remembered.

    With `f = g(x) - x` it is `g(x) - c (g(x) - g(x_last))`, `||f - c (f - f_last)||` least. (Longer
    memories take fewer steps on some flows and ten times as many on others: measured.)

    **Source:** Walker and Ni, SIAM J. Numer. Anal. 49 (2011), algorithm AA with m = 1.
    """

    def inner(a: Any, b: Any) -> Any:
        def product(a: Array, b: Array, unit: Array) -> Array:
            return jnp.sum(a * b) / jnp.where(unit > 0, unit, 1) ** 2

        return sum(jax.tree.leaves(jax.tree.map(product, a, b, units)))

    last, before = memory
    f = add(new, -1, x)
    turned = add(f, -1, before)
    size, first = inner(turned, turned), inner(before, before) == 0
    c = jnp.where(first | (size == 0), 0, inner(turned, f) / jnp.where(size > 0, size, 1))
    return add(new, -c, add(new, -1, last)), (new, f)


def still(tree: Any) -> Any:
    """The same values without derivatives."""
    return jax.tree.map(lambda x: jax.lax.stop_gradient(x) if eqx.is_array(x) else x, tree)


def add(y: Any, h: Any, change: Any) -> Any:
    """`y + h change`, leaf by leaf."""
    return jax.tree.map(lambda a, b: a + h * b, y, change)
