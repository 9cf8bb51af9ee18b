"""The machine: cores, the cache of compiled programs, versions, a stopwatch, atomic writes."""

from .cores import (
    devices as devices,
    keep_programs as keep_programs,
    use_all_cores as use_all_cores,
)
from .files import atomic_write as atomic_write
from .stopwatch import Stopwatch as Stopwatch
from .versions import environment as environment, versions as versions
