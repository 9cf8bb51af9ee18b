"""The exact gradient flow, by an adaptive ODE solver."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float

from .._types import Network, Time
from ..data import Regression
from .formulations import choose
from .integrators.choose_solver import choose_solver, last
from .integrators.control import control, implicit_control
from .integrators.implicit import Implicit
from .settings import FlowSettings, flow_settings, log_spaced, takes, times
from .solution import Record, Solution
from .status import Result


@takes(flow_settings)
def gradient_flow(
    network: Any,
    data: Regression,
    *,
    ts: Any = None,
    t1: float | None = None,
    **settings: Any,
) -> Solution:
    r"""The gradient flow `theta' = -grad L(theta)` of any Equinox module, from time 0.

    Under the squared loss the residual E is integrated as an extra state, so that `L - L*` keeps
    its relative accuracy however small it becomes. A `TwoLayerLinear` (U, V) is integrated in
    `(V, Phi^T U, E)`, with the columns of Phi a basis of the span of the data.

    **Arguments:**

    - `network`: the module at time 0, called as `network(x: (D,)) -> (m,)`. Its parameters are
      `network.trainable()` if it has that method, else all its inexact arrays.
    - `data`: a `Regression`.
    - `ts`: increasing times at which to save, shape `(times,)`, in flow time. The flow ends at
      the last one. Default: 0 and 256 logarithmically spaced times up to `t1`; without `t1`, twelve
      decades around the initial time scale of the loss.
    - `t1`: the end, if there are no `ts`. With `until` neither is needed.
    - `until`: a stopping rule, e.g. `jf.until.loss_ratio(1e-20)`. The flow ends where it is first
      met, located inside the step.
    - `measures`: the quantities to save along the way or at the end, see `jf.measures`.
    - `loss`: `loss(prediction (n, m), target (n, m)) -> scalar`; default `1/2 ||Y - f(X)||_F^2`.
    - `formulation`: "auto", or the name of one: "two_layer_residual", "mirror" (of a
      `DiagonalLinear`), "residual", "parameters"; or "log_loss", in which `ts`, `t1` and the saved
      times are values of `-log L` (see `jf.log_loss_flow`).
    - `solver`: "explicit" (`Tsit5()`, and `Dopri8()` for an rtol below 1e-9), "implicit" (for
      stiff flows under the squared loss, see `jf.Implicit`), a Diffrax solver with an error
      estimate, or "auto": the cheaper of the first two by the spectrum of the tangent kernel.
      Under `jit` and `vmap`, where that is not known, "auto" is "explicit".
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
    dtype = data.X.dtype
    return flow(network, data, times(ts, t1, dtype), flow_settings(dtype, **settings))


def flow(
    network: Network,
    data: Regression,
    ts: Float[Array, " times"] | None,
    settings: FlowSettings,
    call: str = "gradient_flow",
) -> Solution:
    """`gradient_flow` of checked arguments: the solver is chosen, and the solve compiled once."""
    settings = choose_solver(settings, [network], data, last(ts))
    return _jitted(network, data, ts, settings, call)


@eqx.filter_jit
def _jitted(network: Network, data: Regression, ts: Any, settings: Any, call: str) -> Solution:
    return solve(network, data, ts, settings, call)


def solve(
    network: Network,
    data: Regression,
    ts: Float[Array, " times"] | None,
    settings: FlowSettings,
    call: str = "gradient_flow",
) -> Solution:
    """`gradient_flow` without its checks: one trajectory, to be jitted and vmapped from outside."""
    form = choose(settings.formulation, network, data, settings.loss)
    y0 = form.start(network)
    record = Record(form, network, y0, settings.measures, settings.loss)
    dtype = data.X.dtype
    t0 = form.begin(y0)
    ts, t1, scale = horizon(form.fastest_rate(y0), ts, dtype)
    ts, t1 = jnp.maximum(ts, t0), jnp.maximum(t1, t0)
    event = None
    if settings.until is not None:
        rule = settings.until

        def value(t: Time, y: Any, args: Any, **_: Any) -> Array:
            here = rule(t, record.view(y), record.first)
            # A rule that is met already has no crossing of its own: it gets one at the start.
            return jnp.where(t > t0, here, jnp.ones((), here.dtype))

        fine = 64 * float(jnp.finfo(dtype).eps)
        bisection: Any = optx.Bisection
        locate = bisection(rtol=fine, atol=fine, flip=True)
        event = diffrax.Event(value, locate, direction=False)
    solver, rtol, scheme = settings.solver, settings.rtol, control
    implicit = isinstance(solver, Implicit)
    if isinstance(solver, Implicit):
        solver, scheme = solver.bind(form, rtol), implicit_control
    # An interval of length zero is a legitimate one: ts = [0].
    length = t1 - t0
    # Diffrax's own constants follow the global precision; here everything follows the data's.
    with jax.enable_x64(dtype == jnp.float64):
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
            stepsize_controller=scheme(rtol, scale, form.error_scales),
            event=event,
            adjoint=settings.adjoint,
            max_steps=settings.max_steps,
            throw=False,
        )
    assert solution.ts is not None
    assert solution.ys is not None
    (ts, t_end), (saved, y_end) = solution.ts, solution.ys
    t1, y1 = t_end[0], jax.tree.map(lambda leaf: leaf[0], y_end)
    return record.solution(
        ts,
        saved,
        t1,
        y1,
        call=call,
        status=_status(solution),
        steps=solution.stats["num_steps"],
        accepted=solution.stats["num_accepted_steps"],
        rejected=solution.stats["num_rejected_steps"],
        beyond=~jnp.isfinite(ts) | (ts > t1),  # Diffrax leaves slots beyond the end at infinity
        implicit=implicit,
    )


def horizon(
    rate: Float[Array, ""], ts: Float[Array, " times"] | None, dtype: Any
) -> tuple[Float[Array, " times"], Float[Array, ""], Float[Array, ""]]:
    """The saved times, the end, and the time scale that steps start from."""
    rate = rate.astype(dtype)
    info = jnp.finfo(dtype)
    scale = 1 / jnp.clip(jnp.where(rate > 0, rate, 1), None, 1e-30 * float(info.max))
    if ts is not None:
        return ts, ts[-1], scale
    # Far beyond any stop, and far from overflow: only the rule or max_steps ends this solve.
    return log_spaced(1e8 * scale, decades=12.0), 1e25 * scale, scale


def _status(solution: diffrax.Solution) -> Array:
    R, stopped = diffrax.RESULTS, solution.event_mask
    good = Result.finished if stopped is None else Result.not_stopped
    out = jnp.where(solution.result == R.successful, good, Result.not_finite)
    out = jnp.where(solution.result == R.max_steps_reached, Result.max_steps_reached, out)
    # Whatever locating the crossing said: it lies inside the last step.
    return out if stopped is None else jnp.where(stopped, Result.stopped, out)
