"""Min, Tarmoun, Vidal, Mallada: rate and implicit bias of the two-layer linear network.

On the Explicit Role of Initialization on the Convergence and Implicit Bias of Overparametrized
Linear Networks. ICML 2021; and its later version, arXiv 2105.06351v2 ("v2").
"""

from . import bias as bias, errata as errata, margin as margin
from .paper import later as later, paper as paper
from .rate import (
    SCALES as SCALES,
    Attaining as Attaining,
    paper_sweep as paper_sweep,
    rate_on as rate_on,
    rate_sweep as rate_sweep,
)
