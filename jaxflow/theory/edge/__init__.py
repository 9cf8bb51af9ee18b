"""The edge of stability."""

from .oscillation import (
    Oscillation as Oscillation,
    SelfStabilization as SelfStabilization,
    oscillation as oscillation,
    reduced_energy as reduced_energy,
    reduced_step as reduced_step,
    self_stabilization as self_stabilization,
    spike_height as spike_height,
)
