"""The discrete counterpart of the flow: gradient descent by Optax, on the same clock."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from ..data import Regression
from .flow import optimal_loss
from .formulations import Parameters
from .formulations.base import all_finite
from .losses import SquaredLoss
from .measures import Measure, named
from .settings import SAVES, as_arrays
from .solution import Result, Solution
from .until import Until
from .view import View


def gradient_descent(
    network: Any,
    data: Regression,
    optimizer: Callable[..., optax.GradientTransformation] | optax.GradientTransformation,
    *,
    learning_rate: Any = None,
    steps: int,
    until: Until | None = None,
    measures: Sequence[Measure] = (),
    loss: Any = None,
    batch: int | None = None,
    key: PRNGKeyArray | None = None,
    saves: int = SAVES,
    dt: float | None = None,
) -> Solution:
    r"""Descent of any Equinox module, `theta <- theta + update(grad L(theta))`.

    Time is the cumulative learning rate: after k steps of a constant rate, `t = k learning_rate`,
    and plain gradient descent converges to `gradient_flow` at that time as the rate goes to 0.
    (With momentum beta, the matching flow time is `t / (1 - beta)`.) There is no `1/n` in L.

    **Arguments:**

    - `network`, `data`, `until`, `measures`, `loss`: as in `gradient_flow`.
    - `optimizer`: an Optax factory such as `optax.sgd`, called as `optimizer(learning_rate)` inside
      the trace, so that another rate does not retrace; or a ready-made transformation with `dt`.
    - `learning_rate`: a number, or a schedule `step -> rate`.
    - `steps`: number of steps at most.
    - `batch`: samples of a step, drawn without replacement; default all. Their loss is scaled by
      `n / batch`, so that its mean is L and rates mean the same.
    - `key`: of the batches, a JAX key; default `jax.random.key(0)`.
    - `saves`: number of saved times: step 0 and logarithmically spaced steps up to the last.
    - `dt`: time that a step of a ready-made transformation takes.

    **Returns:** a `Solution`; `stats["steps"]` counts the steps taken. A loss that stops being
    finite ends the run with `Result.not_finite`.

    **Raises:** `ValueError` for rates, step counts or shapes that cannot be used.
    """
    if isinstance(optimizer, optax.GradientTransformation):
        if dt is None or learning_rate is not None:
            raise ValueError(
                "A ready-made transformation needs dt=, the time one step takes, and no "
                "learning_rate; or pass the factory itself, e.g. optax.sgd."
            )
        clock: Any = dt
    elif learning_rate is None or dt is not None:
        raise ValueError("Pass learning_rate= with an optimizer factory such as optax.sgd.")
    else:
        clock = learning_rate
    dtype = data.X.dtype
    if not callable(clock):
        if not isinstance(clock, jax.core.Tracer) and not (np.isfinite(clock) and clock > 0):
            raise ValueError(f"The time of a step must be positive and finite, got {clock}.")
        clock = jnp.asarray(clock, dtype)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    if saves < 2:
        raise ValueError(f"saves must be at least 2, got {saves}.")
    if batch is not None and not 1 <= batch <= data.samples:
        raise ValueError(f"batch must lie in 1 ... {data.samples} samples, got {batch}.")
    loss = SquaredLoss() if loss is None else loss
    rule, chosen = as_arrays(until, dtype), as_arrays(named(measures), dtype)
    key = jr.key(0) if key is None else key
    return _descend(network, data, optimizer, clock, rule, chosen, loss, steps, saves, batch, key)


def save_steps(steps: int, saves: int) -> np.ndarray:
    """Step 0 and at most `saves - 1` distinct, logarithmically spaced steps up to the last."""
    spaced = np.rint(np.geomspace(steps, 1, saves - 1)).astype(np.int64)
    return np.unique(np.concatenate([[0], spaced]))


class _Carry(eqx.Module):
    step: Array
    t: Array
    parameters: PyTree[Array]
    optimizer: PyTree
    met: Array
    finite: Array


@eqx.filter_jit
def _descend(
    network: Any,
    data: Regression,
    optimizer: Any,
    clock: Any,
    until: Until | None,
    measures: tuple[Measure, ...],
    loss: Any,
    steps: int,
    saves: int,
    batch: int | None,
    key: PRNGKeyArray,
) -> Solution:
    form: Any = Parameters.build(network, data, loss)
    start = form.start(network)
    first = View(form, start, network)
    dtype = data.X.dtype
    transform = (
        optimizer if isinstance(optimizer, optax.GradientTransformation) else optimizer(clock)
    )
    fixed = [measure.start(first) for measure in measures]

    def step(carry: _Carry) -> _Carry:
        if batch is None or batch == data.samples:
            gradient = jax.grad(form.excess)(carry.parameters)
        else:
            rows = jr.choice(jr.fold_in(key, carry.step), data.samples, (batch,), replace=False)
            gradient = jax.grad(form.batch_loss)(carry.parameters, rows)
        updates, state = transform.update(gradient, carry.optimizer, carry.parameters)
        parameters = eqx.apply_updates(carry.parameters, updates)
        rate = clock(carry.step) if callable(clock) else clock
        t = carry.t + jnp.asarray(rate, dtype)
        view = View(form, parameters, network)
        met = jnp.asarray(False) if until is None else until(t, view, first) <= 0
        return _Carry(carry.step + 1, t, parameters, state, met, all_finite(parameters))

    def save(carry: _Carry, goal: Array) -> tuple[_Carry, Any]:
        carry = jax.lax.while_loop(lambda c: (c.step < goal) & ~c.met & c.finite, step, carry)
        view = View(form, carry.parameters, network)
        saved = [m.update(carry.t, view, f) for m, f in zip(measures, fixed, strict=True)]
        return carry, (carry.t, view.log_excess, saved)

    carry = _Carry(
        jnp.asarray(0),
        jnp.zeros((), dtype),
        start,
        transform.init(start),
        jnp.asarray(False),
        jnp.asarray(True),
    )
    carry, (ts, log_excess, saved) = jax.lax.scan(
        save, carry, jnp.asarray(save_steps(steps, saves))
    )
    last = View(form, carry.parameters, network)
    end = last.network
    good = Result.finished if until is None else Result.not_stopped
    result = Result.where(carry.met, Result.stopped, good)
    result = Result.where(carry.finite, result, Result.not_finite)
    return Solution(
        ts=ts,
        log_excess=log_excess,
        optimal_loss=optimal_loss(loss, form),
        t1=carry.t,
        log_excess1=last.log_excess,
        network=end,
        product=last.product if hasattr(type(end), "product") else None,
        measures={
            m.name: m.finish(ts, s, last, f) for m, s, f in zip(measures, saved, fixed, strict=True)
        },
        result=result,
        stats={
            "steps": carry.step,
            "accepted": carry.step,
            "rejected": jnp.zeros_like(carry.step),
            "initial_log_excess": first.log_excess,
            "discrepancy": last.discrepancy,
        },
    )
