"""What is learned: regression problems with their spectra, from synthetic and real data."""

from .labels import Classification as Classification
from .real import load as load
from .regression import Regression as Regression
from .synthetic import (
    gauss_hermite as gauss_hermite,
    gaussian as gaussian,
    orthonormal as orthonormal,
    spectrum as spectrum,
    whitened as whitened,
)
