"""Who learns: Equinox modules, their laws of initialization, and their exact compression."""

from . import (  # noqa: F401
    activations as activations,
    attainable as _attainable,
    compression as _compression,
    init as init,
)
from .adopt import module as module
from .base import (
    best_fit as best_fit,
    compress as compress,
    trainable as trainable,
)
from .deep_linear import DeepLinear as DeepLinear
from .diagonal_linear import DiagonalLinear as DiagonalLinear
from .kernel import (
    cross_kernel as cross_kernel,
    tangent_kernel as tangent_kernel,
)
from .losses import (
    CrossEntropyLoss as CrossEntropyLoss,
    ExponentialLoss as ExponentialLoss,
    HuberLoss as HuberLoss,
    LogisticLoss as LogisticLoss,
    MarginLoss as MarginLoss,
    SquaredLoss as SquaredLoss,
    WeightedLoss as WeightedLoss,
)
from .mirror import MirrorMap as MirrorMap
from .rates import with_rates as with_rates
from .shallow import ShallowNetwork as ShallowNetwork
from .smoothing import smoothed as smoothed
from .two_layer_linear import (
    TwoLayerLinear as TwoLayerLinear,
    fits as fits,
    span_factors as span_factors,
    stack as stack,
)
