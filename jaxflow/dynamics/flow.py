"""The exact gradient flow, by an adaptive ODE solver."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float

from .._types import Network, State, Time
from ..data import Regression
from ..data.regression import problem
from ..machine.compiling import jit
from ..networks.adopt import Where, adopt
from ..networks.base import predictions
from ..networks.losses import SquaredLoss, usable
from ..networks.smoothing import has_kinks
from .formulations import Filippov, Formulation, choose
from .integrators.choose_solver import choose_solver, last
from .integrators.control import STALLED, control, implicit_control
from .integrators.implicit import Implicit
from .integrators.sliding import sliding
from .integrators.stalls import Watch
from .messages import bounded
from .settings import SAVES, FlowSettings, flow_settings, spread, takes, times
from .solution import Record, Solution
from .status import Call, Result
from .until import asked

_NO_CALL = Call("")


@takes(flow_settings)
def gradient_flow(
    network: Any,
    data: Regression,
    *,
    ts: Any = None,
    t1: float | None = None,
    where: Where | None = None,
    **settings: Any,
) -> Solution:
    r"""The gradient flow `theta' = -grad L(theta)` of any Equinox module, from time 0.

    Under the squared loss the residual E is integrated as an extra state, so that `L - L*` keeps
    its relative accuracy however small it becomes. A `TwoLayerLinear` (U, V) is integrated in
    `(V, Phi^T U, E)`, with the columns of Phi a basis of the span of the data.

    **Arguments:**

    - `network`: the module at time 0, called as `network(x: (D,)) -> (m,)`; for functions and
      modules of other libraries see `jf.module`. Its parameters are what `network.trainable()`
      says if it has that method, else all its arrays of floating-point numbers; they are converted
      to the precision of the data.
    - `data`: a `Regression`.
    - `where`: the parameters to train, if not all of them, as `equinox.tree_at` selects them:
      `lambda network: network.layers[-1]`.
    - `ts`: increasing times at which to save, shape `(times,)`, in flow time. The flow ends at
      the last one. Default: 0 and 256 times up to `t1`, or, without `t1`, up to where the stopping
      rule is met: half of them spaced evenly, half logarithmically over six decades. (The flow is
      then integrated twice, since the end is not known before.)
    - `t1`: the end, if there are no `ts`. With `until` neither is needed.
    - `until`: a stopping rule, e.g. `jf.until.loss_ratio(1e-20)`. The flow ends where it is first
      met, located inside the step.
    - `measures`: the quantities to save along the way or at the end, see `jf.measures`.
    - `loss`: `loss(prediction (n, m), target (n, m)) -> scalar`, or the name of one: "squared" (the
      default, `1/2 ||Y - f(X)||_F^2`), "cross_entropy", "logistic", "exponential" or "huber". L* is
      its `optimum`, a number or a function of the data, else 0.
    - `formulation`: "auto", or the name of one: "two_layer_residual", "mirror" (of a
      `DiagonalLinear`), "filippov" (the exact flow of one hidden layer of relu or leaky relu under
      the squared loss, which slides along kinks), "residual", "parameters"; or "log_loss", in
      which `ts`, `t1` and the saved times are values of `-log L` (see `jf.log_loss_flow`).
    - `solver`: "explicit" (`Tsit5()`, and `Dopri8()` for an rtol below 1e-9), "implicit" (for
      stiff flows, see `jf.Implicit`), a Diffrax solver with an error estimate, or "auto": the
      cheaper of the first two by the rates of the flow at the start. A stiff flow of fewer
      parameters than residuals is integrated in its "parameters". Under `jit` and `vmap`, where
      rates are not known, "auto" is "explicit".
    - `rtol`: tolerance on the error of a step, relative to the size of the weights and of the
      residual; default 1e-8 in float64 and 1e-5 in float32.
    - `max_steps`, `adjoint`: as in Diffrax.

    **Returns:** a `Solution`. Numerical failure is a result code, not an exception.

    **Raises:** `ValueError` for times, tolerances, shapes or names that cannot be used.
    """
    if ts is not None and t1 is not None:
        raise ValueError("Give ts or t1, not both: the flow ends at the last of ts.")
    if ts is None and t1 is None and settings.get("until") is None:
        raise ValueError("Say how far to go: give ts, t1 or until.")
    dtype = problem(data).X.dtype
    settings["loss"] = usable(settings.get("loss"), data)
    checked = flow_settings(dtype, **settings)
    call = Call("gradient_flow", "ts" if ts is not None else "t1" if t1 is not None else "")
    return flow(adopt(network, data, where), data, times(ts, t1, dtype), checked, call)


def flow(
    network: Network,
    data: Regression,
    ts: Float[Array, " times"] | None,
    settings: FlowSettings,
    call: Call,
) -> Solution:
    """`gradient_flow` of checked arguments: the solver is chosen, and the solve compiled once."""
    settings = choose_solver(settings, [network], data, last(ts))
    return _jitted(network, data, ts, settings, call)


@jit
def _jitted(network: Network, data: Regression, ts: Any, settings: Any, call: Call) -> Solution:
    return solve(network, data, ts, settings, call)


def solve(
    network: Network,
    data: Regression,
    ts: Float[Array, " times"] | None,
    settings: FlowSettings,
    call: Call = _NO_CALL,
) -> Solution:
    """`gradient_flow` without its checks: one trajectory, to be jitted and vmapped from outside.

    Without a `call`, in a sweep, times are saved only if a measure saves something along the way.
    """
    form = choose(settings.formulation, network, data, settings.loss)
    y0 = form.start(network)
    record = Record(form, network, y0, settings.measures, settings.loss)
    t0 = form.begin(y0)
    scale = time_scale(form.fastest_rate(y0), data.X.dtype)
    kinks = not isinstance(form, Filippov) and has_kinks(predictions, network, data.X)
    integrate = functools.partial(_integrate, form, record, settings, y0, t0, scale, kinks)
    if ts is not None:
        ts = jax.lax.cummax(jnp.maximum(ts, t0))
        end = integrate(ts, ts[-1])
        times, saved = end.ts, end.saved
    else:
        # The end is far beyond any stop, and far from overflow: only the rule or max_steps ends
        # this solve. Once it is known, the same steps are made again, to save up to there: one
        # program serves both.
        far = jnp.maximum(1e25 * scale, t0)
        if not call.name and not jax.tree.leaves(jax.eval_shape(record.read, t0, y0)[1]):
            end = integrate(far[None], far)  # nothing is saved along the way
            times, saved = end.ts, end.saved
        else:

            def solved(goal: Any, ruled: Any) -> tuple[Any, _End]:
                end = integrate(goal[0], goal[1], ruled)
                return (jnp.maximum(spread(end.t1), t0), end.t1), end

            first = jnp.broadcast_to(far, (SAVES,)), far
            _, both = jax.lax.scan(solved, first, jnp.asarray([True, False]))
            end = jax.tree.map(lambda leaf: leaf[0], both)
            times, saved = jax.tree.map(lambda leaf: leaf[1], (both.ts, both.saved))
    if call.name:
        call = dataclasses.replace(
            call,
            squared=isinstance(settings.loss, SquaredLoss),
            kinks=kinks,
            bounded=bounded(settings.until, network),
        )
    return record.solution(
        times,
        saved,
        end.t1,
        end.y1,
        call=call,
        status=end.status,
        steps=end.steps,
        accepted=end.accepted,
        rejected=end.steps - end.accepted,
        # Diffrax leaves slots beyond the end at infinity.
        beyond=~jnp.isfinite(times) | (times >= end.t1),
        implicit=isinstance(settings.solver, Implicit),
    )


class _End(eqx.Module):
    """What a solve gave: what was saved at ts; time and state at the end; how it ended."""

    ts: Float[Array, " times"]
    saved: Any
    t1: Float[Array, ""]
    y1: State
    status: Array
    steps: Array
    accepted: Array


def _integrate(
    form: Formulation,
    record: Record,
    settings: FlowSettings,
    y0: State,
    t0: Time,
    scale: Float[Array, ""],
    kinks: bool,
    ts: Float[Array, " times"],
    t1: Float[Array, ""],
    ruled: Any = True,
) -> _End:
    """One solve from t0 to t1, or, if it is `ruled`, until the stopping rule is met."""
    dtype, event, rule = form.data.X.dtype, None, settings.until
    if rule is not None:

        def value(t: Time, y: Any, args: Any, **_: Any) -> Array:
            here = asked(rule, t, record.view(y), record.first)
            # A rule that is met already has no crossing of its own: it gets one at the start.
            return jnp.where(ruled & (t > t0), here, jnp.ones((), here.dtype))

        fine = 64 * float(jnp.finfo(dtype).eps)
        bisection: Any = optx.Bisection
        locate = bisection(rtol=fine, atol=fine, flip=True)
        event = diffrax.Event(value, locate, direction=False)
    solver, rtol, scheme = settings.solver, settings.rtol, control
    if isinstance(solver, Implicit):
        solver, scheme = solver.bind(form, rtol), implicit_control
        rtol = solver.tolerance
    controller = scheme(rtol, scale, form.error_scales)
    if isinstance(form, Filippov):
        solver, controller = sliding(form, solver, controller)
    elif kinks:
        watch = Watch(form, record.network, t1, controller.moved)
        controller = dataclasses.replace(controller, watch=watch)
    # An interval of length zero is a legitimate one: ts = [0].
    length = t1 - t0
    # Diffrax's own constants follow the global precision; here everything follows the data's.
    with jax.enable_x64(dtype == jnp.float64), _without_checks():
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(form.field),
            solver,
            t0=t0,
            t1=t1,
            dt0=jnp.where(length > 0, jnp.minimum(1e-2 * scale, length), scale),
            y0=y0,
            saveat=diffrax.SaveAt(
                subs=[
                    diffrax.SubSaveAt(ts=ts, fn=lambda t, y, args: record.read(t, y)),
                    diffrax.SubSaveAt(t1=True),
                ]
            ),
            stepsize_controller=controller,
            event=event,
            adjoint=settings.adjoint,
            max_steps=settings.max_steps,
            throw=False,
        )
    assert solution.ts is not None
    assert solution.ys is not None
    (ts, t_end), (saved, y_end) = solution.ts, solution.ys
    return _End(
        ts,
        saved,
        t_end[0],
        jax.tree.map(lambda leaf: leaf[0], y_end),
        _status(solution),
        solution.stats["num_steps"],
        solution.stats["num_accepted_steps"],
    )


@contextlib.contextmanager
def _without_checks() -> Iterator[None]:
    """Leave out Diffrax's checks of times, which are ordered here already.

    They are callbacks into Python, and a program with callbacks is not kept on disk by JAX.
    """
    check = eqxi.error_if
    eqxi.error_if = lambda x, *_, **__: x
    try:
        yield
    finally:
        eqxi.error_if = check


def time_scale(rate: Float[Array, ""], dtype: Any) -> Float[Array, ""]:
    """The time scale that steps start from, at this fastest rate of the flow."""
    most = 1e-30 * float(jnp.finfo(dtype).max)
    rate = rate.astype(dtype)
    return 1 / jnp.clip(jnp.where(rate > 0, rate, 1), None, most)


def _status(solution: diffrax.Solution) -> Array:
    R, stopped = diffrax.RESULTS, solution.event_mask
    good = Result.finished if stopped is None else Result.not_stopped
    out = jnp.where(solution.result == R.successful, good, Result.not_finite)
    out = jnp.where(solution.result == R.max_steps_reached, Result.max_steps_reached, out)
    out = jnp.where(solution.result == STALLED, Result.stalled, out)
    # Whatever locating the crossing said: it lies inside the last step.
    return out if stopped is None else jnp.where(stopped, Result.stopped, out)
