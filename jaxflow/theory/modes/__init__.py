"""Closed forms of the learning of modes."""

from .closed_forms import (
    saxe as saxe,
    saxe_time as saxe_time,
    scalar as scalar,
    scalar_residual as scalar_residual,
)
from .lambda_balanced import (
    Gram as Gram,
    lambda_balanced as lambda_balanced,
)
from .prior_knowledge import (
    braun as braun,
    domine as domine,
    kunin as kunin,
)
