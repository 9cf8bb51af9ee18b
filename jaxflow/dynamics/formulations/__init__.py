"""One flow, several exact coordinates. A new family is a new file here, registered by type."""

from typing import Any

from ...data import Regression
from .base import (
    Formulation as Formulation,
    formulations as formulations,
)
from .diagonal_linear import Mirror as Mirror
from .general import (
    Parameters as Parameters,
    Residual as Residual,
)
from .two_layer_linear import (
    TwoLayerResidual as TwoLayerResidual,
    off_span as off_span,
)


def choose(name: str, network: Any, data: Regression, loss: Any) -> Formulation:
    """The formulation called `name`, or with "auto" the most reduced one that applies."""
    candidates = [f for f in formulations(network) if f.applies(network, data, loss)]
    for candidate in candidates:
        if name in ("auto", candidate.name):
            return candidate.build(network, data, loss)
    raise ValueError(
        f"No formulation {name!r} for {type(network).__name__} under {type(loss).__name__}: choose "
        f"'auto' or one of {', '.join(repr(c.name) for c in candidates)}."
    )
