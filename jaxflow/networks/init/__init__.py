"""Laws of initialization: Equinox modules that draw networks."""

from .base import Initialization as Initialization
from .deep_linear import (
    DeepBalanced as DeepBalanced,
    DeepGaussian as DeepGaussian,
    DeepOrthogonal as DeepOrthogonal,
)
from .diagonal_linear import Diagonal as Diagonal
from .laws import (
    Law as Law,
    Normal as Normal,
    Sphere as Sphere,
    Uniform as Uniform,
)
from .shallow import Shallow as Shallow
from .two_layer_linear import (
    Balanced as Balanced,
    Gaussian as Gaussian,
    LambdaBalanced as LambdaBalanced,
    Orthogonal as Orthogonal,
    Prescribed as Prescribed,
    Spectral as Spectral,
)
