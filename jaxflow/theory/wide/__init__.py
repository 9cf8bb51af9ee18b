"""Wide shallow networks: kernels, splines, breakpoints."""

from .breakpoints import (
    Breakpoints as Breakpoints,
    breakpoints as breakpoints,
    delta_slope_velocity as delta_slope_velocity,
    flat_directions as flat_directions,
    initial_density as initial_density,
    roughness as roughness,
)
from .curvature_penalty import (
    zeta as zeta,
)
from .infinite_width_kernel import (
    infinite_width_kernel as infinite_width_kernel,
)
from .linearized import (
    LinearizedFlow as LinearizedFlow,
)
from .splines import (
    Interpolant as Interpolant,
    adjusted as adjusted,
    adjustment as adjustment,
    interpolant as interpolant,
    network_limit as network_limit,
    polyharmonic as polyharmonic,
    spline as spline,
)
