"""Which of the minimizers of a two-layer linear network the flow ends at.

How near to the min-norm solution: what is conserved and exact (`min_norm_condition`,
`limit_product`), what is proved for wide Gaussian networks (`bias_bound`) and what size the
distance has (`bias_law`, `conditional_bias`). For symmetric matrix sensing from small weights, how
near to the solution of least nuclear norm (`entropic_limit`).
"""

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
