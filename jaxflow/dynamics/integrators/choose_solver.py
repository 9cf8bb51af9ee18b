"""The choice between an explicit and the implicit solver, by the rates of the flow at the start.

An explicit step is limited by stability, about 3 over the fastest rate; an implicit one by accuracy
alone, and their number grows with the logarithm of the time. What one costs in the other's units
is the formulation's own estimate, from measurements.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ...data import Regression
from ...networks.base import entries
from ..formulations import Parameters, Residual, choose
from ..formulations.dual import DualFormulation
from ..formulations.residual import ResidualFormulation
from ..settings import FlowSettings
from .implicit import Implicit
from .stages import few

STABLE = 3.0  # stability limit: the largest `h * lambda_max` of an explicit step
DECAY = math.log(1e20)  # assumed decay of the excess loss, where the stopping rule names none


def choose_solver(
    settings: FlowSettings, networks: Sequence[Any], data: Regression, end: Any
) -> FlowSettings:
    """The settings with a solver that suits these networks; `end`: the last time, or None.

    Where values are not known yet, under `jit` and `vmap`, the solver is explicit.
    """
    if not (settings.auto or isinstance(settings.solver, Implicit)):
        return settings
    form: Any = choose(settings.formulation, networks[0], data, settings.loss)
    # With fewer parameters than residuals, the parameters are the smaller system.
    stiff = dataclasses.replace(settings, solver=Implicit(), auto=False)
    free = settings.formulation == "auto" and isinstance(form, Residual)
    if free and entries(form.start(networks[0]).weights) < form.goal.size:
        stiff = dataclasses.replace(stiff, formulation=Parameters.name)
    if form.stiff or not settings.auto:
        return stiff
    settings = dataclasses.replace(settings, auto=False)
    known = not traced((networks, data, end, settings.rtol))
    if not (known and isinstance(form, ResidualFormulation | DualFormulation)):
        return settings
    explicit = implicit = 0.0
    for network in networks:
        spectrum = form.spectrum(network)
        if spectrum is None:
            return settings
        explicit += explicit_steps(*spectrum, settings, end)
        state = form.start(network)
        dense = not isinstance(form, ResidualFormulation) and few(form, state)
        cost = 20 + entries(state) / 4 if dense else form.implicit_cost  # measured
        implicit += cost * implicit_steps(*spectrum, settings, end)
    return settings if explicit < implicit else stiff


def duration(slowest: float, settings: FlowSettings, end: Any) -> float:
    """The time that the flow may take, until its end or until its slowest mode has met the rule."""
    stop = math.inf
    if settings.until is not None and slowest > 0:
        decay = settings.until.decay
        stop = (DECAY if decay is None else float(decay)) / (2 * slowest)
    return min(math.inf if end is None else float(end), stop)


def explicit_steps(slowest: float, fastest: float, settings: FlowSettings, end: Any) -> float:
    """About how many steps an explicit solver needs."""
    return 50 + fastest * duration(slowest, settings, end) / STABLE


def implicit_steps(slowest: float, fastest: float, settings: FlowSettings, end: Any) -> float:
    """About how many steps the implicit solver needs."""
    span = min(fastest * duration(slowest, settings, end), 1e30)
    accuracy = (1e-6 / float(settings.rtol)) ** 0.2
    return accuracy * (40 + 12 * math.log10(max(span, 1.0)))


def traced(tree: Any) -> bool:
    """Whether values are not known yet, under `jit` and `vmap`."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def last(ts: Any) -> Any:
    """The last of the saved times, if they are known."""
    return None if ts is None or traced(ts) else np.asarray(ts)[..., -1].max()
