"""What is known of a network from its program, for messages about how a trajectory ended."""

from .._types import Network
from .formulations.base import has_product
from .until import Until


def bounded(until: Until | None, network: Network) -> bool:
    """Whether a stop is about `L - L*` with an L* that is only bounded from below."""
    return until is not None and until.of_excess and not has_product(network)
