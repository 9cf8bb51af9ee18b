"""Where to: the min-norm solution, and minimum nuclear norm."""

from .matrix_sensing import (
    entropic_limit as entropic_limit,
)
from .min_norm import (
    BiasBound as BiasBound,
    MinNormCondition as MinNormCondition,
    bias_bound as bias_bound,
    bias_law as bias_law,
    conditional_bias as conditional_bias,
    limit_product as limit_product,
    min_norm_condition as min_norm_condition,
    off_span_overlap as off_span_overlap,
)
