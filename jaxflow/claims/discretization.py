"""How far descent of a finite step is from the flow: weights, the imbalance, and the rate c."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from .. import data as problems
from ..dynamics import gradient_descent, gradient_flow
from ..networks import TwoLayerLinear
from ..networks.init import Gaussian
from ..theory import imbalance
from .base import Evidence
from .decide import near
from .gather import power
from .kinds import Made

SEEDS = {"quick": 8, "paper": 32}
STEPS = tuple(64 * 2**k for k in range(6))
TIME = 1.5


def _lambda(network: TwoLayerLinear, right: Any) -> Any:
    U = right.T @ network.U
    return U.T @ U - network.V.T @ network.V


@functools.cache
def gaps(preset: str) -> np.ndarray:
    """The distance of descent to the flow, and the changes of Lambda and c: (3, steps, seeds)."""
    data = problems.gaussian(jr.key(3), 5, 10, 2, whiten=True)
    draw = functools.partial(Gaussian(), data=data, width=16)
    networks = jax.vmap(draw)(jr.split(jr.key(0), SEEDS.get(preset, 128)))
    right = data.right

    @eqx.filter_jit
    def end(networks: Any) -> Any:
        return eqx.filter_vmap(lambda n: gradient_flow(n, data, ts=[TIME], rtol=1e-12).network)(
            networks
        )

    flow = end(networks)

    @eqx.filter_vmap
    def changes(first: Any, last: Any, exact: Any) -> Any:
        apart = jnp.sqrt(jnp.sum((last.U - exact.U) ** 2) + jnp.sum((last.V - exact.V) ** 2))
        moved = jnp.linalg.norm(_lambda(last, right) - _lambda(first, right))
        c = imbalance(last, data).c - imbalance(first, data).c
        return jnp.stack([apart, moved, jnp.abs(c)])

    rows = []
    for steps in STEPS:

        def descend(network: Any, steps: int = steps) -> Any:
            return gradient_descent(
                network, data, optax.sgd, learning_rate=TIME / steps, steps=steps, saves=2
            ).network

        last = eqx.filter_jit(eqx.filter_vmap(descend))(networks)
        rows.append(np.asarray(changes(networks, last, flow)))
    return np.stack(rows).transpose(2, 0, 1)


WHAT = {
    "weights": "||descent - flow|| at a fixed time",
    "imbalance": "||Lambda(t) - Lambda(0)||_F along descent",
    "rate": "|c(t) - c(0)| along descent",
}


def order(preset: str, which: str, predicted: float) -> Evidence:
    """The exponent of a change in the step size."""
    values = gaps(preset)[list(WHAT).index(which)]
    values = values / np.exp(np.mean(np.log(values), axis=0))  # each start has a size of its own
    return power("order", TIME / np.array(STEPS), values, predicted, 0.1, trials="trajectories")


def _order(which: str, predicted: float = 1.0, **variants: Any) -> Made:
    return Made(
        f"discretization.{which}",
        f"{WHAT[which]} ~ eta^{predicted:g}",
        plan=lambda preset: preset,
        look=lambda preset: order(preset, which, predicted),
        rule=near,
        source="derived: of a step the conserved Lambda keeps all but eta^2 (...), t / eta times",
        provenance="derived",
        hypotheses="two-layer linear networks; eta below the edge of stability",
        **variants,
    )


CLAIMS = tuple(_order(which, mutant=_order(which, 2.0), control=_order(which)) for which in WHAT)
