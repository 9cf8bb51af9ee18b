"""Tarmoun, Franca, Haeffele, Vidal: the asymptotic rate under homogeneous imbalance."""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
import xarray as xr

from .. import data as problems, measures
from ..claims import Evidence, Moves, Paper, at_least, presets
from ..dynamics import until
from ..networks.init import LambdaBalanced
from ..sweeps import Sweep

paper = Paper(
    "tarmoun2021", "Tarmoun, Franca, Haeffele, Vidal (ICML 2021)", provenance="second-hand"
)
LAM = 0.8


class Predicted(measures.Measure):
    """`2 sqrt(lam^2 + 4 sigma_min(W^T Y)^2)`."""

    name = "predicted"
    rotation_free = True

    def finish(self, ts: Any, saved: Any, last: Any, fixed: Any) -> Any:
        return 2 * jnp.hypot(LAM, 2 * jnp.linalg.svdvals(last.data.targets)[-1])


def square(size: int, seeds: int) -> Sweep:
    """Square problems with h = r = m, followed deep into the tail."""
    data = problems.gaussian(jr.key(9), size, size + 2, size, whiten=True)
    return Sweep(
        data,
        LambdaBalanced(LAM, 0.5),
        widths=[size],
        seeds=seeds,
        until=until.loss_ratio(1e-60),
        measures=(measures.InstantaneousRate(), Predicted()),
    )


@paper.claim(
    "lim -(d/dt) log(L - L*) >= {factor:times}2 sqrt(lam^2 + 4 sigma_min(W^T Y)^2) as t -> inf",
    source="as quoted in Min et al. (2021), v2, after corollary 6",
    latex=r"\lim_{t \to \infty} -\frac{d}{dt} \log\left(\mathcal{L} - \mathcal{L}^*\right) "
    r"\ge 2 \sqrt{\lambda^2 + 4\, \sigma_{\min}(W^\top Y)^2}",
    hypotheses="whitened inputs, h = r = m, U1^T U1 - V^T V = lam I",
    settings=presets(square, quick=(3, 16), paper=(5, 64), large=(20, 256)),
    moves=Moves("factor", "rate"),
)
def rate(dataset: xr.Dataset, factor: float = 1.0) -> Evidence:
    """The rate at the end of every trajectory, against the prediction."""
    ratio = dataset["instantaneous_rate"].values[..., -1] / dataset["predicted"].values
    return at_least("rate_over_bound", ratio, factor, allowance=1e-5, dataset=dataset)
