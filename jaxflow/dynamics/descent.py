"""The discrete counterpart of the flow: gradient descent by Optax, in the same unit of time."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from .._types import Network
from ..data import Regression
from ..data.regression import problem
from ..machine.arguments import flag, instance, integer, number, positive, shown
from ..machine.keys import as_key
from ..machine.user_files import sentence
from ..networks.adopt import Where, adopt
from ..networks.losses import SquaredLoss, by_name, usable
from .formulations import Parameters
from .formulations.base import all_finite
from .measure import Measure, named
from .messages import bounded
from .rules import Descent, Loss, Rule
from .settings import SAVES, as_arrays, takes
from .solution import Record, Solution
from .status import Call, Result
from .until import Until, asked, rule as known_rule


class DescentSettings(eqx.Module):
    """The settings of a descent. Numbers are arrays, so that other values compile nothing anew."""

    optimizer: Any
    rate: Any  # time of a step before momentum: an array, or a schedule `step -> rate`
    momentum: Array | None
    label_noise: Array | None
    key: PRNGKeyArray | None  # None: every trajectory of a sweep has its own
    steps: Array
    saves: Array
    until: Until | None
    measures: tuple[Measure, ...]
    loss: Any
    nesterov: bool = eqx.field(static=True)
    batch: int | None = eqx.field(static=True)
    midpoints: int = eqx.field(static=True)

    def rule(self) -> Rule:
        """How a step is made."""
        if isinstance(self.optimizer, Rule):
            return self.optimizer
        if isinstance(self.optimizer, optax.GradientTransformation):
            return Descent(self.optimizer)
        if self.momentum is None:
            return Descent(self.optimizer(self.rate))
        more = {"nesterov": True} if self.nesterov else {}
        return Descent(self.optimizer(self.rate, momentum=self.momentum, **more))

    def batch_loss(self, form: Parameters, step: Array) -> Loss:
        """The loss of this step's batch."""
        if self.batch is None and self.label_noise is None:
            return form.loss
        assert self.key is not None
        data, key = form.data, jr.fold_in(self.key, step)
        X, Y = data.X, data.Y
        if self.batch is not None:
            rows = jr.choice(key, data.samples, (self.batch,), replace=False)
            X, Y = X[rows], Y[rows]
        if self.label_noise is not None:
            Y = Y + self.label_noise * jr.normal(jr.fold_in(key, 1), Y.shape, Y.dtype)
        return lambda parameters: form.batch_loss(parameters, X, Y)


def descent_settings(
    data: Regression,
    *,
    optimizer: Any,
    steps: int,
    learning_rate: Any = None,
    momentum: Any = None,
    nesterov: bool = False,
    until: Until | None = None,
    measures: Sequence[Measure] = (),
    loss: Any = None,
    batch: int | None = None,
    label_noise: Any = None,
    key: PRNGKeyArray | None = None,
    saves: int | Sequence[int] = SAVES,
    midpoints: bool | int = False,
    dt: float | None = None,
) -> DescentSettings:
    """The arguments of `gradient_descent`, checked and with their defaults filled in."""
    dtype = problem(data).X.dtype
    steps = integer("steps", steps)
    ready = isinstance(optimizer, optax.GradientTransformation)
    if ready:
        if dt is None or learning_rate is not None or momentum is not None:
            raise ValueError(
                "A ready-made transformation needs dt=, the time one step takes, and no "
                "learning_rate or momentum; or pass the factory itself, e.g. optax.sgd."
            )
    elif learning_rate is None or dt is not None:
        raise ValueError("Pass learning_rate= with an optimizer factory such as optax.sgd.")
    rate: Any = dt if ready else learning_rate
    if not callable(rate):
        rate = jnp.asarray(positive("dt" if ready else "learning_rate", rate), dtype)
    if isinstance(optimizer, Rule) and not (momentum is None and batch is None and not label_noise):
        raise ValueError(
            f"{type(optimizer).__name__} models full-batch descent: give it no momentum, batch or "
            "label_noise."
        )
    if flag("nesterov", nesterov) and momentum is None:
        raise ValueError("nesterov needs momentum=.")
    if momentum is not None:
        number("momentum", momentum, "lie in [0, 1)", lambda x: 0 <= x < 1)
        momentum = jnp.asarray(momentum, dtype)
    if label_noise is not None:
        label_noise = jnp.asarray(positive("label_noise", label_noise), dtype)
    if getattr(saves, "ndim", 1) and isinstance(saves, Sequence | np.ndarray | jax.Array):
        at: Any = [integer("A step of saves", step, 0) for step in saves]
        if not at or np.any(np.diff(at) <= 0) or at[-1] > steps:
            raise ValueError(f"saves must be increasing steps in 0 ... {steps}.")
    else:
        at = save_steps(steps, integer("saves", saves, 2))
    if batch is not None:
        batch = integer("batch", batch)
        if batch > data.samples:
            raise ValueError(f"batch must lie in 1 ... {data.samples} samples, got {batch}.")
    return DescentSettings(
        optimizer=as_arrays(optimizer, dtype) if isinstance(optimizer, Rule) else optimizer,
        rate=rate,
        momentum=momentum,
        label_noise=label_noise,
        key=key,
        steps=jnp.asarray(steps),
        saves=jnp.asarray(at, int),
        until=as_arrays(known_rule(until), dtype),
        measures=as_arrays(named(measures), dtype),
        loss=by_name(loss),
        nesterov=nesterov,
        batch=None if batch == data.samples else batch,
        midpoints=integer("midpoints", int(midpoints), 0),
    )


def makes_steps(settings: DescentSettings) -> None:
    """`ValueError` unless the optimizer and the schedule can be called as a descent calls them."""
    try:
        rule = settings.rule()
        rate = jnp.asarray(
            settings.rate(jnp.asarray(0)) if callable(settings.rate) else settings.rate
        )
        if isinstance(rule, Descent):
            kind, what = optax.GradientTransformation, "an Optax transformation"
            instance("What it returns", rule.transform, kind, what)
    except Exception as error:
        raise ValueError(
            f"The optimizer {shown(settings.optimizer)} makes no step: give an Optax factory that "
            "is called as optimizer(learning_rate), such as optax.sgd, and for learning_rate a "
            f"number or a function of the step. {sentence(error)}"
        ) from error
    if rate.shape or not jnp.issubdtype(rate.dtype, jnp.floating):
        raise ValueError(
            f"learning_rate must return a number for every step, got {rate.dtype} of shape "
            f"{rate.shape}."
        )


def save_steps(steps: int, saves: int) -> np.ndarray:
    """Step 0 and `saves - 1` logarithmically spaced steps up to the last; all, if they are fewer.

    Where they would coincide, at the start, they are consecutive.
    """
    count = min(saves - 1, steps)
    spaced = np.rint(np.geomspace(steps, 1, count)[::-1]).astype(np.int64)
    order = np.arange(count)
    return np.concatenate([[0], np.maximum.accumulate(spaced - order) + order])


@takes(descent_settings)
def gradient_descent(
    network: Any,
    data: Regression,
    optimizer: Callable[..., optax.GradientTransformation] | optax.GradientTransformation | Rule,
    *,
    where: Where | None = None,
    **settings: Any,
) -> Solution:
    r"""Descent of any Equinox module, `theta <- theta + update(grad L(theta))`.

    Time is the cumulative learning rate divided by `1 - momentum`: after k steps of a constant rate
    `t = k learning_rate / (1 - momentum)`, and descent converges to `gradient_flow` at that time as
    the rate goes to 0. There is no `1/n` in L.

    **Arguments:**

    - `network`, `data`, `where`, `until`, `measures`, `loss`: as in `gradient_flow`.
    - `optimizer`: an Optax factory such as `optax.sgd`, called as `optimizer(learning_rate)` inside
      the trace, so that another rate does not retrace; a ready-made transformation with `dt`; or
      a `Rule`: a method such as `jf.RMSProp()`, or a model of one, such as `jf.CentralFlow()`.
    - `learning_rate`: a number, or a schedule `step -> rate`.
    - `momentum`, `nesterov`: for factories that take them, as `optax.sgd` does.
    - `steps`: number of steps at most.
    - `batch`: samples per step, drawn without replacement; default all. Their loss is scaled by
      `n / batch`, so that its mean is L and learning rates mean the same.
    - `label_noise`: standard deviation of the noise that is added to the targets in every step.
    - `key`: a JAX key, or an integer seed, for batches and noise; default `jax.random.key(0)`.
    - `saves`: number of saved times: step 0 and logarithmically spaced steps up to the last; or
      increasing steps of your own, the last of them at most `steps`.
    - `midpoints`: save values halfway to the next step, where oscillations cancel; with 2, halfway
      between two such midpoints, `(w_k + 2 w_k+1 + w_k+2) / 4` about step k + 1, where they cancel
      to one order more.
    - `dt`: the time that a step of a ready-made transformation takes.

    **Returns:** a `Solution`; `stats["steps"]` counts the steps taken. The run ends with
    `Result.diverged` at the step at which the weights stop being finite.

    **Raises:** `ValueError` for rates, step counts or shapes that cannot be used.
    """
    settings["key"] = as_key(0 if settings.get("key") is None else settings["key"])
    settings["loss"] = usable(settings.get("loss"), problem(data))
    plan = descent_settings(data, optimizer=optimizer, **settings)
    makes_steps(plan)
    return descend(adopt(network, data, where), data, plan)


class _Carry(eqx.Module):
    step: Array  # how many steps have been made
    t: Array
    parameters: PyTree[Array]
    memory: PyTree  # what the rule carries from step to step
    met: Array  # whether the stopping rule is met
    finite: Array  # whether all parameters are


@eqx.filter_jit
def descend(network: Network, data: Regression, plan: DescentSettings) -> Solution:
    """The descent of these settings."""
    form: Any = Parameters.build(network, data, plan.loss)
    start = form.start(network)
    dtype = data.X.dtype
    rule, until = plan.rule(), plan.until
    slow = 1 if plan.momentum is None else 1 - plan.momentum

    def rate_of(step: Array) -> Array:
        return jnp.asarray(plan.rate(step) if callable(plan.rate) else plan.rate, dtype)

    def step(carry: _Carry) -> _Carry:
        rate = rate_of(carry.step)
        parameters, state = rule.step(
            form, carry.parameters, carry.memory, rate, plan.batch_loss(form, carry.step)
        )
        t = carry.t + rate / slow
        view = record.view(parameters, (rule, state))
        met = jnp.asarray(False) if until is None else asked(until, t, view, record.first) <= 0
        return _Carry(carry.step + 1, t, parameters, state, met, all_finite(parameters))

    def save(carry: _Carry, goal: Array) -> tuple[_Carry, Any]:
        carry = jax.lax.while_loop(lambda c: (c.step < goal) & ~c.met & c.finite, step, carry)
        ahead = [carry]
        for _ in range(plan.midpoints):
            ahead.append(step(ahead[-1]))
        points = [(each.t, each.parameters) for each in ahead]
        while len(points) > 1:
            points = [jax.tree.map(lambda a, b: 0.5 * (a + b), *pair) for pair in pairwise(points)]
        return carry, (points[0][0], record.read(*points[0], (rule, ahead[-1].memory)))

    memory = rule.start(form, start, rate_of(jnp.asarray(0)))
    record = Record(form, network, start, plan.measures, plan.loss, (rule, memory))
    carry = _Carry(
        jnp.asarray(0),
        jnp.zeros((), dtype),
        start,
        memory,
        jnp.asarray(False),
        jnp.asarray(True),
    )
    carry, (ts, saved) = jax.lax.scan(save, carry, plan.saves)
    # The last step of all, where saves end before it.
    carry = jax.lax.while_loop(lambda c: (c.step < plan.steps) & ~c.met & c.finite, step, carry)
    good = Result.finished if until is None else Result.not_stopped
    status = jnp.where(carry.met, Result.stopped, good)
    return record.solution(
        ts,
        saved,
        carry.t,
        carry.parameters,
        call=Call(
            "gradient_descent",
            "steps",
            squared=isinstance(plan.loss, SquaredLoss),
            bounded=bounded(until, network),
        ),
        ruled=(rule, carry.memory),
        status=jnp.where(rule.beyond(carry.memory), rule.failure, status),
        steps=carry.step,
        accepted=carry.step,
        rejected=jnp.zeros_like(carry.step),
        broken=Result.diverged,
    )
