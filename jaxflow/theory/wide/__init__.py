"""What wide networks of one hidden layer learn.

The limit of the tangent kernel (`infinite_width_kernel`), the flow while the kernel stands still
(`LinearizedFlow`) and the interpolants in which it ends (`network_limit`), which are splines
(`spline`, `polyharmonic`) whose weight of curvature is the density of breakpoints (`zeta`); and how
the breakpoints of a network of any width move (`breakpoints`, `delta_slope_velocity`).
"""

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
from .kernels import (
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
