"""Theorem 1: an exponential rate bound from the imbalance."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from ... import data as problems, measures
from ...data import Regression, orthonormal
from ...networks import TwoLayerLinear
from ...networks.init import Gaussian, Initialization
from ...sweeps import Sweep
from ...sweeps.run import BLOCK
from ..settings.decay import Decay, follow

SOURCE = "Min, Tarmoun, Vidal, Mallada (ICML 2021)"
SCALES = ((0.1, 0.1), (0.5, 0.02), (0.05, 0.2))  # appendix A.1: (su, sv)


def rate_sweep(
    data: Regression | Mapping[str, Regression], init: Initialization, **options: Any
) -> Sweep:
    """A sweep that follows every trajectory as far as the rate bound promises, or to 1e-20."""
    return follow(data, init, **{"measures": measures.standard(), **options})


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


class Rate(Decay):
    r"""Theorem 1: `L(t) - L* <= exp(-2 lambda_r(Sigma) c t) (L(0) - L*)`.

    `plan` makes the experiment of a preset; `factor` multiplies the exponent.
    """

    def __init__(self, plan: Callable[[str], Sweep] = paper_sweep, factor: float = 1.0):
        super().__init__(
            plan,
            factor,
            id="min2021.rate",
            source=f"{SOURCE}, theorem 1",
            hypotheses="c = [lambda_r(Lambda)]_+ + [lambda_m(-Lambda)]_+ > 0",
            exponent="2 lambda_r(Sigma) c",
        )

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
