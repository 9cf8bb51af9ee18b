"""Claims that the excess loss falls at least exponentially, at a rate known from the start."""

import math
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import jax.numpy as jnp
import numpy as np
import xarray as xr

from ... import measures
from ...claims.base import Claim, Evidence
from ...claims.decide import universal
from ...claims.gather import failed, finished
from ...data import Regression
from ...dynamics import until
from ...sweeps import Sweep, run
from ...sweeps.run import Progress

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


class Decay(Claim):
    r"""`L(t) - L* <= exp(-rate t) (L(0) - L*)` on every trajectory of a sweep that `follow` made.

    `plan` makes the sweep of a preset; `factor` multiplies the exponent, which `exponent` names.
    """

    def __init__(
        self,
        plan: Callable[[str], Sweep],
        factor: float = 1.0,
        *,
        id: str,
        source: str,
        hypotheses: str,
        provenance: str = "read",
        exponent: str = "rate",
        mutant: Claim | None = None,
        control: Claim | None = None,
    ):
        self.plan, self.factor, self.exponent = plan, factor, exponent
        self.id, self.source, self.provenance = id, source, provenance
        self.hypotheses, self._mutant, self._control = hypotheses, mutant, control

    @property
    def statement(self) -> str:
        extra = "" if self.factor == 1 else f" * {self.factor:g}"
        return f"L(t) - L* <= exp(-{self.exponent} t{extra}) (L(0) - L*)"

    def setting(self, preset: str) -> Sweep:
        return self.plan(preset)

    def evaluate(self, setting: Sweep, progress: Progress | None = None) -> Evidence:
        dataset = finished(setting, progress)
        return self.gather(dataset, allowance(setting, dataset))

    def gather(self, dataset: xr.Dataset, error: float) -> Evidence:
        """The evidence in what `run` returned, given its `allowance`."""
        slack = (1 + dataset["slack"].values.ravel()) / self.factor - 1
        promised = (self.factor * dataset["bound_rate"] * dataset["t_end"]).values.ravel()
        rate = dataset["measured_rate"] / dataset["bound_rate"].where(dataset["bound_rate"] > 0)
        means = {"c_mean": float(dataset["c"].mean())} if "c" in dataset else {}
        return Evidence(
            slack=slack,
            applies=dataset["bound_rate"].values.ravel() > 0,
            vacuous=promised < VACUOUS,
            failed=failed(dataset),
            allowance=error,
            measured={
                "slack_median": float(np.median(slack)),
                "rate_over_bound_median": float(rate.median()),
                **means,
            },
            predicted={"slack": ">= 0", "rate_over_bound": f">= {self.factor}"},
            dataset=dataset,
        )

    def decide(self, evidence: Evidence) -> tuple[bool | None, str]:
        return universal(evidence)

    @property
    def mutant(self) -> Claim | None:
        return self._mutant

    @property
    def control(self) -> Claim | None:
        return self._control


_ALLOWED: WeakKeyDictionary[Sweep, float] = WeakKeyDictionary()


def allowance(sweep: Sweep, dataset: xr.Dataset) -> float:
    """How much of a negative slack is the computer's: integration error and rounding.

    Ten times the change of the slack under a 100 times tighter tolerance, on a subset; where the
    precision has no such tolerance, the change from a 100 times looser one. And eight roundings of
    `log(L - L*)` over the least decay that the slack is taken at.
    """
    if sweep in _ALLOWED:
        return _ALLOWED[sweep]
    settings = sweep.settings(sweep.cells[0].data.X.dtype)
    dtype = settings.rtol.dtype
    eps, rtol = float(jnp.finfo(dtype).eps), float(settings.rtol)
    other = rtol / 100 if rtol / 100 >= 50 * eps else min(100 * rtol, 0.1)
    # In the same shape and by the same solver: the same compiled program.
    chunk, block = int(dataset.attrs["chunk"]), int(dataset.attrs["block"])
    seeds = max(1, min(sweep.seeds, chunk // len(sweep.cells)))
    finer = sweep.replace(seeds=seeds, rtol=other, solver=settings.solver, chunk=chunk, block=block)
    change = np.abs((run(finer)["slack"] - dataset["slack"].isel(seed=slice(seeds))).values)
    change = change[np.isfinite(change)]
    start = np.abs(dataset["log_excess_start"].values)
    rounding = 8 * eps * (1 + start) / dataset["least_decay"].values
    rounding = rounding[np.isfinite(rounding)]
    _ALLOWED[sweep] = 10 * float(change.max(initial=0)) + float(rounding.max(initial=0))
    return _ALLOWED[sweep]
