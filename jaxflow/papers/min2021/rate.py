"""Theorem 1: an exponential rate bound from the imbalance."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from ... import data as problems, measures
from ...claims import Claim, Evidence, Moves, once, presets
from ...data import Regression, orthonormal
from ...networks import TwoLayerLinear
from ...networks.init import Gaussian, Initialization
from ...sweeps import Sweep
from ...sweeps.run import BLOCK
from ..settings.decay import decay, follow
from .paper import paper

SCALES = ((0.1, 0.1), (0.5, 0.02), (0.05, 0.2))  # appendix A.1: (su, sv)


def rate_sweep(
    data: Regression | Mapping[str, Regression], init: Initialization, **options: Any
) -> Sweep:
    """A sweep that follows every trajectory as far as the rate bound promises, or to 1e-20."""
    return follow(data, init, **{"measures": measures.standard(), **options})


def paper_sweep(samples: int, features: int, seeds: int) -> Sweep:
    """Appendix A.1: whitened Gaussian data and three pairs of scales."""
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


def attained(preset: str) -> Sweep:
    """The attaining instance on the inputs of the paper's experiment."""
    return attaining_sweep(settings(preset))


settings = presets(paper_sweep, quick=(20, 80, 21), paper=(100, 400, 350), large=(100, 400, 4000))


@paper.claim(
    "L(t) - L* <= exp(-{factor:times}2 lambda_r(Sigma) c t) (L(0) - L*)",
    source="theorem 1, (10)",
    latex=r"\mathcal{L}(t) - \mathcal{L}^* \le e^{-2 \lambda_r(\Sigma)\, c\, t} "
    r"\left(\mathcal{L}(0) - \mathcal{L}^*\right)",
    hypotheses="c = [lambda_r(Lambda)]_+ + [lambda_m(-Lambda)]_+ > 0",
    settings=settings,
    tight=once(attained),
    moves=Moves("factor", "rate"),
)
def rate(dataset: xr.Dataset, setting: Sweep, factor: float = 1.0) -> Evidence:
    """Every trajectory against theorem 1, with its exponent multiplied by `factor`."""
    return decay(dataset, setting, factor)


def rate_on(sweep: Sweep) -> Claim:
    """The same claim about a sweep of your own that `rate_sweep` made.

    **Raises:** `ValueError` for a sweep without the measures that the claim needs.
    """
    missing = {m.name for m in measures.standard()} - {m.name for m in sweep.measures}
    if missing:
        raise ValueError(
            f"The sweep lacks the measures {sorted(missing)}: make it with "
            "papers.min2021.rate_sweep, or give it measures.standard()."
        )
    (claim,) = (claim for claim in paper.claims if claim.id == "min2021.rate")
    there = attaining_sweep(sweep)
    return dataclasses.replace(claim, settings=lambda preset: sweep, tight=lambda preset: there)
