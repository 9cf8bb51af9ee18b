"""Which direction a classifier converges to: the separators of largest margin.

In the l2 norm (the kernel regime), in the l1 norm (the rich regime of depth 2) and in the potential
of a mirror map between the two (`max_margin_l2`, `max_margin_l1`, `max_margin_potential`); for
deeper networks, how far a separator is from a stationary point (`stationarity`).
"""

from .max_margin import (
    Separator as Separator,
    max_margin_l1 as max_margin_l1,
    max_margin_l2 as max_margin_l2,
    max_margin_potential as max_margin_potential,
    stationarity as stationarity,
)
