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
from ..claims.base import Evidence
from ..claims.decide import near
from ..claims.gather import power
from ..claims.kinds import Made
from ..dynamics import gradient_descent, gradient_flow
from ..measures import ImbalanceDrift
from ..networks import TwoLayerLinear
from ..networks.init import Gaussian
from ..theory import imbalance

SEEDS = {"quick": 8, "paper": 32}
STEPS = tuple(64 * 2**k for k in range(6))
TIME = 1.5


@functools.cache
def gaps(preset: str) -> np.ndarray:
    """The distance of descent to the flow, and the changes of Lambda and c: (3, steps, seeds).

    The change of Lambda is relative to the weights at the start.
    """
    data = problems.gaussian(jr.key(3), 5, 10, 2, whiten=True)
    draw = functools.partial(Gaussian(), data=data, width=16)
    networks = jax.vmap(draw)(jr.split(jr.key(0), SEEDS.get(preset, 128)))

    @eqx.filter_jit
    @eqx.filter_vmap
    def end(network: TwoLayerLinear) -> TwoLayerLinear:
        return gradient_flow(network, data, ts=[TIME], rtol=1e-12).network

    @eqx.filter_jit
    @eqx.filter_vmap
    def changes(first: TwoLayerLinear, last: TwoLayerLinear, exact: TwoLayerLinear) -> Any:
        apart = jnp.sqrt(jnp.sum((last.U - exact.U) ** 2) + jnp.sum((last.V - exact.V) ** 2))
        c = imbalance(last, data).c - imbalance(first, data).c
        return apart, jnp.abs(c)

    flow, rows = end(networks), []
    for steps in STEPS:
        # Not under a jit of its own: one program serves every number of steps.
        found = eqx.filter_vmap(
            lambda network, steps=steps: gradient_descent(
                network,
                data,
                optax.sgd,
                learning_rate=TIME / steps,
                steps=steps,
                saves=2,
                measures=[ImbalanceDrift()],
            )
        )(networks)
        apart, c = changes(networks, found.network, flow)
        rows.append([apart, found.measures["imbalance_drift"], c])
    return np.asarray(rows).transpose(1, 0, 2)


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
