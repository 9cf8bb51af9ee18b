"""Min, Tarmoun, Vidal, Mallada: rate and implicit bias of the two-layer linear network.

On the Explicit Role of Initialization on the Convergence and Implicit Bias of Overparametrized
Linear Networks. ICML 2021.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from .. import data as problems
from ..data import Regression, orthonormal
from ..dynamics import until
from ..networks import TwoLayerLinear
from ..networks.init import Gaussian, Initialization
from ..sweeps import Sweep, measures, run
from ..sweeps.run import BLOCK, Progress
from .base import Claim, Evidence
from .decide import universal

SOURCE = "Min, Tarmoun, Vidal, Mallada (ICML 2021)"
RATIO = 1e-20  # of the initial excess loss: how far trajectories are followed
VACUOUS = 3.0  # a bound that promises less than a factor e^3 in all promises nothing
SCALES = ((0.1, 0.1), (0.5, 0.02), (0.05, 0.2))  # appendix A.1: (su, sv)


def rate_sweep(
    data: Regression | Mapping[str, Regression], init: Initialization, **options: Any
) -> Sweep:
    """A sweep that follows every trajectory as far as the rate bound promises, or to 1e-20."""
    settings: dict[str, Any] = {
        "ts": measures.BoundTimes(math.log(RATIO)),
        "until": until.loss_ratio(RATIO),
        "measures": measures.standard(),
    }
    return Sweep(data, init, **{**settings, **options})


def paper_sweep(preset: str) -> Sweep:
    """Appendix A.1, whitened Gaussian data and three pairs of scales, and a smaller copy of it."""
    sizes = {"quick": (20, 80, 21), "paper": (100, 400, 350), "large": (100, 400, 4000)}
    samples, features, seeds = sizes[preset]
    data = problems.gaussian(jr.key(2021), samples, features, 1, noise=0.01, whiten=True)
    over = {"width": [500], "scale": SCALES}
    return rate_sweep(data, Gaussian(scale=SCALES[0]), over=over, seeds=seeds)


class Attaining(Initialization):
    r"""An instance on which the rate bound is attained, turned by a random rotation of its units.

    `U1 = diag(2, ..., 2, 1) R1^T` and `V = 3/2 R2^T` with `[R1, R2]` orthonormal columns, so that
    `U1 V^T = 0`, `U1 U1^T = diag(4, ..., 4, 1)`, `V V^T = 9/4 I`, `c = 1 + 9/4`. A small residual
    along the least singular direction of X decays at `lambda_r (1 + 9/4)`, which is the bound.
    """

    def __call__(self, key: PRNGKeyArray, data: Regression, *, width: int) -> TwoLayerLinear:
        m, r = data.outputs, data.rank
        dtype = data.X.dtype
        R = orthonormal(key, width, m + r, dtype)
        sizes = jnp.asarray([2.0] * (r - 1) + [1.0], dtype)
        U1 = sizes[:, None] * R[:, :r].T
        return TwoLayerLinear(data.right @ U1, jnp.asarray(1.5, dtype) * R[:, r:].T)


def attaining_sweep(sweep: Sweep) -> Sweep:
    """The attaining instance on the same inputs, in the shapes of the sweep's compressed networks.

    The same shapes are the same compiled program.
    """
    data = next(iter(sweep.data.values())) if isinstance(sweep.data, Mapping) else sweep.data
    # The residual is 1e-3 along the last left singular vector, in the first output.
    Y = np.zeros(data.Y.shape, data.Y.dtype)
    Y[:, 0] = 1e-3 * np.asarray(data.left[:, -1])
    least = Regression(data.X, Y)
    over = {"width": [data.outputs + data.rank]}
    seeds = min(64, sweep.trajectories)
    block = sweep.block or min(sweep.trajectories, BLOCK)
    return sweep.replace(data=least, init=Attaining(), over=over, seeds=seeds, block=block)


class Rate(Claim):
    r"""Theorem 1: `L(t) - L* <= exp(-2 lambda_r(Sigma) c t) (L(0) - L*)`.

    `plan` makes the experiment of a preset; `factor` multiplies the exponent.
    """

    id = "min2021.rate"
    source = f"{SOURCE}, theorem 1"
    provenance = "read"
    hypotheses = "c = [lambda_r(Lambda)]_+ + [lambda_m(-Lambda)]_+ > 0"

    def __init__(self, plan: Callable[[str], Sweep] = paper_sweep, factor: float = 1.0):
        self.plan, self.factor = plan, factor

    @classmethod
    def on(cls, sweep: Sweep) -> "Rate":
        """The same claim, judged on a sweep of your own that `rate_sweep` made."""
        missing = {m.name for m in measures.standard()} - {m.name for m in sweep.measures}
        if missing:
            raise ValueError(
                f"The sweep lacks the measures {sorted(missing)}: make it with "
                "claims.min2021.rate_sweep, or give it measures.standard()."
            )
        return cls(lambda preset: sweep)

    @property
    def statement(self) -> str:
        exponent = "" if self.factor == 1 else f" * {self.factor}"
        return f"L(t) - L* <= exp(-2 lambda_r(Sigma) c t{exponent}) (L(0) - L*)"

    def setting(self, preset: str) -> Sweep:
        return self.plan(preset)

    def evaluate(self, sweep: Sweep, progress: Progress | None = None) -> Evidence:
        if sweep not in _SEEN:
            dataset = run(sweep, progress=progress)
            _SEEN[sweep] = dataset, allowance(sweep, dataset)
        return self.gather(*_SEEN[sweep])

    def gather(self, dataset: xr.Dataset, error: float) -> Evidence:
        """The evidence in what `run` returned, given its `allowance`."""
        slack = (1 + dataset["slack"].values.ravel()) / self.factor - 1
        promised = (self.factor * dataset["bound_rate"] * dataset["t_end"]).values.ravel()
        rate = dataset["measured_rate"] / dataset["bound_rate"].where(dataset["bound_rate"] > 0)
        return Evidence(
            slack=slack,
            applies=dataset["c"].values.ravel() > 0,
            vacuous=promised < VACUOUS,
            failed=dataset["status"].values.ravel() > 1,
            allowance=error,
            measured={
                "slack_median": float(np.median(slack)),
                "rate_over_bound_median": float(rate.median()),
                "c_mean": float(dataset["c"].mean()),
            },
            predicted={"slack": ">= 0", "rate_over_bound": f">= {self.factor}"},
            dataset=dataset,
        )

    def decide(self, evidence: Evidence) -> tuple[bool | None, str]:
        return universal(evidence)

    @functools.cached_property
    def _attaining(self) -> Callable[[str], Sweep]:
        # Mutant and control look at the same trajectories: one plan, one sweep, one run.
        return functools.cache(lambda preset: attaining_sweep(self.plan(preset)))

    @property
    def mutant(self) -> "Rate":
        return Rate(self._attaining, factor=1.05)

    @property
    def control(self) -> "Rate":
        return Rate(self._attaining)  # the theorem itself, where there is no room


_SEEN: WeakKeyDictionary[Sweep, tuple[xr.Dataset, float]] = WeakKeyDictionary()


def allowance(sweep: Sweep, dataset: xr.Dataset) -> float:
    """How much of a negative slack is the computer's: integration error and rounding.

    Ten times the change of the slack under a 100 times tighter tolerance, on a subset; where the
    precision has no such tolerance, the change from a 100 times looser one. And eight roundings of
    `log(L - L*)` over the least decay that the slack is taken at.
    """
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
    return 10 * float(change.max(initial=0)) + float(rounding.max(initial=0))


CLAIMS = (Rate(),)
