"""Deep linear networks."""

from .deep_linear import (
    balanced_level as balanced_level,
    deep_mode_time as deep_mode_time,
    deficiency_margin as deficiency_margin,
    end_to_end_velocity as end_to_end_velocity,
    layer_imbalances as layer_imbalances,
)
