"""Saxe, McClelland, Ganguli: exact learning of balanced modes, and its times."""

from typing import Any

import jax.random as jr
import numpy as np
import optax

from .. import data as problems
from ..claims import Paper, once, presets
from ..data import Regression
from ..dynamics import gradient_descent, gradient_flow
from ..measures import Product
from ..networks import DeepLinear
from ..networks.init import DeepBalanced, Spectral
from ..theory import deep_mode_time, saxe, saxe_time
from .settings.agreement import agreement, relative

paper = Paper("saxe2014", "Saxe, McClelland, Ganguli (ICLR 2014)", provenance="read")
Sizes = tuple[int, int]  # input directions and outputs
SHALLOW, DEEP = 0.01, 0.05  # strengths of the modes at time 0: two layers, and more
RATE, STEPS = 0.01, 1_000  # of gradient descent
SAVES = 64  # flows that save equally often share a compiled program
FORMULA: dict[str, Any] = {
    "settings": presets(quick=(4, 3), paper=(8, 7), large=(40, 30)),
    "hypotheses": "whitened inputs, balanced weights aligned with the singular vectors of the "
    "targets W^T Y; s is the strength of a mode of the targets, a that of the product, a0 and af "
    "its first and last value",
    "tolerance": 1e-9,
}


@once
def problem(sizes: Sizes) -> tuple[Regression, np.ndarray]:
    """Whitened data, and the strengths of its modes."""
    r, m = sizes
    data = problems.gaussian(jr.key(0), r, 2 * r, m, whiten=True)
    return data, np.linalg.svd(np.asarray(data.targets))[1]


def strengths(data: Regression, product: Any) -> np.ndarray:
    """`A^T Theta B` of the product Theta along the singular vectors A, B of the targets."""
    A, _, Bt = np.linalg.svd(np.asarray(data.targets), full_matrices=False)
    return np.einsum("ri,...rm,im->...i", A, np.asarray(data.right.T @ product), Bt)


def followed(data: Regression, network: Any, ts: np.ndarray) -> np.ndarray:
    """The strengths of the modes along the flow, at these times."""
    # Further times before the last one: they change no step.
    more = np.linspace(ts[-2], ts[-1], max(SAVES - len(ts), 0) + 2)[1:-1]
    every = np.r_[ts[:-1], more, ts[-1]]
    flow = gradient_flow(
        network, data, ts=every, measures=[Product()], rtol=1e-11, solver="explicit"
    )
    found = strengths(data, flow.measures["product"])
    return np.r_[found[: len(ts) - 1], found[-1:]]


@once
def two_layers(sizes: Sizes, ts: tuple[float, ...]) -> np.ndarray:
    """The strengths of the modes of a network of two layers."""
    data, _ = problem(sizes)
    network = Spectral((SHALLOW**0.5, SHALLOW**0.5))(jr.key(0), data, width=10)
    return followed(data, network, np.asarray(ts))


def balanced(sizes: Sizes, depth: int) -> tuple[Regression, np.ndarray, DeepLinear]:
    """The problem, and a deep network for it."""
    data, s = problem(sizes)
    network = DeepBalanced(DEEP, aligned=True)(jr.key(0), data, width=6, depth=depth)
    return data, s, network


@agreement(
    paper,
    "a(t) = s a0 / (a0 (1 - e^(-2 s t)) + s e^(-2 s t))",
    source="section 1.3, (12)",
    latex=r"a(t) = \frac{s\, a_0}{a_0 \left(1 - e^{-2 s t}\right) + s\, e^{-2 s t}}",
    **FORMULA,
)
def modes(sizes: Sizes, time_factor: float) -> np.ndarray:
    """Two layers against `saxe`."""
    s = problem(sizes)[1]
    ts = np.linspace(0.1, 6, 32) / s[-1]
    expected = np.asarray(saxe(time_factor * ts, s, SHALLOW))
    return relative(two_layers(sizes, tuple(ts))[:, None], expected[:, None])


@agreement(
    paper,
    "t = log(af (s - a0) / (a0 (s - af))) / (2 s) from a0 to af",
    source="section 1.3, (11)",
    latex=r"t = \frac{1}{2 s} \log \frac{a_f (s - a_0)}{a_0 (s - a_f)}",
    **FORMULA,
)
def times(sizes: Sizes, time_factor: float) -> np.ndarray:
    """The flow at the times at which each mode should have 10% ... 99% of its strength."""
    s = problem(sizes)[1]
    shares = np.linspace(0.1, 0.99, 16)
    values = shares[:, None] * (s - SHALLOW) + SHALLOW
    ts = np.asarray(saxe_time(s, SHALLOW, values)) * time_factor
    order = np.argsort(ts, axis=None)
    found = two_layers(sizes, tuple(ts.ravel()[order]))
    rows, mode = np.unravel_index(order, ts.shape)
    expected = values[rows, mode]
    return np.abs(found[np.arange(len(order)), mode] - expected) / expected


@once
def deep_flow(sizes: Sizes, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The strengths of the targets' modes, times, and the modes of a deep network then."""
    data, s, network = balanced(sizes, depth)
    ts = np.linspace(0.2, 2, 16) * float(deep_mode_time(0.9 * s[-1], s[-1], DEEP, depth))
    return s, ts, followed(data, network, ts)


@agreement(
    paper,
    "a' = L a^(2 - 2/L) (s - a) of L layers",
    name="deep_modes",
    source="section 2, (15)",
    latex=r"\dot a = L\, a^{2 - 2/L} (s - a)",
    **FORMULA,
)
def deep(sizes: Sizes, time_factor: float) -> np.ndarray:
    """Three and five layers against the time integral."""
    errors = []
    for depth in (3, 5):
        s, ts, a = deep_flow(sizes, depth)
        for i, strength in enumerate(s):
            # Up to where the time of a value is well conditioned.
            rows = a[:, i] < 0.99 * strength
            when = deep_mode_time(a[rows, i], strength, DEEP, depth) / time_factor
            errors.append(np.abs(when - ts[rows]) / ts[rows])
    return np.concatenate(errors)


@once
def descended(sizes: Sizes, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The strengths of the targets' modes, steps, and the modes of a network after them."""
    data, s, network = balanced(sizes, depth)
    descent = gradient_descent(
        network, data, optax.sgd, learning_rate=RATE, steps=STEPS, measures=[Product()]
    )
    return (
        s,
        np.round(np.asarray(descent.ts) / RATE).astype(int),
        strengths(data, descent.measures["product"]),
    )


@agreement(
    paper,
    "w <- w + eta w^(L-1) (s - w^L) in every mode, for gradient descent of L layers of mode w",
    source="descent on its energy, (14)",
    provenance="derived",
    latex=r"w \leftarrow w + \eta\, w^{L - 1} \left(s - w^L\right)",
    noun="step size",
    moved="with {:.12g} eta for eta",
    **FORMULA,
)
def descent(sizes: Sizes, time_factor: float) -> np.ndarray:
    """Gradient descent of 2 and 4 layers against the recurrence of each mode's weight."""
    errors = []
    for depth in (2, 4):
        s, steps, found = descended(sizes, depth)
        w, path = np.full(s.shape, DEEP ** (1 / depth)), []
        for _ in range(STEPS + 1):
            path.append(w**depth)
            w = w + time_factor * RATE * w ** (depth - 1) * (s - w**depth)
        expected = np.asarray(path)[steps]
        errors.append(np.abs(found - expected) / expected)
    return np.concatenate(errors)
