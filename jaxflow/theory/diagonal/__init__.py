"""Which interpolator a diagonal linear network ends at.

The flow minimizes a potential that the scale of the initialization sets (`least_potential`,
`flow_limit`), and in the limit of small weights the l1 norm (`least_l1`).
"""

from .interpolation import (
    Interpolator as Interpolator,
    flow_limit as flow_limit,
    least_l1 as least_l1,
    least_potential as least_potential,
)
