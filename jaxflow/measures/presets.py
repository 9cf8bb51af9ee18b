"""Default measures of sweeps."""

from ..dynamics.measure import Measure
from .rates import BoundRate, LeastDecay, Level, MeasuredRate, RateSlack
from .states import ImbalanceDrift, InSpanDistance, LogExcess, OffSpanDistance, Times


def standard() -> tuple[Measure, ...]:
    """The default measures of a sweep of two-layer linear networks."""
    return (
        Level(),
        BoundRate(),
        MeasuredRate(),
        RateSlack(),
        LeastDecay(),
        OffSpanDistance(),
        InSpanDistance(),
        ImbalanceDrift(),
    )


def curves() -> tuple[Measure, ...]:
    """The saved times and the log excess loss at them: 16 bytes per saved time and trajectory."""
    return Times(), LogExcess()
