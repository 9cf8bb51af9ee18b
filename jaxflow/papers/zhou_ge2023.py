"""Zhou and Ge: an l1 + l2 parametrization, whose limit is neither norm's minimizer."""

import functools
from typing import Any

import jax.random as jr
import numpy as np

from ..claims.agreement import relative
from ..claims.base import Evidence
from ..claims.gather import at_least, at_most
from ..claims.kinds import Made
from ..data import Regression
from ..networks import MirrorMap
from ..networks.init import Diagonal
from ..theory import least_l1, least_potential
from .settings.sparse_regression import parameter_limit, sparse_regression

SOURCE = "Zhou and Ge (ICML 2023)"
SIGMA = 0.5
LOG_ALPHA = -20 * np.log(10)


@functools.cache
def problem(preset: str, seed: int) -> tuple[Regression, np.ndarray]:
    """Gaussian inputs, a sparse teacher of ones, noise; and the teacher."""
    n, d, sparse = {"quick": (40, 200, 2), "paper": (100, 1000, 5)}.get(preset, (200, 4000, 5))
    return sparse_regression(jr.key(seed), n, d, sparse, entry=1.0, noise=SIGMA)


@functools.cache
def end(preset: str, alpha: float, skip: float) -> np.ndarray:
    """The limit of the flow in the parameters."""
    data, _ = problem(preset, 0)
    return parameter_limit(Diagonal(alpha, skip=skip)(jr.key(0), data), data)


def limits(preset: str, times: float) -> Evidence:
    """The limits against the program, at `times` the lambda."""
    data, _ = problem(preset, 0)
    errors = []
    for alpha, skip in ((0.1, 0.3), (0.3, 1.0), (0.05, 1.0)):
        mirror = MirrorMap(alpha, skip=times * skip)
        expected = np.asarray(least_potential(mirror, data).beta)
        errors.append(relative(end(preset, alpha, skip), expected))
    return at_most("relative_error", errors, 1e-8)


def _limit(times: float = 1.0, **variants: Any) -> Made:
    skip = "lambda" if times == 1 else f"({times:g} lambda)"
    return Made(
        "zhou_ge2023.limit",
        "beta(inf) minimizes sum Phi(beta) over X beta = y, "
        f"Phi*(q) = (alpha^2/2) cosh(4 q) + {skip}^2 q^2 / 2",
        plan=lambda preset: preset,
        look=lambda preset: limits(preset, times),
        source=f"derived, for the parametrization of {SOURCE}",
        provenance="derived",
        hypotheses="u(0) = v(0) = alpha, w(0) = 0",
        **variants,
    )


@functools.cache
def errors(preset: str, skip: float) -> np.ndarray:
    """`||beta - beta*||` of the interpolators of least l1 and l2 norm, and of the program."""
    rows = []
    for seed in range({"quick": 8, "paper": 16}.get(preset, 32)):
        data, beta = problem(preset, seed)
        mixed = least_potential(MirrorMap(log_alpha=LOG_ALPHA, skip=skip), data).beta
        every = (least_l1(data), np.asarray(data.min_norm)[:, 0], np.asarray(mixed))
        rows.append([np.linalg.norm(b - beta) for b in every])
    return np.asarray(rows)


def compared(preset: str, skip: float) -> Evidence:
    """The lesser of the errors of the norms over that of the program, on every problem."""
    every = errors(preset, skip)
    ratio = every[:, :2].min(axis=1) / every[:, 2]
    return at_least("error_over_error", ratio, trials="problems")


def _errors(skip: float, **variants: Any) -> Made:
    return Made(
        "zhou_ge2023.error",
        f"||beta(inf) - beta*|| is less than with the least l1 and l2 norm, at lambda = {skip:g}",
        plan=lambda preset: preset,
        look=lambda preset: compared(preset, skip),
        source=f"{SOURCE}, abstract; at scales of our choice",
        provenance="second-hand",
        hypotheses="sparse teacher of ones, noise 0.5, alpha = 1e-20",
        **variants,
    )


CLAIMS = (
    _limit(mutant=_limit(1.1), control=_limit()),
    _errors(0.03, mutant=_errors(1.0), control=_errors(0.02)),
)
