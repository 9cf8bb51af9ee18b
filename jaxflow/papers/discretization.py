"""How far descent of a finite step is from the flow: weights, the imbalance, and the rate c."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from .. import data as problems
from ..claims import Evidence, Moves, Paper, power, presets
from ..dynamics import Solution, gradient_descent, gradient_flow
from ..measures import ImbalanceDrift
from ..networks import TwoLayerLinear
from ..networks.init import Gaussian
from ..theory import imbalance

paper = Paper(
    "discretization",
    "derived: a step of size eta changes the conserved Lambda by O(eta^2), and there are t / eta",
    provenance="derived",
)
STEPS = tuple(64 * 2**k for k in range(6))
TIME = 1.5
CHANGES = {
    "weights": "||descent - flow|| at a fixed time",
    "imbalance": "||Lambda(t) - Lambda(0)||_F along descent",
    "rate": "|c(t) - c(0)| along descent",
}

TYPESET = {
    "weights": r"\lVert w_{\text{descent}}(t) - w_{\text{flow}}(t)\rVert \,\sim\, \eta",
    "imbalance": r"\lVert \Lambda(t) - \Lambda(0)\rVert_F \,\sim\, \eta",
    "rate": r"\lvert c(t) - c(0)\rvert \,\sim\, \eta",
}


def changes(seeds: int) -> dict[str, np.ndarray]:
    """The changes by name, each of shape (steps, seeds); that of Lambda relative to the weights."""
    data = problems.gaussian(jr.key(3), 5, 10, 2, whiten=True)
    draw = functools.partial(Gaussian(), data=data, width=16)
    networks = jax.jit(jax.vmap(draw))(jr.split(jr.key(0), seeds))

    @eqx.filter_jit
    @eqx.filter_vmap
    def end(network: TwoLayerLinear) -> TwoLayerLinear:
        return gradient_flow(network, data, ts=[TIME], rtol=1e-12).network

    @eqx.filter_jit
    @eqx.filter_vmap
    def apart(
        first: TwoLayerLinear, last: TwoLayerLinear, exact: TwoLayerLinear
    ) -> tuple[jax.Array, jax.Array]:
        gap = jnp.sqrt(jnp.sum((last.U - exact.U) ** 2) + jnp.sum((last.V - exact.V) ** 2))
        return gap, jnp.abs(imbalance(last, data).c - imbalance(first, data).c)

    def descend(network: TwoLayerLinear, steps: int) -> Solution:
        return gradient_descent(
            network,
            data,
            optax.sgd,
            learning_rate=TIME / steps,
            steps=steps,
            saves=2,
            measures=[ImbalanceDrift()],
        )

    flow, rows = end(networks), []
    for steps in STEPS:
        # Not under a jit of its own: one program serves every number of steps.
        found = eqx.filter_vmap(functools.partial(descend, steps=steps))(networks)
        gap, c = apart(networks, found.network, flow)
        rows.append([gap, found.measures["imbalance_drift"], c])
    return dict(zip(CHANGES, np.asarray(rows).transpose(1, 0, 2), strict=True))


@paper.claim(
    lambda quantity, predicted: f"{CHANGES[quantity]} ~ eta^{predicted:g}",
    name="{quantity}",
    each=[{"quantity": quantity} for quantity in CHANGES],
    latex=lambda quantity, **_: TYPESET[quantity],
    hypotheses="two-layer linear networks; step size eta below the edge of stability",
    settings=presets(quick=8, paper=32, large=128),
    run=changes,
    moves=Moves("predicted", "order", by="difference"),
)
def order(found: dict[str, np.ndarray], quantity: str, predicted: float = 1.0) -> Evidence:
    """The exponent of a change in the step size."""
    values = found[quantity]
    values = values / np.exp(np.mean(np.log(values), axis=0))  # each start has a size of its own
    return power("order", TIME / np.array(STEPS), values, predicted, 0.1, trials="trajectories")
