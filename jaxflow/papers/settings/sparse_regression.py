"""What claims about diagonal networks share: sparse regression, and limits in the parameters."""

from typing import Any

import jax.random as jr
import numpy as np

from ...data import Regression
from ...dynamics import gradient_flow, until
from ...networks import DiagonalLinear


def sparse_regression(
    key: Any, samples: int, features: int, sparse: int, *, entry: float, noise: float
) -> tuple[Regression, np.ndarray]:
    """Gaussian inputs, a teacher with so many equal entries, Gaussian noise; and the teacher."""
    x_key, noise_key = jr.split(key)
    X, beta = np.asarray(jr.normal(x_key, (samples, features))), np.zeros(features)
    beta[:sparse] = entry
    return Regression(X, X @ beta + noise * np.asarray(jr.normal(noise_key, (samples,)))), beta


def parameter_limit(network: DiagonalLinear, data: Regression) -> np.ndarray:
    """Where the flow in the parameters ends: in mirror coordinates any flow ends there."""
    solution = gradient_flow(
        network, data, formulation="residual", until=until.loss_ratio(1e-20), rtol=1e-11
    )
    return np.asarray(solution.check().product)[:, 0]
