"""Formulations: the same flow in several exact coordinates, registered by the type of network."""

from typing import Any

from ..._types import Network
from ...data import Regression
from .base import (
    Formulation as Formulation,
    formulations as formulations,
)
from .diagonal_linear import Mirror as Mirror
from .filippov import Filippov as Filippov
from .general import (
    GENERAL as GENERAL,
    Parameters as Parameters,
    Residual as Residual,
)
from .log_loss import (
    LogLossMirror as LogLossMirror,
    LogLossParameters as LogLossParameters,
)
from .two_layer_linear import (
    TwoLayerResidual as TwoLayerResidual,
    off_span as off_span,
)


@formulations.register(object)
def _(network: Any) -> tuple[type[Formulation], ...]:
    return Filippov, *GENERAL


def choose(name: str, network: Network, data: Regression, loss: Any) -> Formulation:
    """The formulation called `name`, or the most reduced one of the group of that name."""
    candidates = [f for f in formulations(network) if f.applies(network, data, loss)]
    for candidate in candidates:
        if name in (candidate.group, candidate.name):
            return candidate.build(network, data, loss)
    if name == Filippov.name:
        raise NoFormulation(
            f"No formulation 'filippov' for {type(network).__name__} under {type(loss).__name__}: "
            "it is for a ShallowNetwork, or an eqx.nn.MLP of depth 1, with one hidden layer of "
            "relu or leaky_relu that is trained, under the squared loss. For others see "
            "jf.smoothed(network, 1e-3)."
        )
    names = dict.fromkeys(n for c in candidates for n in (c.group, c.name))
    raise NoFormulation(
        f"No formulation {name!r} for {type(network).__name__} under {type(loss).__name__}: choose "
        f"one of {', '.join(map(repr, names))}."
    )


class NoFormulation(ValueError):
    """No formulation of this name describes this flow."""
