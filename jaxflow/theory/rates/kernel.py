"""The tangent kernel, the Hessian and their extreme eigenvalues, for any network."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._types import Network
from ...data import Regression
from ...networks import tangent_kernel as tangent_kernel
from ...networks.curvature import (
    Eigenpairs as Eigenpairs,
    effective_sharpness as effective_sharpness,
    hessian as hessian,
    hessian_eigenpairs as hessian_eigenpairs,
    hessian_product as hessian_product,
    sharpness as sharpness,
)


def slowest_decay(network: Network, data: Regression) -> Float[Array, ""]:
    """`2 lambda_min(T)`, the least rate of decay of `L - L*` now over all residuals, in 1/time.

    T is the tangent kernel. It is zero if the network cannot fit all targets, such as a network
    that is linear in x on n > rank(X) samples.
    """
    return 2 * jnp.linalg.eigvalsh(tangent_kernel(network, data))[0]
