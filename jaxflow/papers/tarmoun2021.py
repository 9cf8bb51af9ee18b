"""Tarmoun, Franca, Haeffele, Vidal: the asymptotic rate under homogeneous imbalance."""

import functools
from typing import Any

import jax.numpy as jnp
import jax.random as jr

from .. import data as problems, measures
from ..claims.base import Evidence
from ..claims.gather import at_least, finished
from ..claims.kinds import Made
from ..data import Regression
from ..dynamics import until
from ..networks.init import LambdaBalanced
from ..sweeps import Sweep

LAM = 0.8


class Predicted(measures.Measure):
    """`2 sqrt(lam^2 + 4 sigma_min(W^T Y)^2)`."""

    name = "predicted"
    rotation_free = True

    def finish(self, ts: Any, saved: Any, last: Any, fixed: Any) -> Any:
        return 2 * jnp.hypot(LAM, 2 * jnp.linalg.svdvals(last.data.targets)[-1])


@functools.cache
def plan(preset: str) -> Sweep:
    """Square problems with h = r = m, followed deep into the tail."""
    size, seeds = {"quick": (3, 16), "paper": (5, 64), "large": (20, 256)}[preset]
    data: Regression = problems.gaussian(jr.key(9), size, size + 2, size, whiten=True)
    return Sweep(
        data,
        LambdaBalanced(LAM, 0.5),
        widths=[size],
        seeds=seeds,
        until=until.loss_ratio(1e-60),
        measures=(measures.InstantaneousRate(), Predicted()),
    )


def rates(sweep: Sweep, factor: float) -> Evidence:
    """The rate at the end of every trajectory, against the prediction."""
    dataset = finished(sweep)
    ratio = dataset["instantaneous_rate"].values[..., -1] / dataset["predicted"].values
    return at_least("rate_over_bound", ratio, factor, allowance=1e-5, dataset=dataset)


def _rate(factor: float = 1.0, **variants: Any) -> Made:
    extra = "" if factor == 1 else f"{factor:g} * "
    return Made(
        "tarmoun2021.rate",
        f"lim -(d/dt) log(L - L*) >= {extra}2 sqrt(lam^2 + 4 sigma_min(W^T Y)^2)",
        plan=plan,
        look=lambda sweep: rates(sweep, factor),
        source="Tarmoun, Franca, Haeffele, Vidal (ICML 2021)",
        provenance="second-hand",
        hypotheses="whitened inputs, h = r = m, U1^T U1 - V^T V = lam I",
        **variants,
    )


CLAIMS = (_rate(mutant=_rate(1.05), control=_rate()),)
