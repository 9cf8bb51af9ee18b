"""Many at once: Monte Carlo over seeds and any axes."""

from .plan import Sweep as Sweep
from .run import (
    refuse as refuse,
    run as run,
)
