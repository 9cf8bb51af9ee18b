"""Maximum margins."""

from .max_margin import (
    Separator as Separator,
    max_margin_l1 as max_margin_l1,
    max_margin_l2 as max_margin_l2,
    max_margin_potential as max_margin_potential,
    stationarity as stationarity,
)
