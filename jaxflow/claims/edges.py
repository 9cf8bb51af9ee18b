"""What claims about the edge of stability share: one problem, run by every dynamics."""

import dataclasses
import functools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array

from ..data import Regression
from ..dynamics import CentralFlow, ConstrainedTrajectory, gradient_descent, gradient_flow
from ..dynamics.measures import Measure
from ..networks import ShallowNetwork, trainable
from ..networks.activations import Tanh
from ..sweeps.measures import Sharpness

WIDTH, DEGREE, SAMPLES = 20, 4, 20
EVERY = 50  # steps from save to save


@functools.cache
def chebyshev() -> Regression:
    """A Chebyshev polynomial at equidistant points of [-1, 1]."""
    x = np.linspace(-1, 1, SAMPLES)
    return Regression(x[:, None], np.cos(DEGREE * np.arccos(x)))


def start(key: Any) -> ShallowNetwork:
    """Tanh units: Xavier normal weights, of gain 1.9 in the first layer; no biases at the start."""
    a, b = jr.split(key)
    std = (2 / (WIDTH + 1)) ** 0.5
    W, V = 1.9 * std * jr.normal(a, (WIDTH, 1)), std * jr.normal(b, (1, WIDTH))
    return ShallowNetwork(W, jnp.zeros(WIDTH), V, activation=Tanh())


def starts(seeds: int) -> ShallowNetwork:
    """Many of them, along a first axis."""
    return jax.vmap(start)(jr.split(jr.key(0), seeds))


def network_of(flat: Array) -> ShallowNetwork:
    """The network with these parameters in a row."""
    network = start(jr.key(0))
    parameters, rest = eqx.partition(network, trainable(network))
    return eqx.combine(jax.flatten_util.ravel_pytree(parameters)[1](flat), rest)


class Weights(Measure):
    """All parameters in a row, at every saved time."""

    name: ClassVar[str] = "weights"
    dims: ClassVar[tuple[str, ...]] = ("time", "entry")

    def update(self, t: Any, view: Any, fixed: Any) -> Array:
        network = view.network
        return jax.flatten_util.ravel_pytree(eqx.filter(network, trainable(network)))[0]

    def finish(self, ts: Any, saved: Any, last: Any, fixed: Any) -> Array:
        return saved


class Squares(Measure):
    """The loss and `||grad L||^2`, at every saved time."""

    name: ClassVar[str] = "squares"
    dims: ClassVar[tuple[str, ...]] = ("time", "which")

    def update(self, t: Any, view: Any, fixed: Any) -> Array:
        return jnp.exp(jnp.stack([view.log_excess, 2 * view.log_speed]))

    def finish(self, ts: Any, saved: Any, last: Any, fixed: Any) -> Array:
        return saved


@dataclasses.dataclass(frozen=True)
class Setting:
    """Step sizes, seeds and steps of a run."""

    rates: tuple[float, ...]
    seeds: int
    steps: int

    @property
    def saves(self) -> tuple[int, ...]:
        """The saved steps."""
        return tuple(range(0, self.steps + 1, EVERY))


# Step sizes of 1/2 ||y - f||^2: twenty times those of the loss averaged over the samples are
# .3 ... .6.
PRESETS = {
    "quick": Setting((0.02,), 4, 4000),
    "paper": Setting((0.015, 0.02, 0.025, 0.03), 16, 12000),
    "large": Setting((0.015, 0.02, 0.025, 0.03), 64, 40000),
}
RULES: dict[str, Any] = {
    "descent": optax.sgd,
    "central flow": CentralFlow(substeps=2),
    "constrained": ConstrainedTrajectory(projections=2),
}


@eqx.filter_jit
def _run(
    rule: Any, networks: Any, data: Regression, rate: Any, setting: Setting, dense: bool
) -> Any:
    measures: Any = [Squares()] if dense else [Weights(), Sharpness()]
    saves = range(3 * setting.steps // 4, setting.steps) if dense else setting.saves

    def one(network: Any) -> Any:
        solution = gradient_descent(
            network,
            data,
            rule,
            learning_rate=rate,
            steps=setting.steps,
            saves=saves,
            midpoints=rule is optax.sgd and not dense,
            measures=measures,
        )
        return solution.measures, solution.ts

    return eqx.filter_vmap(one)(networks)


@functools.cache
def ran(name: str, setting: Setting, *, dense: bool = False) -> dict[str, np.ndarray]:
    """What a rule does, (rates, seeds, saves, ...): weights and sharpness at saves, of descent at
    midpoints; or, `dense`, squares at every step of the last quarter."""
    networks = starts(setting.seeds)
    data = chebyshev()
    found = [
        _run(RULES[name], networks, data, jnp.asarray(rate), setting, dense)
        for rate in setting.rates
    ]
    measures = {key: np.stack([m[key] for m, _ in found]) for key in found[0][0]}
    return {**measures, "ts": np.stack([ts[0] for _, ts in found])}


@functools.cache
def flowed(setting: Setting) -> dict[str, np.ndarray]:
    """What the gradient flow does, at the times of descent's midpoints."""

    @eqx.filter_jit
    def one(network: Any, data: Regression, ts: Any) -> Any:
        return gradient_flow(
            network, data, ts=ts, measures=[Weights(), Sharpness()], rtol=1e-7
        ).measures

    networks = starts(setting.seeds)
    each = [jax.tree.map(lambda x, i=i: x[i], networks) for i in range(setting.seeds)]
    data, times = chebyshev(), ran("descent", setting)["ts"]
    rows = [[one(network, data, jnp.asarray(ts)) for network in each] for ts in times]
    names = ("weights", "sharpness")
    return {name: np.stack([[m[name] for m in row] for row in rows]) for name in names}


def late(values: np.ndarray) -> np.ndarray:
    """The median over the second half of the saved times, (rates, seeds)."""
    return np.median(values[:, :, values.shape[2] // 2 :], axis=2)


def apart(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> np.ndarray:
    """The distance of two runs at saved times, (rates, seeds, saves)."""
    return np.linalg.norm(a["weights"] - b["weights"], axis=-1)
