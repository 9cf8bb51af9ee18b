"""Many at once: Monte Carlo over seeds and any axes."""

from . import measures as measures
from .clock import Clock as Clock
from .machine import use_all_cores as use_all_cores
from .plan import Sweep as Sweep
from .run import refuse as refuse, run as run
from .versions import environment as environment, versions as versions
