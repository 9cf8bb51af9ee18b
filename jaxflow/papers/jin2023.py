"""Jin and Montufar: wide shallow networks learn splines of least weighted curvature."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array

from ..claims import Evidence, Moves, Paper, at_most, finished, once, power, presets
from ..data import Regression
from ..dynamics import gradient_descent, until
from ..dynamics.measure import Measure
from ..dynamics.view import View
from ..measures import Predictions
from ..networks.activations import LeakyReLU, ReLU, Swish, Tanh
from ..networks.init import Normal, Shallow, Sphere, Uniform
from ..sweeps import Sweep
from ..theory import LinearizedFlow, adjusted, network_limit, polyharmonic, spline
from .settings.agreement import relative
from .settings.wide_networks import cloud, ends, line, points, rms, square

paper = Paper("jin2023", "Jin and Montufar (JMLR 2023)", provenance="read")
TOLERANCE = 0.08  # of exponents
EXPONENT = Moves("predicted", "exponent", by="difference")
LAWS = {
    "sign": Shallow(weights=Sphere(), biases=Uniform(2.0), output_only=True),
    "uniform": Shallow(weights=Uniform(1.0), biases=Uniform(2.0), output_only=True),
    "gaussian": Shallow(weights=Normal(1.0), biases=Normal(1.0), output_only=True),
}
TRAINED = Shallow(weights=Sphere())  # all layers


# All layers trained


class Movement(Measure):
    """How far the weights have moved, as MOVEMENTS names it."""

    name: ClassVar[str] = "movement"
    dims: ClassVar[tuple[str, ...]] = ("what",)

    def finish(self, ts: Any, saved: Any, last: View, fixed: Any) -> Array:
        a, b = last.initial, last.network
        hidden = jnp.sqrt(jnp.sum((a.W - b.W) ** 2) + jnp.sum((a.b - b.b) ** 2))
        live = a.scale > 0
        size = jnp.sqrt(jnp.sum(live[:, None] * a.W**2) + jnp.sum(live * a.b**2))
        return jnp.stack([hidden, jnp.linalg.norm(a.V - b.V), hidden / size])


MOVEMENTS = {  # what moves; parametrization; exponent. W includes the biases
    "hidden": ("||W(inf) - W(0)||", "standard", -1.0),
    "output": ("||V(inf) - V(0)||", "standard", -0.5),
    "ntk": ("||W(inf) - W(0)|| / ||W(0)||", "ntk", -0.5),
}

MOVED = {
    "hidden": r"\lVert W(\infty) - W(0)\rVert \,\sim\, h^{-1}",
    "output": r"\lVert V(\infty) - V(0)\rVert \,\sim\, h^{-1/2}",
    "ntk": r"\frac{\lVert W(\infty) - W(0)\rVert}{\lVert W(0)\rVert} \,\sim\, h^{-1/2}",
}


class Training(NamedTuple):
    """Widths; seeds in each parametrization; and the tolerance of exponents."""

    widths: tuple[int, ...]
    ntk: int  # these flows take longer, and differ less
    standard: int
    tolerance: float


TRAINING = presets(
    quick=Training((128, 181, 256, 512, 724, 1024), 6, 48, 0.15),
    paper=Training(tuple(320 * 2**k for k in range(7)), 20, 100, TOLERANCE),
    large=Training(tuple(320 * 2**k for k in range(9)), 50, 200, TOLERANCE),
)


@once
def trained(training: Training, parametrization: Any) -> xr.Dataset:
    """All layers trained by the flow, at several widths."""
    law = dataclasses.replace(TRAINED, parametrization=parametrization)
    sweep = Sweep(
        adjusted(law, line()),
        law,
        widths=training.widths,
        seeds=training.ntk if parametrization == "ntk" else training.standard,
        until=until.loss_ratio(1e-10),
        measures=[Movement(), Predictions(points(line()))],
        rtol=1e-6,
    )
    return finished(sweep)


def in_width(found: xr.Dataset, values: Any, predicted: float, tolerance: float) -> Evidence:
    """The exponent in the width of what a sweep of trained networks gave."""
    return power("exponent", found.width.values, values, predicted, tolerance, dataset=found)


@paper.claim(
    "||f_h - g*|| ~ h^({predicted:g}), all layers trained",
    source="theorem 1 and corollary 11; judged in the root mean square",
    latex=r"\lVert f_h - g^*\rVert \,\sim\, h^{-1/2}",
    hypotheses="f_h is a trained network of h units, and g* the spline of theorem 1; standard "
    "parametrization; f = 0 at the start",
    settings=TRAINING,
    moves=EXPONENT,
)
def flow(training: Training, predicted: float = -0.5) -> Evidence:
    """The exponent of the distance to the spline."""
    found = trained(training, "standard")
    expected = spline(adjusted(TRAINED, line()), TRAINED)(points(line()))
    values = rms(found.predictions.values - expected)
    return in_width(found, values, predicted, training.tolerance)


@paper.claim(
    lambda what, predicted, **_: f"{MOVEMENTS[what][0]} ~ h^({predicted:g})",
    name="movement_{what}",
    each=[
        {"what": what, "parametrization": how, "predicted": predicted}
        for what, (_, how, predicted) in MOVEMENTS.items()
    ],
    source="derived; compare theorem 10, on the linearized network",
    provenance="derived",
    latex=lambda what, **_: MOVED[what],
    hypotheses="all layers of a network of h units trained, hidden weights and biases W, output "
    "weights V; {parametrization} parametrization; f = 0 at the start",
    settings=TRAINING,
    run=trained,
    moves=EXPONENT,
)
def movement(
    found: xr.Dataset, setting: Training, what: str, parametrization: str, predicted: float
) -> Evidence:
    """The exponent of a movement."""
    values = found.movement.isel(what=list(MOVEMENTS).index(what)).transpose("width", "seed")
    return in_width(found, values.values, predicted, setting.tolerance)


# The output layer trained

Wide = tuple[tuple[int, ...], int]
WIDE = presets(  # widths and seeds
    quick=(tuple(320 * 2**k for k in range(6)), 128),
    paper=(tuple(40 * 2**k for k in range(10)), 100),
    large=(tuple(40 * 2**k for k in range(12)), 400),
)
OUTPUT = "f_h is a network of h units whose output layer is trained; f = 0 at the start"


def exponent(wide: Wide, gap: np.ndarray, predicted: float) -> Evidence:
    """The exponent in the width of the distance, of gaps of shape (widths, seeds, points, 1)."""
    values = rms(gap)
    measured = {"rms_widest": float(np.median(values[-1]))}
    fields = {"measured": measured, "trials": "networks"}
    return power("exponent", wide[0], values, predicted, TOLERANCE, **fields)


def on_the_line(wide: Wide, law: str) -> np.ndarray:
    """Predictions of trained networks, on the line's data without their affine part."""
    return ends(LAWS[law], adjusted(LAWS[law], line()), *wide)


@paper.claim(
    lambda law, penalty: (
        "||f_h - g*|| ~ h^(-1/2), g* = argmin int g''^2 / "
        f"{'zeta' if law == penalty else f'the zeta of {penalty} laws'}, "
        "g(x_j) = y_j - u x_j - v"
    ),
    name="spline_{law}",
    each=[{"law": law, "penalty": law} for law in LAWS],
    source="theorem 1, zeta by theorem 2; judged in the root mean square",
    latex=r"\lVert f_h - g^*\rVert \,\sim\, h^{-1/2}, \qquad g^* = "
    r"\operatorname{argmin}_{g(x_j) = y_j - u x_j - v} \int \frac{g''(x)^2}{\zeta(x)}\, "
    r"dx",
    hypotheses=f"{OUTPUT}; {{law}} laws",
    settings=WIDE,
    run=on_the_line,
    mutant=lambda law, penalty: {"penalty": "uniform" if law == "gaussian" else "gaussian"},
)
def to_spline(found: np.ndarray, setting: Wide, law: str, penalty: str) -> Evidence:
    """Distances to the spline of the law's penalty, or of that of another law."""
    data = adjusted(LAWS[law], line())
    return exponent(setting, found - spline(data, LAWS[penalty])(points(data)), -0.5)


ACTIVATIONS: dict[str, Any] = {
    "relu": ReLU(),
    "leaky_relu": LeakyReLU(0.2),
    "relu_squared": ReLU(2),
    "tanh": Tanh(),
    "swish": Swish(),
}


def from_kernel(wide: Wide, activation: str) -> np.ndarray:
    """Gaps from the interpolant of the infinite-width kernel, on the line's data as they are."""
    law = dataclasses.replace(LAWS["uniform"], activation=ACTIVATIONS[activation])
    return ends(law, line(), *wide) - network_limit(law, line())(points(line()))


FROM_KERNEL = "||f_h - K(., X) K(X, X)^-1 y|| ~ h^({predicted:g})"
KERNEL: dict[str, Any] = {
    "name": "kernel_{activation}",
    "provenance": "derived",
    "latex": r"\lVert f_h - K(\cdot, X) K(X, X)^{-1} y\rVert \,\sim\, h^{-1/2}",
    "hypotheses": f"{OUTPUT}; {{activation}} units",
    "settings": WIDE,
    "run": from_kernel,
    "moves": EXPONENT,
}
BEYOND = ("tanh", "swish")  # neither homogeneous nor Green's functions


@paper.claim(
    FROM_KERNEL,
    each=[{"activation": activation} for activation in BEYOND],
    source="beyond its activations, which are homogeneous; derived",
    **KERNEL,
)
@paper.claim(
    FROM_KERNEL,
    each=[{"activation": activation} for activation in ACTIVATIONS if activation not in BEYOND],
    source="theorem 12, the limit of infinite width, with the activations of corollary 4; the "
    "kernel K is derived",
    **KERNEL,
)
def to_kernel(gap: np.ndarray, setting: Wide, activation: str, predicted: float = -0.5) -> Evidence:
    """Distances to the interpolant of the infinite-width kernel."""
    return exponent(setting, gap, predicted)


def from_polyharmonic(wide: Wide, features: int) -> np.ndarray:
    """Gaps from the polyharmonic spline."""
    data = adjusted(LAWS["sign"], square() if features == 2 else cloud(features))
    return ends(LAWS["sign"], data, *wide) - polyharmonic(data)(points(data))


@paper.claim(
    "||f_h - g*|| ~ h^({predicted:g}), g* = sum c_j |x - x_j|^3 + affine, "
    "g(x_j) = y_j - <u, x_j> - v",
    name="polyharmonic_{features}d",
    each=[{"features": 2}, {"features": 3}],
    source="theorem 8, with theorems 6 and 7; judged in the root mean square",
    latex=r"\lVert f_h - g^*\rVert \,\sim\, h^{-1/2}, \qquad g^*(x) = \sum_j c_j \lVert x - "
    r"x_j\rVert^3 + \langle a, x\rangle + b",
    hypotheses=f"{OUTPUT}; uniform directions, and biases that reach all samples",
    settings=WIDE,
    run=from_polyharmonic,
    moves=EXPONENT,
)
def to_polyharmonic(
    gap: np.ndarray, setting: Wide, features: int, predicted: float = -0.5
) -> Evidence:
    """Distances to the polyharmonic spline."""
    return exponent(setting, gap, predicted)


OPTIMIZERS: dict[str, Any] = {"SGD": optax.sgd, "Adam": optax.adam}


@paper.claim(
    "{optimizer} on minibatches ends where the gradient flow ends",
    source="theorem 24 and remark 25 (appendix D)",
    latex=r"\lim_{k \to \infty} w^{\text{SGD}}_k = \lim_{t \to \infty} w(t)",
    hypotheses="the output layer is trained, to zero loss",
    settings=presets(quick=(8, 100_000), paper=(16, 400_000), large=(64, 400_000)),
    mutant={"optimizer": "Adam"},
)
def sgd(sizes: tuple[int, int], optimizer: str = "SGD") -> Evidence:
    """Where minibatch descent ends, against where the flow ends."""
    seeds, steps = sizes
    at, keys = jnp.asarray(points(line())), jr.split(jr.key(0), seeds)
    draw = eqx.filter_jit(jax.vmap(lambda key: LAWS["sign"](key, line(), width=200)))
    networks = draw(keys)
    limits, levels = _linearized(networks, line(), at)
    rates = jnp.full(seeds, 1e-3) if optimizer == "Adam" else 0.2 / levels[:, -1]

    def descend(network: Any, rate: Any, key: Any) -> Any:
        end = gradient_descent(
            network,
            line(),
            OPTIMIZERS[optimizer],
            learning_rate=rate,
            steps=steps,
            batch=2,
            key=key,
            until=until.loss_ratio(1e-12),
            saves=8,
        )
        return jax.vmap(end.network)(at)

    found = np.asarray(eqx.filter_vmap(descend)(networks, rates, keys))
    return at_most("relative_distance", relative(found, limits), 1e-4, trials="networks")


@eqx.filter_jit
def _linearized(networks: Any, data: Regression, at: Array) -> tuple[Array, Array]:
    """Where the flow of the output layers ends, and the levels of their kernels."""

    def one(network: Any) -> tuple[Array, Array]:
        linearized = LinearizedFlow(network, data)
        return linearized(at), linearized.levels

    return eqx.filter_vmap(one)(networks)
