"""Jin and Montufar: wide shallow networks learn splines of least weighted curvature."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array
from scipy.optimize import brentq

from ..claims.agreement import relative
from ..claims.base import Evidence
from ..claims.decide import near
from ..claims.gather import at_least, at_most, failed, power
from ..claims.kinds import Made
from ..data import Regression
from ..dynamics import gradient_descent, until
from ..dynamics.measure import Measure
from ..dynamics.view import View
from ..measures import Predictions
from ..networks.activations import LeakyReLU, ReLU, Swish, Tanh
from ..networks.init import Normal, Shallow, Sphere, Uniform
from ..sweeps import Sweep, run
from ..theory import LinearizedFlow, adjusted, network_limit, polyharmonic, spline, tangent_kernel
from .settings.wide_networks import SEEDS, WIDTHS, cloud, distances, line, points, square

SOURCE = "Jin and Montufar (JMLR 2023)"
TOLERANCE = 0.08  # of exponents
LAWS = {
    "sign": Shallow(weights=Sphere(), biases=Uniform(2.0), output_only=True),
    "uniform": Shallow(weights=Uniform(1.0), biases=Uniform(2.0), output_only=True),
    "gaussian": Shallow(weights=Normal(1.0), biases=Normal(1.0), output_only=True),
}


@functools.cache
def to_spline(preset: str, law: str, penalty: str) -> np.ndarray:
    """Distances to the spline of the penalty of another law, or the same: (widths, seeds)."""
    data = adjusted(LAWS[law], line())
    return distances(LAWS[law], data, spline(data, LAWS[penalty]), WIDTHS[preset], SEEDS[preset])


def exponent(preset: str, values: np.ndarray, predicted: float) -> Evidence:
    """The exponent in the width of these distances."""
    return power(
        "exponent",
        WIDTHS[preset],
        values,
        predicted,
        TOLERANCE,
        measured={"rms_widest": float(np.median(values[-1]))},
        trials="networks",
    )


def _spline(law: str, penalty: str, **variants: Any) -> Made:
    of = "zeta" if law == penalty else f"the zeta of {penalty} laws"
    return Made(
        f"jin2023.spline_{law}",
        f"||f_h - g*|| ~ h^(-1/2), g* = argmin int g''^2 / {of}, g(x_j) = y_j - u x_j - v",
        plan=lambda preset: preset,
        look=lambda preset: exponent(preset, to_spline(preset, law, penalty), -0.5),
        rule=near,
        source=f"{SOURCE}, theorem 1",
        provenance="second-hand",
        hypotheses=f"{law} laws; the output layer is trained; f = 0 at the start",
        **variants,
    )


ACTIVATIONS: dict[str, Any] = {
    "relu": ReLU(),
    "leaky_relu": LeakyReLU(0.2),
    "relu_squared": ReLU(2),
    "tanh": Tanh(),
    "swish": Swish(),
}


@functools.cache
def to_kernel(preset: str, activation: str) -> np.ndarray:
    """Distances to the interpolant of the infinite-width kernel, on data as they are."""
    law = dataclasses.replace(LAWS["uniform"], activation=ACTIVATIONS[activation])
    return distances(law, line(), network_limit(law, line()), WIDTHS[preset], SEEDS[preset])


def _kernel(activation: str, predicted: float = -0.5, **variants: Any) -> Made:
    return Made(
        f"jin2023.kernel_{activation}",
        f"||f_h - K(., X) K(X, X)^-1 y|| ~ h^({predicted:g})",
        plan=lambda preset: preset,
        look=lambda preset: exponent(preset, to_kernel(preset, activation), predicted),
        rule=near,
        source=f"{SOURCE}, theorems 1 and 4; the kernel derived",
        provenance="derived",
        hypotheses=f"{activation} units; the output layer is trained; f = 0 at the start",
        **variants,
    )


@functools.cache
def to_polyharmonic(preset: str, features: int) -> np.ndarray:
    """Distances to the polyharmonic spline."""
    law = LAWS["sign"]
    data = adjusted(law, square() if features == 2 else cloud(features))
    return distances(law, data, polyharmonic(data), WIDTHS[preset], SEEDS[preset])


def _polyharmonic(features: int, predicted: float = -0.5, **variants: Any) -> Made:
    return Made(
        f"jin2023.polyharmonic_{features}d",
        f"||f_h - g*|| ~ h^({predicted:g}), g* = sum c_j |x - x_j|^3 + affine, "
        "g(x_j) = y_j - <u, x_j> - v",
        plan=lambda preset: preset,
        look=lambda preset: exponent(preset, to_polyharmonic(preset, features), predicted),
        rule=near,
        source=f"{SOURCE}, theorem 5",
        provenance="second-hand",
        hypotheses="uniform directions and biases that reach all samples; the output layer trained",
        **variants,
    )


def filter_gap() -> float:
    """`max 1/(1 + x) - exp(-x)`: of the flow's filter from that of ridge regression."""
    x = brentq(lambda x: np.exp(x) - (1 + x) ** 2, 2, 3)  # where its derivative is zero
    return float(1 / (1 + x) - np.exp(-x))


@jax.jit
def _followed(network: Any, data: Regression, ts: Array) -> Array:
    flow = LinearizedFlow(network, data)
    return jax.vmap(lambda t: flow(data.X, t)[:, 0])(ts)


@functools.cache
def filters(preset: str) -> np.ndarray:
    """The bound over the gap, for networks, times, and targets: one mode each, and of all modes."""
    law, ratios = LAWS["uniform"], []
    for seed in range({"quick": 4, "paper": 16}.get(preset, 64)):
        network = law(jr.key(seed), line(), width=1000)
        K = np.asarray(tangent_kernel(network, line()))
        levels, basis = np.linalg.eigh(K)
        ts = np.geomspace(0.1 / levels[-1], 100 / levels[0], 193)
        ts = np.sort(np.concatenate([ts, 2.5128624 / levels]))  # where the filters differ most
        for y in (*basis.T, np.asarray(line().Y)[:, 0]):
            found = np.asarray(_followed(network, Regression(line().X, y), jnp.asarray(ts)))
            for t, f in zip(ts, found, strict=True):
                gap = np.linalg.norm(f - K @ np.linalg.solve(K + np.eye(len(y)) / t, y))
                ratios.append(filter_gap() * np.linalg.norm(y) / max(float(gap), 1e-300))
    return np.asarray(ratios)


def _filter(times: float = 1.0, **variants: Any) -> Made:
    scale = "" if times == 1 else f"{times:g} * "
    return Made(
        "jin2023.trajectory",
        f"||f_t(X) - K (K + I/t)^-1 y|| <= {scale}0.20363 ||y||",
        plan=lambda preset: preset,
        look=lambda preset: at_least(
            "bound_over_gap", filters(preset), 1 / times, allowance=1e-9, trials="times"
        ),
        source=f"{SOURCE}, section 4; the constant, max 1/(1 + x) - exp(-x), derived",
        provenance="derived",
        hypotheses="the output layer is trained; f = 0 at the start",
        **variants,
    )


def descended(preset: str, adaptive: bool) -> Evidence:
    """Where minibatch descent ends, against where the flow ends."""
    law, at, distances = LAWS["sign"], points(line()), []
    for seed in range({"quick": 2, "paper": 8}.get(preset, 16)):
        network = law(jr.key(seed), line(), width=200)
        flow = LinearizedFlow(network, line())
        end = gradient_descent(
            network,
            line(),
            optax.adam if adaptive else optax.sgd,
            learning_rate=1e-3 if adaptive else 0.2 / float(flow.levels[-1]),
            steps={"quick": 100_000}.get(preset, 400_000),
            batch=2,
            key=jr.key(seed),
            until=until.loss_ratio(1e-12),
            saves=8,
        )
        found = np.asarray(jax.vmap(end.network)(jnp.asarray(at)))
        distances.append(relative(found, np.asarray(flow(jnp.asarray(at)))))
    return at_most("relative_distance", distances, 1e-4, trials="networks")


def _descent(adaptive: bool = False, **variants: Any) -> Made:
    name = "Adam" if adaptive else "SGD"
    return Made(
        "jin2023.sgd",
        f"{name} on minibatches ends where the gradient flow ends",
        plan=lambda preset: preset,
        look=lambda preset: descended(preset, adaptive),
        source=f"{SOURCE}, section 3",
        provenance="second-hand",
        hypotheses="the output layer is trained, to zero loss",
        **variants,
    )


class Movement(Measure):
    """`||W(T) - W(0)||`, biases with it, and `||V(T) - V(0)||`, each also over its start."""

    name: ClassVar[str] = "movement"
    dims: ClassVar[tuple[str, ...]] = ("what",)

    def finish(self, ts: Any, saved: Any, last: View, fixed: Any) -> Array:
        a, b = last.initial, last.network
        hidden = jnp.sqrt(jnp.sum((a.W - b.W) ** 2) + jnp.sum((a.b - b.b) ** 2))
        live = a.scale > 0
        size = jnp.sqrt(jnp.sum(live[:, None] * a.W**2) + jnp.sum(live * a.b**2))
        output = jnp.linalg.norm(a.V - b.V)
        return jnp.stack(
            [hidden, output, hidden / size, output / jnp.linalg.norm(live[None] * a.V)]
        )


TRAINED = {
    "quick": (128, 181, 256, 512, 724, 1024),
    "paper": tuple(320 * 2**k for k in range(7)),
    "large": tuple(320 * 2**k for k in range(9)),
}
COARSE = {"quick": 0.15}  # the tolerance of exponents that vary a lot between starts


@functools.cache
def trained(preset: str, parametrization: Any) -> xr.Dataset:
    """All layers trained by the flow, at several widths."""
    law = Shallow(weights=Sphere(), parametrization=parametrization)
    # In the NTK parametrization flows take longer, and differ less.
    few, many = {"quick": (6, 48), "paper": (20, 100)}.get(preset, (50, 200))
    return run(
        Sweep(
            adjusted(law, line()),
            law,
            widths=TRAINED[preset],
            seeds=few if parametrization == "ntk" else many,
            until=until.loss_ratio(1e-10),
            measures=[Movement(), Predictions(points(line()))],
            rtol=1e-6,
        )
    )


MOVED = {
    "hidden": ("standard", 0, -1.0, "||W(inf) - W(0)||"),
    "output": ("standard", 1, -0.5, "||V(inf) - V(0)||"),
    "ntk": ("ntk", 2, -0.5, "||W(inf) - W(0)|| / ||W(0)||"),
}


def moved(preset: str, which: str, shift: float) -> Evidence:
    """The exponent of a movement in the width."""
    parametrization, index, predicted, _ = MOVED[which]
    found = trained(preset, parametrization)
    return power(
        "exponent",
        found.width.values,
        found.movement.isel(what=index).transpose("width", "seed").values,
        predicted + shift,
        COARSE.get(preset, TOLERANCE),
        dataset=found,
        failed=failed(found),
        trials="trajectories",
    )


def _moved(which: str, shift: float = 0.0, **variants: Any) -> Made:
    parametrization, _, predicted, what = MOVED[which]
    return Made(
        f"jin2023.movement_{which}",
        f"{what} ~ h^({predicted + shift:g})",
        plan=lambda preset: preset,
        look=lambda preset: moved(preset, which, shift),
        rule=near,
        source=f"derived, for {SOURCE}",
        provenance="derived",
        hypotheses=f"all layers trained, {parametrization} parametrization; f = 0 at the start",
        **variants,
    )


def flowed(preset: str, predicted: float) -> Evidence:
    """The exponent of the distance to the spline, all layers trained."""
    found = trained(preset, "standard")
    law = Shallow(weights=Sphere())
    data = adjusted(law, line())
    gap = found.predictions.values - spline(data, law)(points(line()))
    return power(
        "exponent",
        found.width.values,
        np.sqrt(np.mean(gap**2, axis=(-2, -1))),
        predicted,
        COARSE.get(preset, TOLERANCE),
        dataset=found,
        failed=failed(found),
        trials="trajectories",
    )


def _flow(predicted: float = -0.5, **variants: Any) -> Made:
    return Made(
        "jin2023.flow",
        f"||f_h - g*|| ~ h^({predicted:g}), all layers trained",
        plan=lambda preset: preset,
        look=lambda preset: flowed(preset, predicted),
        rule=near,
        source=f"{SOURCE}, theorem 1",
        provenance="second-hand",
        hypotheses="standard parametrization; f = 0 at the start",
        **variants,
    )


OTHER = {"sign": "gaussian", "uniform": "gaussian", "gaussian": "uniform"}
CLAIMS = (
    *(
        _spline(law, law, mutant=_spline(law, OTHER[law]), control=_spline(law, law))
        for law in LAWS
    ),
    *(_kernel(name, mutant=_kernel(name, -1.0), control=_kernel("relu")) for name in ACTIVATIONS),
    *(_polyharmonic(d, mutant=_polyharmonic(d, -1.0), control=_polyharmonic(d)) for d in (2, 3)),
    _filter(mutant=_filter(1 / 1.05), control=_filter(1.05)),
    _descent(mutant=_descent(adaptive=True), control=_descent()),
    *(_moved(name, mutant=_moved(name, -0.5), control=_moved(name)) for name in MOVED),
    _flow(mutant=_flow(-1.0), control=_flow()),
)
