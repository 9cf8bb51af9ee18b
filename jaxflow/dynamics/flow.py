"""The exact gradient flow, by an adaptive ODE solver."""

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, PyTree

from ..data import Regression
from ..networks.losses import SquaredLoss
from .formulations import Formulation, choose
from .formulations.base import all_finite
from .integrators.choose_solver import decided, last
from .integrators.control import control, implicit_control
from .integrators.implicit import Implicit
from .measure import Measure
from .settings import FlowSettings, flow_settings, log_spaced, times
from .solution import Solution
from .status import Result
from .until import Until
from .view import View


def gradient_flow(
    network: Any,
    data: Regression,
    *,
    ts: Any = None,
    t1: float | None = None,
    until: Until | None = None,
    measures: Sequence[Measure] = (),
    loss: Any = None,
    formulation: str = "auto",
    solver: diffrax.AbstractSolver | str | None = None,
    rtol: float | None = None,
    max_steps: int = 1_000_000,
    adjoint: diffrax.AbstractAdjoint | None = None,
) -> Solution:
    r"""The gradient flow `theta' = -grad L(theta)` of any Equinox module, from time 0.

    Under the squared loss the residual is a state of its own, so that `L - L*` keeps its relative
    accuracy however small it becomes. A `TwoLayerLinear` is integrated in `(V, Phi^T U, E)`.

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
    - `measures`: what to read off along the way.
    - `loss`: `loss(prediction (n, m), target (n, m)) -> scalar`; default `1/2 ||Y - f(X)||_F^2`.
    - `formulation`: "auto", or the name of one: "two_layer_residual", "mirror" (of a
      `DiagonalLinear`), "residual", "parameters".
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
    if ts is None and t1 is None and until is None:
        raise ValueError("Say how far to go: give ts, t1 or until.")
    dtype = data.X.dtype
    settings = flow_settings(
        dtype,
        until=until,
        measures=measures,
        loss=loss,
        formulation=formulation,
        solver=solver,
        rtol=rtol,
        max_steps=max_steps,
        adjoint=adjoint,
    )
    ends = times(ts, t1, dtype)
    settings = decided(settings, [network], data, last(ends))
    return _jitted(network, data, ends, settings)


@eqx.filter_jit
def _jitted(network: Any, data: Regression, ts: Any, settings: FlowSettings) -> Solution:
    return solve(network, data, ts, settings)


def solve(
    network: Any, data: Regression, ts: Float[Array, " times"] | None, settings: FlowSettings
) -> Solution:
    """`gradient_flow` without its checks: one trajectory, to be jitted and vmapped from outside."""
    form = choose(settings.formulation, network, data, settings.loss)
    y0 = form.start(network)
    first = View(form, y0, network)
    dtype = data.X.dtype
    ts, t1, scale = horizon(form.fastest_rate(y0), ts, dtype)
    fixed = [measure.start(first) for measure in settings.measures]

    def read(t: Any, y: Any, args: Any) -> tuple[Array, list[PyTree]]:
        view = View(form, y, network)
        saved = [m.update(t, view, f) for m, f in zip(settings.measures, fixed, strict=True)]
        return view.log_excess, saved

    event = None
    if settings.until is not None:
        rule = settings.until

        def value(t: Any, y: Any, args: Any, **_: Any) -> Array:
            here = rule(t, View(form, y, network), first)
            # A rule that is met already has no crossing of its own: it gets one at the start.
            return jnp.where(t > 0, here, jnp.ones((), here.dtype))

        fine = 64 * float(jnp.finfo(dtype).eps)
        bisection: Any = optx.Bisection
        locate = bisection(rtol=fine, atol=fine, flip=True)
        event = diffrax.Event(value, locate, direction=False)
    solver, rtol, scheme = settings.solver, settings.rtol, control
    if isinstance(solver, Implicit):
        solver, scheme = solver.bound(form, rtol), implicit_control
    # An interval of length zero is a legitimate one: ts = [0].
    positive = t1 > 0
    # Diffrax's own constants follow the global precision; here everything follows the data's.
    with jax.enable_x64(dtype == jnp.float64):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(form.field),
            solver,
            t0=jnp.zeros((), dtype),
            t1=t1,
            dt0=jnp.where(positive, jnp.minimum(1e-2 * scale, t1), scale),
            y0=y0,
            saveat=diffrax.SaveAt(
                subs=[diffrax.SubSaveAt(ts=ts, fn=read), diffrax.SubSaveAt(t1=True)]
            ),
            stepsize_controller=scheme(rtol, scale, form.sizes),
            event=event,
            adjoint=settings.adjoint,
            max_steps=settings.max_steps,
            throw=False,
        )
    return _package(solution, form, network, first, fixed, read, settings)


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


def _package(
    solution: diffrax.Solution,
    form: Formulation,
    network: Any,
    first: View,
    fixed: list[PyTree],
    read: Any,
    settings: FlowSettings,
) -> Solution:
    assert solution.ts is not None
    assert solution.ys is not None
    (ts, t_end), ((log_excess, saved), y_end) = solution.ts, solution.ys
    t1, y1 = t_end[0], jax.tree.map(lambda leaf: leaf[0], y_end)
    last = View(form, y1, network)
    log_excess1, saved1 = read(t1, y1, None)
    # Diffrax leaves slots beyond the end at infinity.
    beyond = ~jnp.isfinite(ts) | (ts > t1)
    ts, log_excess, saved = hold(beyond, (ts, log_excess, saved), (t1, log_excess1, saved1))
    measures = {
        m.name: m.finish(ts, s, last, f)
        for m, s, f in zip(settings.measures, saved, fixed, strict=True)
    }
    end = last.network
    return Solution(
        ts=ts,
        log_excess=log_excess,
        optimal_loss=optimal_loss(settings.loss, form),
        t1=t1,
        log_excess1=log_excess1,
        network=end,
        product=last.product if hasattr(type(end), "product") else None,
        measures=measures,
        status=_status(solution, y1),
        stats={
            "steps": solution.stats["num_steps"],
            "accepted": solution.stats["num_accepted_steps"],
            "rejected": solution.stats["num_rejected_steps"],
            "initial_log_excess": first.log_excess,
            "discrepancy": last.discrepancy,
            "implicit": jnp.asarray(isinstance(settings.solver, Implicit)),
        },
        call="gradient_flow",
    )


def hold(beyond: Array, values: PyTree[Array], final: PyTree[Array]) -> PyTree[Array]:
    """The values by saved time, where `beyond` the end the final ones: a trajectory stays there."""
    return jax.tree.map(
        lambda v, end: jnp.where(beyond.reshape(-1, *[1] * end.ndim), end[None], v), values, final
    )


def optimal_loss(loss: Any, form: Formulation) -> Float[Array, ""]:
    """What the excess loss is counted from: L*, in the loss's own units."""
    goal = getattr(form, "goal", form.data.best_fit)
    if isinstance(loss, SquaredLoss):
        return loss(goal, form.data.Y)
    return jnp.asarray(getattr(loss, "optimum", 0), form.data.X.dtype)


def _status(solution: diffrax.Solution, y1: Any) -> Array:
    R, stopped = diffrax.RESULTS, solution.event_mask
    good = Result.finished if stopped is None else Result.not_stopped
    out = jnp.where(solution.result == R.successful, good, Result.not_finite)
    out = jnp.where(solution.result == R.max_steps_reached, Result.max_steps_reached, out)
    if stopped is not None:
        # Whatever locating the crossing said: it lies inside the last step.
        out = jnp.where(stopped, Result.stopped, out)
    return jnp.where(all_finite(y1), out, Result.not_finite).astype(jnp.int8)
