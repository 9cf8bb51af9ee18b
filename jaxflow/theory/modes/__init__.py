"""Closed forms of whole trajectories.

One mode of a two-layer linear network: balanced (`saxe`, `saxe_time`), with any imbalance
(`scalar`, `scalar_residual`). All modes together: from a homogeneous imbalance
(`lambda_balanced`), and as two papers print it in their own variables (`braun`, `domine`). One
linear neuron (`kunin`).
"""

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
    kunin_weights as kunin_weights,
)
