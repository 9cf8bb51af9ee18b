"""Diagonal linear networks: what their flows minimize."""

from .interpolation import (
    Interpolator as Interpolator,
    flow_limit as flow_limit,
    least_l1 as least_l1,
    least_potential as least_potential,
)
