"""What gradient descent does at the edge of stability, where the sharpness is 2 / learning rate.

The size of the oscillation around the central flow and what it adds to the loss (`oscillation`);
the constants of self-stabilization (`self_stabilization`), the two-dimensional map that they enter
(`reduced_step`, `reduced_energy`) and the height of its spikes (`spike_height`).
"""

from .oscillation import (
    Oscillation as Oscillation,
    SelfStabilization as SelfStabilization,
    oscillation as oscillation,
    reduced_energy as reduced_energy,
    reduced_step as reduced_step,
    self_stabilization as self_stabilization,
    spike_height as spike_height,
)
