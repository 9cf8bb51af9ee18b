"""Claims that the excess loss falls at least exponentially, at a rate known from the start."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from ... import measures
from ...claims import Evidence, finished, once
from ...data import Regression
from ...dynamics import until
from ...sweeps import Sweep

RATIO = 1e-20  # of the initial excess loss: how far trajectories are followed
VACUOUS = 3.0  # a bound that promises less than a factor e^3 in all promises nothing


def follow(
    data: Regression | Mapping[str, Regression],
    init: Any,
    bound: measures.Bound = measures.theorem_1,
    **options: Any,
) -> Sweep:
    """A sweep that follows every trajectory as far as the bound promises, or to 1e-20."""
    settings: dict[str, Any] = {
        "ts": measures.BoundTimes(math.log(RATIO), bound=bound),
        "until": until.loss_ratio(RATIO),
        "measures": measures.decay(bound),
    }
    return Sweep(data, init, **{**settings, **options})


def decay(dataset: xr.Dataset, sweep: Sweep, factor: float = 1.0) -> Evidence:
    """The evidence that `L(t) - L* <= exp(-factor rate t) (L(0) - L*)` on every trajectory.

    `dataset` is what a sweep that `follow` made gave, and rate its `bound_rate`.
    """
    slack = (1 + dataset["slack"].values.ravel()) / factor - 1
    promised = (factor * dataset["bound_rate"] * dataset["t_end"]).values.ravel()
    rate = dataset["measured_rate"] / dataset["bound_rate"].where(dataset["bound_rate"] > 0)
    means = {"c_mean": float(dataset["c"].mean())} if "c" in dataset else {}
    return Evidence(
        slack=slack,
        applies=dataset["bound_rate"].values.ravel() > 0,
        vacuous=promised < VACUOUS,
        allowance=allowance(sweep),
        measured={
            "slack_median": float(np.median(slack)),
            "rate_over_bound_median": float(rate.median()),
            **means,
        },
        predicted={"slack": ">= 0", "rate_over_bound": f">= {factor}"},
        dataset=dataset,
    )


@once
def allowance(sweep: Sweep) -> float:
    """How much of a negative slack integration error and rounding can explain.

    Ten times the change of the slack under a 100 times tighter tolerance, on a subset; where the
    precision has no such tolerance, the change from a 100 times looser one. And eight roundings of
    `log(L - L*)` over the least decay that the slack is taken at.
    """
    dataset = finished(sweep)
    settings = sweep.settings(sweep.cells[0])
    eps, rtol = float(jnp.finfo(settings.rtol.dtype).eps), float(settings.rtol)
    other = rtol / 100 if rtol / 100 >= 50 * eps else min(100 * rtol, 0.1)
    # In the same shape and by the same solver: the same compiled program.
    chunk, block = int(dataset.attrs["chunk"]), int(dataset.attrs["block"])
    seeds = max(1, min(sweep.seeds, chunk // len(sweep.cells)))
    finer = sweep.replace(seeds=seeds, rtol=other, solver=settings.solver, chunk=chunk, block=block)
    change = np.abs((finished(finer)["slack"] - dataset["slack"].isel(seed=slice(seeds))).values)
    change = change[np.isfinite(change)]
    start = np.abs(dataset["log_excess_start"].values)
    rounding = 8 * eps * (1 + start) / dataset["least_decay"].values
    rounding = rounding[np.isfinite(rounding)]
    return 10 * float(change.max(initial=0)) + float(rounding.max(initial=0))
