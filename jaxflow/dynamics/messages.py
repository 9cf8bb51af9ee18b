"""What is known of a network from its program, for messages about how a trajectory ended."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax

from .._types import Network
from ..data import Regression
from ..networks.base import predictions
from .formulations.base import has_product
from .until import Until

KINKS = {"max", "min", "abs", "sign", "clamp", "relu", "relu6", "leaky_relu", "hard_tanh"}


def bounded(until: Until | None, network: Network) -> bool:
    """Whether a stop is about `L - L*` with an L* that is only bounded from below."""
    return until is not None and until.of_excess and not has_product(network)


def kinked(network: Network, data: Regression) -> bool:
    """Whether the program of the network has a primitive with a kink, such as that of relu."""
    arrays, rest = eqx.partition(network, eqx.is_array)
    program = jax.make_jaxpr(lambda a: predictions(eqx.combine(a, rest), data.X))(arrays)
    return any(name in KINKS for name in _primitives(program.jaxpr))


def _primitives(program: Any) -> Iterator[str]:
    """The primitives of a program, and the names of what was jitted or differentiated by hand."""
    for equation in program.eqns:
        name = str(equation.params.get("name", equation.primitive.name))
        yield name
        # Not into what has a derivative of its own, such as logaddexp: it is smooth, though it
        # takes a maximum.
        if equation.primitive.name.startswith("custom_jvp"):
            inside = equation.params["call_jaxpr"].jaxpr.eqns
            yield from (str(inner.params.get("name")) for inner in inside)
            continue
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _primitives(inner)
