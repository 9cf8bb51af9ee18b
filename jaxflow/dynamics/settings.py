"""The settings of a solve: checked once, and listed in one place."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..machine.arguments import instance, integer, number, positive, shown
from ..networks.losses import by_name
from .integrators.implicit import Implicit
from .measure import Measure, named
from .until import Until, rule

SAVES = 257  # default number of saved times: t = 0 and 256 more


def takes(settings: Callable[..., Any], *, without: Sequence[str] = ()) -> Callable[[Any], Any]:
    """A decorator for a function whose `**settings` go to `settings(...)`.

    The settings and their defaults are listed there alone; the signature of the function shows
    them, but those `without`, and refuses all others.
    """
    more = [p for p in keywords(settings).values() if p.name not in without]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(function)
        listed = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        known = {p.name for p in listed}
        signature = own.replace(parameters=[*listed, *[p for p in more if p.name not in known]])

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__qualname__} {error}.") from None
            return function(*args, **kwargs)

        vars(checked)["__signature__"] = signature
        return checked

    return decorate


def keywords(settings: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword arguments of a function, by name."""
    found = inspect.signature(settings).parameters
    return {name: p for name, p in found.items() if p.kind is p.KEYWORD_ONLY}


class FlowSettings(eqx.Module):
    """The settings of a flow. Arrays among them may vary without compiling anew."""

    rtol: Float[Array, ""]
    until: Until | None
    measures: tuple[Measure, ...]
    loss: Any
    solver: diffrax.AbstractSolver
    adjoint: diffrax.AbstractAdjoint
    formulation: str = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    auto: bool = eqx.field(static=True)  # whether the solver is still to be chosen


def flow_settings(
    dtype: Any,
    *,
    until: Until | None = None,
    measures: Sequence[Measure] = (),
    loss: Any = None,
    formulation: str = "auto",
    solver: diffrax.AbstractSolver | str | None = None,
    rtol: float | None = None,
    max_steps: int = 1_000_000,
    adjoint: diffrax.AbstractAdjoint | None = None,
) -> FlowSettings:
    """The settings of `gradient_flow`, checked and with their defaults filled in."""
    instance("formulation", formulation, str, "a name, such as 'auto'")
    what = "Diffrax's, such as diffrax.DirectAdjoint()"
    instance("adjoint", adjoint, diffrax.AbstractAdjoint | None, what)
    return FlowSettings(
        rtol=jnp.asarray(tolerance(rtol, dtype), dtype),
        until=as_arrays(rule(until), dtype),
        measures=as_arrays(named(measures), dtype),
        loss=by_name(loss),
        solver=named_solver(solver, rtol),
        adjoint=diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint,
        formulation=formulation,
        max_steps=integer("max_steps", max_steps),
        auto=solver is None or (isinstance(solver, str) and solver == "auto"),
    )


def as_arrays(tree: Any, dtype: Any) -> Any:
    """The tree with its Python floats as arrays, so that other values need no other program."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if isinstance(x, float) else x, tree)


def tolerance(rtol: Any, dtype: Any) -> Any:
    """The relative tolerance to use in this dtype. Raises `ValueError` if it is out of reach."""
    info = jnp.finfo(dtype)
    if rtol is None:
        return 1e-8 if info.bits >= 64 else 1e-5
    if isinstance(rtol, jax.core.Tracer):
        return rtol
    least = 50 * float(info.eps)
    number("rtol", rtol, "be a number", lambda _: True)
    if not least <= float(rtol) < 1:
        remedy = (
            f"use at least {least:.0e}, or float64 data with jax_enable_x64"
            if info.bits < 64
            else f"use a value from {least:.0e} up to 1"
        )
        raise ValueError(f"rtol={rtol} is out of reach in {info.dtype}: {remedy}.")
    return float(rtol)


def named_solver(solver: Any, rtol: Any) -> diffrax.AbstractSolver:
    """The solver of this name; for "auto" the explicit one, until `choose_solver` decides."""
    if isinstance(solver, diffrax.AbstractAdaptiveSolver):
        return solver
    if isinstance(solver, str | None) and solver in (None, "auto", "explicit", "implicit"):
        return Implicit() if solver == "implicit" else explicit_solver(rtol)
    raise ValueError(
        f"No solver {shown(solver)}: choose 'auto', 'explicit', 'implicit', or give a Diffrax "
        "solver with an error estimate, such as diffrax.Tsit5()."
    )


def explicit_solver(rtol: Any) -> diffrax.AbstractSolver:
    """Order 5 has cheaper steps, order 8 fewer of them: it wins below rtol = 1e-9 (measured)."""
    tight = rtol is not None and not isinstance(rtol, jax.core.Tracer) and rtol < 1e-9
    return diffrax.Dopri8() if tight else diffrax.Tsit5()


def times(ts: Any, t1: Any, dtype: Any) -> Float[Array, " times"] | None:
    """The saved times as an array; None where they depend on the trajectory."""
    if ts is None:
        if t1 is None:
            return None
        return spread(jnp.asarray(positive("t1", t1), dtype))
    if not isinstance(ts, jax.core.Tracer):
        values = plain_times(ts)
        if values.ndim == 1 and values.size == 0:
            raise ValueError("ts is empty: give at least one time.")
        if values.ndim > 1 or not np.all(np.isfinite(values)) or np.any(values < 0):
            raise ValueError("ts must be one time or a vector of times, finite and non-negative.")
        if np.any(np.diff(np.atleast_1d(values)) < 0):
            raise ValueError("ts must increase: sort it first.")
    return jnp.atleast_1d(jnp.asarray(ts, dtype))


def plain_times(ts: Any) -> np.ndarray:
    """Saved times as floats; `ValueError` where they are not numbers."""
    try:
        return np.asarray(ts, float)
    except (TypeError, ValueError):
        raise ValueError(f"ts must be one time or a vector of times, got {shown(ts)}.") from None


def spread(t1: Float[Array, ""]) -> Float[Array, " times"]:
    """0 and 256 times up to `t1`: half spaced evenly, half logarithmically over six decades.

    So neither what happens at once is missed, nor what happens late.
    """
    half = (SAVES - 1) // 2
    even, logarithmic = np.arange(half) / half, np.geomspace(1e-6, 1, half + 1)
    return t1 * jnp.asarray(np.sort(np.concatenate([even, logarithmic])), t1.dtype)


def log_spaced(t1: Float[Array, ""], saves: int) -> Float[Array, " times"]:
    """0 and `saves - 1` logarithmically spaced times over the last six decades before `t1`."""
    powers = np.linspace(-6.0, 0.0, saves - 1)
    factors = np.concatenate([[0.0], 10.0**powers])
    return t1 * jnp.asarray(factors, t1.dtype)
