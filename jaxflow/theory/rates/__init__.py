"""How fast: the imbalance, lower bounds on rates, exact rates, rates of descent."""

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
    hessian as hessian,
    hessian_eigenpairs as hessian_eigenpairs,
    hessian_product as hessian_product,
    least_decay as least_decay,
    sharpness as sharpness,
    tangent_kernel as tangent_kernel,
)
