"""Is it true: one module a paper, each claim an experiment with a verdict that can be False."""

from .base import (
    PRESETS as PRESETS,
    Claim as Claim,
    Evidence as Evidence,
    Verdict as Verdict,
)
from .kinds import (
    Everywhere as Everywhere,
    Made as Made,
)
from .many import verify_all as verify_all
from .registry import (
    catalogue as catalogue,
    find as find,
)
from .verify import (
    judge as judge,
    verify as verify,
)
