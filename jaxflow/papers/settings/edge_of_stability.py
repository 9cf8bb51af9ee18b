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
from jaxtyping import Array, PRNGKeyArray

from ...claims import Evidence, Moves, at_most, once, presets
from ...data import Regression
from ...dynamics import CentralFlow, ConstrainedTrajectory
from ...dynamics.measure import Measure
from ...dynamics.status import failed
from ...measures import LogExcess, Times
from ...networks import ShallowNetwork, trainable
from ...networks.activations import Tanh
from ...networks.init import Initialization
from ...sweeps import Sweep, run
from ...theory import sharpness

GROUP = "edge of stability"  # papers whose claims are about the same runs
PROBLEM = (
    "S is the largest eigenvalue of the Hessian of the loss L, eta the step size; regression on a "
    "Chebyshev polynomial, tanh units"
)
MIDPOINTS = f"{PROBLEM}; descent is read off halfway between steps"
FOLLOWS = "late in training, ||descent - {model}|| <= {share:.3g} ||descent - gradient flow||"
SHARE = Moves("share", "distance")
WIDTH, DEGREE, SAMPLES = 20, 4, 20
EVERY = 50  # steps from save to save
BATCH = 64  # networks whose sharpness is computed side by side


@functools.cache
def chebyshev() -> Regression:
    """A Chebyshev polynomial at equidistant points of [-1, 1]."""
    x = np.linspace(-1, 1, SAMPLES)
    return Regression(x[:, None], np.cos(DEGREE * np.arccos(x)))


class Xavier(Initialization):
    """Xavier normal weights of gain 1.9 in the first layer, for tanh units; biases start at 0."""

    rotates: ClassVar[bool] = False

    def __call__(self, key: PRNGKeyArray, data: Regression, *, width: int) -> ShallowNetwork:
        a, b = jr.split(key)
        std = (2 / (width + 1)) ** 0.5
        W, V = 1.9 * std * jr.normal(a, (width, 1)), std * jr.normal(b, (1, width))
        return ShallowNetwork(W, jnp.zeros(width), V, activation=Tanh())


def network_of(flat: Array) -> ShallowNetwork:
    """The network with these parameters, given as one vector."""
    network = Xavier()(jr.key(0), chebyshev(), width=WIDTH)
    parameters, rest = eqx.partition(network, trainable(network))
    return eqx.combine(jax.flatten_util.ravel_pytree(parameters)[1](flat), rest)


class Weights(Measure):
    """All parameters as one vector, at every saved time."""

    name: ClassVar[str] = "weights"
    dims: ClassVar[tuple[str, ...]] = ("time", "entry")

    def update(self, t: Any, view: Any, fixed: Any) -> Array:
        network = view.network
        return jax.flatten_util.ravel_pytree(eqx.filter(network, trainable(network)))[0]


class LogSpeed(Measure):
    """`log ||grad L||` at every saved time."""

    name: ClassVar[str] = "log_speed"
    dims: ClassVar[tuple[str, ...]] = ("time",)

    def update(self, t: Any, view: Any, fixed: Any) -> Array:
        return view.log_speed


@dataclasses.dataclass(frozen=True)
class Setting:
    """Step sizes, seeds per step size, and steps of a run."""

    rates: tuple[float, ...]
    seeds: int
    steps: int

    @property
    def edge(self) -> np.ndarray:
        """`2 / eta` of each step size, in a column."""
        return 2 / np.asarray(self.rates)[:, None]


# Step sizes of 1/2 ||y - f||^2: twenty times those of the loss averaged over the samples are
# .22 ... .4. Along all these flows S rises beyond 2 / eta, along all these descents bursts are
# small enough to stay in one basin; from eta = .02 on some leave it.
RISING = presets(
    Setting,
    quick=((0.015,), 8, 4000),
    paper=((0.011, 0.012, 0.0135, 0.015), 16, 12000),
    large=((0.011, 0.012, 0.0135, 0.015), 64, 40000),
)
# Steps large enough, and enough of them, for averages to have settled.
SETTLED = presets(
    Setting,
    quick=((0.02,), 16, 8000),
    paper=((0.015, 0.02, 0.025, 0.03), 16, 20000),
    large=((0.015, 0.02, 0.025, 0.03), 64, 20000),
)
RULES: dict[str, Any] = {
    "descent": optax.sgd,
    "central flow": CentralFlow(unstable=1),
    "constrained trajectory": ConstrainedTrajectory(projections=2),
}


def sweep(setting: Setting, name: str, *, dense: bool = False) -> Sweep:
    """Descent, or a model of it, from the same networks at every step size."""
    start, every = (setting.steps // 2, 1) if dense else (0, EVERY)
    return Sweep(
        chebyshev(),
        Xavier(),
        over={"width": [WIDTH], "learning_rate": setting.rates},
        seeds=setting.seeds,
        descent={
            "optimizer": RULES[name],
            "steps": setting.steps,
            "saves": range(start, setting.steps + (not dense), every),
            "midpoints": name == "descent" and not dense,
        },
        measures=[LogExcess(), LogSpeed()] if dense else [Weights(), Times()],
    )


@once
def ran(name: str, setting: Setting, *, dense: bool = False) -> dict[str, np.ndarray]:
    """What a rule does: arrays of shape (rates, seeds, saves, ...).

    They are the weights and the sharpness at the saved times, for descent halfway between steps;
    or, `dense`, the loss and the gradient at every step of the last half.
    """
    if name == "gradient flow":
        return flowed(setting)
    dataset = run(sweep(setting, name, dense=dense))
    found = {str(key): values.values[0] for key, values in dataset.items()}
    return found if dense else {**found, "sharpness": sharpness_of(found["weights"])}


@once
def flowed(setting: Setting) -> dict[str, np.ndarray]:
    """What the gradient flow does, at the times of descent's midpoints."""
    rows = []
    for ts in ran("descent", setting)["t"][:, 0]:
        plan = Sweep(
            chebyshev(),
            Xavier(),
            widths=[WIDTH],
            seeds=setting.seeds,
            ts=ts,
            measures=[Weights()],
            rtol=1e-7,
        )
        rows.append(run(plan))
    found = {
        name: np.stack([row[name].values[0] for row in rows]) for name in ("weights", "status")
    }
    return {**found, "sharpness": sharpness_of(found["weights"])}


def sharpness_of(weights: np.ndarray) -> np.ndarray:
    """The sharpness at weights of shape (..., parameters): one small program serves all runs."""
    rows = weights.reshape(-1, weights.shape[-1])
    padded = np.pad(rows, ((0, -len(rows) % BATCH), (0, 0)), mode="edge")
    found = [_sharpness(batch, chebyshev()) for batch in padded.reshape(-1, BATCH, rows.shape[-1])]
    return np.concatenate(found)[: len(rows)].reshape(weights.shape[:-1])


@jax.jit
def _sharpness(weights: Array, data: Regression) -> Array:
    return jax.vmap(lambda flat: sharpness(network_of(flat), data))(weights)


def late(values: np.ndarray) -> np.ndarray:
    """The median over the second half of the saved times, (rates, seeds)."""
    return np.median(values[:, :, values.shape[2] // 2 :], axis=2)


def failures(*runs: dict[str, np.ndarray]) -> np.ndarray:
    """Which networks did not get to their end in one of the runs, (rates, seeds)."""
    return np.any([failed(run["status"]) for run in runs], axis=0)


def apart(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> np.ndarray:
    """The distance of two runs at saved times, (rates, seeds, saves)."""
    return np.linalg.norm(a["weights"] - b["weights"], axis=-1)


def nearness(model: str, setting: Setting) -> np.ndarray:
    """The late distance of descent to a model of it, that to the gradient flow being 1."""
    descent = ran("descent", setting)
    near, far = (late(apart(descent, ran(name, setting))) for name in (model, "gradient flow"))
    return near / far


def held(setting: Setting) -> np.ndarray:
    """Whether the central flow stays at the edge over the second half, (rates, seeds)."""
    S = ran("central flow", setting)["sharpness"]
    return S[:, :, S.shape[2] // 2 :].min(axis=2) > setting.edge * (1 - 1e-4)


def follows(setting: Setting, model: str, share: float) -> Evidence:
    """Whether descent is as near to a model of it as this share of its distance to the flow."""
    return at_most(
        "distance_over_distance_to_flow",
        nearness(model, setting),
        share,
        trials="networks",
        failed=failures(*(ran(name, setting) for name in ("descent", "gradient flow", model))),
    )
