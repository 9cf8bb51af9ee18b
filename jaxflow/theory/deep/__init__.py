"""Deep linear networks.

What the flow conserves (`layer_imbalances`), how the product of balanced layers moves
(`end_to_end_velocity`), its rate of convergence (`balanced_level`, `deficiency_margin`) and the
time that one of its modes takes (`deep_mode_time`).
"""

from .deep_linear import (
    balanced_level as balanced_level,
    deep_mode_time as deep_mode_time,
    deficiency_margin as deficiency_margin,
    end_to_end_velocity as end_to_end_velocity,
    layer_imbalances as layer_imbalances,
)
