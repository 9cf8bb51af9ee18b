"""Rates and curvature of any network: the tangent kernel's least, the Hessian's largest."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...data import Regression
from ...networks import tangent_kernel as tangent_kernel
from ...networks.curvature import (
    Eigenpairs as Eigenpairs,
    hessian as hessian,
    hessian_eigenpairs as hessian_eigenpairs,
    hessian_product as hessian_product,
    sharpness as sharpness,
)


def least_decay(network: Any, data: Regression) -> Float[Array, ""]:
    """`2 lambda_min(T)`: no residual decays more slowly now; 1/time. Needs n = rank(X)."""
    return 2 * jnp.linalg.eigvalsh(tangent_kernel(network, data))[0]
