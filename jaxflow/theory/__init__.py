"""What is predicted: pure functions of a network and its data, which simulate nothing.

Every name is in `jaxflow.theory`; the folders group them by what they predict:

- `rates`: how fast the loss falls, under the flow and under descent.
- `bias`: which minimizer a two-layer linear network ends at.
- `modes`: closed forms of whole trajectories.
- `deep`: deep linear networks.
- `diagonal`: which interpolator a diagonal linear network ends at.
- `classification`: which direction a classifier converges to.
- `wide`: what wide networks of one hidden layer learn.
- `edge`: the edge of stability of gradient descent.
"""

import inspect as _inspect

from ..networks import MirrorMap as MirrorMap
from .bias import (
    BiasBound as BiasBound,
    MinNormCondition as MinNormCondition,
    bias_bound as bias_bound,
    bias_law as bias_law,
    conditional_bias as conditional_bias,
    entropic_limit as entropic_limit,
    limit_product as limit_product,
    min_norm_condition as min_norm_condition,
    off_span_overlap as off_span_overlap,
)
from .border import asked as _asked
from .classification import (
    Separator as Separator,
    max_margin_l1 as max_margin_l1,
    max_margin_l2 as max_margin_l2,
    max_margin_potential as max_margin_potential,
    stationarity as stationarity,
)
from .deep import (
    balanced_level as balanced_level,
    deep_mode_time as deep_mode_time,
    deficiency_margin as deficiency_margin,
    end_to_end_velocity as end_to_end_velocity,
    layer_imbalances as layer_imbalances,
)
from .diagonal import (
    Interpolator as Interpolator,
    flow_limit as flow_limit,
    least_l1 as least_l1,
    least_potential as least_potential,
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
from .modes import (
    Gram as Gram,
    braun as braun,
    domine as domine,
    kunin as kunin,
    kunin_weights as kunin_weights,
    lambda_balanced as lambda_balanced,
    saxe as saxe,
    saxe_time as saxe_time,
    scalar as scalar,
    scalar_residual as scalar_residual,
)
from .rates import (
    DescentBound as DescentBound,
    Eigenpairs as Eigenpairs,
    Imbalance as Imbalance,
    KernelRange as KernelRange,
    RateBound as RateBound,
    descent_bound as descent_bound,
    effective_sharpness as effective_sharpness,
    hessian as hessian,
    hessian_eigenpairs as hessian_eigenpairs,
    hessian_product as hessian_product,
    imbalance as imbalance,
    instantaneous_bound as instantaneous_bound,
    instantaneous_rate as instantaneous_rate,
    kernel_range as kernel_range,
    limit_bound as limit_bound,
    limit_rate as limit_rate,
    rate_bound as rate_bound,
    sharpness as sharpness,
    slowest_decay as slowest_decay,
    tangent_kernel as tangent_kernel,
)
from .wide import (
    Breakpoints as Breakpoints,
    Interpolant as Interpolant,
    LinearizedFlow as LinearizedFlow,
    adjusted as adjusted,
    adjustment as adjustment,
    breakpoints as breakpoints,
    delta_slope_velocity as delta_slope_velocity,
    flat_directions as flat_directions,
    infinite_width_kernel as infinite_width_kernel,
    initial_density as initial_density,
    interpolant as interpolant,
    network_limit as network_limit,
    polyharmonic as polyharmonic,
    roughness as roughness,
    spline as spline,
    zeta as zeta,
)

_found = {name: f for name, f in vars().items() if _inspect.isfunction(f) and f is not _asked}
vars().update({name: _asked(f) for name, f in _found.items()})
