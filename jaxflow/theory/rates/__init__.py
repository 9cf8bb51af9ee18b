"""How fast the loss falls.

The imbalance of a two-layer linear network and the lower bounds on its rate of convergence that
follow from it, with the exact rates beside them (`imbalance`, `rate_bound`, `instantaneous_rate`,
`limit_rate`); the same for gradient descent (`kernel_range`, `descent_bound`); and for any network
the tangent kernel, the Hessian and their extreme eigenvalues (`tangent_kernel`, `sharpness`).
"""

from .bounds import (
    RateBound as RateBound,
    instantaneous_bound as instantaneous_bound,
    instantaneous_rate as instantaneous_rate,
    limit_bound as limit_bound,
    limit_rate as limit_rate,
    rate_bound as rate_bound,
)
from .descent import (
    DescentBound as DescentBound,
    KernelRange as KernelRange,
    descent_bound as descent_bound,
    kernel_range as kernel_range,
)
from .imbalance import (
    Imbalance as Imbalance,
    imbalance as imbalance,
)
from .kernel import (
    Eigenpairs as Eigenpairs,
    effective_sharpness as effective_sharpness,
    hessian as hessian,
    hessian_eigenpairs as hessian_eigenpairs,
    hessian_product as hessian_product,
    sharpness as sharpness,
    slowest_decay as slowest_decay,
    tangent_kernel as tangent_kernel,
)
