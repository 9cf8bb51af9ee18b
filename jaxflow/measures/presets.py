"""The measures that a width sweep records unless told otherwise."""

from ..dynamics.measure import Measure
from .rates import BoundRate, LeastDecay, Level, MeasuredRate, RateSlack
from .states import ImbalanceDrift, InSpanDistance, LogExcess, OffSpanDistance, Times


def standard() -> tuple[Measure, ...]:
    """What a sweep of two-layer linear networks reads off unless told otherwise."""
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
    """The loss at all saved times, and the times: 16 bytes a save and trajectory."""
    return Times(), LogExcess()
