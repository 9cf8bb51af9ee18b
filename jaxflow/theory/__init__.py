"""What is predicted: pure functions; nothing here simulates."""

from ..networks import MirrorMap as MirrorMap
from .bias import (
    BiasBound as BiasBound,
    MinNormCondition as MinNormCondition,
    bias_bound as bias_bound,
    bias_law as bias_law,
    conditional_bias as conditional_bias,
    limit_product as limit_product,
    min_norm_condition as min_norm_condition,
    off_span_overlap as off_span_overlap,
)
from .breakpoints import (
    Breakpoints as Breakpoints,
    breakpoints as breakpoints,
    delta_slope_velocity as delta_slope_velocity,
    flat_directions as flat_directions,
    initial_density as initial_density,
    roughness as roughness,
)
from .closed_forms import (
    saxe as saxe,
    saxe_time as saxe_time,
    scalar as scalar,
    scalar_residual as scalar_residual,
)
from .curvature_penalty import zeta as zeta
from .deep_linear import (
    balanced_level as balanced_level,
    deep_mode_time as deep_mode_time,
    deficiency_margin as deficiency_margin,
    end_to_end_velocity as end_to_end_velocity,
    layer_imbalances as layer_imbalances,
)
from .descent_rates import (
    DescentBound as DescentBound,
    KernelRange as KernelRange,
    descent_bound as descent_bound,
    kernel_range as kernel_range,
)
from .edge import (
    Oscillation as Oscillation,
    SelfStabilization as SelfStabilization,
    oscillation as oscillation,
    reduced_energy as reduced_energy,
    reduced_step as reduced_step,
    self_stabilization as self_stabilization,
    spike_height as spike_height,
)
from .imbalance import Imbalance as Imbalance, imbalance as imbalance
from .interpolation import (
    Interpolator as Interpolator,
    flow_limit as flow_limit,
    least_l1 as least_l1,
    least_potential as least_potential,
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
from .lambda_balanced import Gram as Gram, lambda_balanced as lambda_balanced
from .linearized import LinearizedFlow as LinearizedFlow
from .matrix_sensing import entropic_limit as entropic_limit
from .max_margin import (
    Separator as Separator,
    max_margin_l1 as max_margin_l1,
    max_margin_l2 as max_margin_l2,
    max_margin_potential as max_margin_potential,
    stationarity as stationarity,
)
from .prior_knowledge import braun as braun, domine as domine, kunin as kunin
from .rates import (
    RateBound as RateBound,
    instantaneous_bound as instantaneous_bound,
    instantaneous_rate as instantaneous_rate,
    limit_bound as limit_bound,
    limit_rate as limit_rate,
    rate_bound as rate_bound,
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
from .wide_kernel import infinite_width_kernel as infinite_width_kernel
