"""Min, Tarmoun, Vidal, Mallada: rate and implicit bias of the two-layer linear network.

On the Explicit Role of Initialization on the Convergence and Implicit Bias of Overparametrized
Linear Networks. ICML 2021; and its later version, arXiv 2105.06351v2 ("v2").
"""

from ..settings.decay import allowance as allowance
from . import (
    bias,
    errata,
    margin,
)
from .rate import (
    SCALES as SCALES,
    Attaining as Attaining,
    Rate as Rate,
    paper_sweep as paper_sweep,
    rate_sweep as rate_sweep,
)

CLAIMS = (Rate(), *margin.CLAIMS, *bias.CLAIMS, *errata.CLAIMS)
