"""Saxe, McClelland, Ganguli: exact learning of balanced modes, and its times."""

from typing import Any

import jax.random as jr
import numpy as np
import optax

from .. import data as problems
from ..claims.agreement import agreement, relative
from ..data import Regression
from ..dynamics import gradient_descent, gradient_flow
from ..measures import Product
from ..networks.init import DeepBalanced, Spectral
from ..theory import deep_mode_time, saxe, saxe_time

SOURCE = "Saxe, McClelland, Ganguli (ICLR 2014)"
ABOUT: dict[str, Any] = {
    "source": SOURCE,
    "hypotheses": "whitened inputs, balanced weights aligned with the singular vectors of W^T Y",
    "tolerance": 1e-9,
}


def _problem(preset: str, seed: int) -> tuple[Regression, np.ndarray]:
    r, m = {"quick": (4, 3), "paper": (8, 7), "large": (40, 30)}[preset]
    data = problems.gaussian(jr.key(seed), r, 2 * r, m, whiten=True)
    return data, np.linalg.svd(np.asarray(data.targets))[1]


def _modes(data: Regression, product: Any) -> np.ndarray:
    """The strengths `A^T Theta B` along the singular vectors of the targets, and the rest of it."""
    A, _, Bt = np.linalg.svd(np.asarray(data.targets), full_matrices=False)
    return np.einsum("ri,...rm,im->...i", A, np.asarray(data.right.T @ product), Bt)


def modes(preset: str, clock: float, seed: int) -> np.ndarray:
    """Two layers against `saxe`."""
    data, s = _problem(preset, seed)
    network = Spectral((0.1, 0.1))(jr.key(seed), data, width=10)
    ts = np.linspace(0.1, 6, 32) / s[-1]
    flow = gradient_flow(network, data, ts=ts, measures=[Product()], rtol=1e-11)
    expected = saxe(clock * ts, s, 0.01)
    return relative(_modes(data, flow.measures["product"])[:, None], np.asarray(expected)[:, None])


def times(preset: str, clock: float, seed: int) -> np.ndarray:
    """The flow at the times at which each mode is to have 1% ... 99% of its strength."""
    data, s = _problem(preset, seed)
    network = Spectral((0.1, 0.1))(jr.key(seed), data, width=10)
    shares = np.linspace(0.1, 0.99, 16)
    values = shares[:, None] * (s - 0.01) + 0.01
    ts = np.asarray(saxe_time(s, 0.01, values)) * clock
    order = np.argsort(ts, axis=None)
    flow = gradient_flow(network, data, ts=ts.ravel()[order], measures=[Product()], rtol=1e-11)
    modes = _modes(data, flow.measures["product"])
    which = np.unravel_index(order, ts.shape)
    found = modes[np.arange(len(order)), which[1]]
    return np.abs(found - values[which]) / values[which]


def deep(preset: str, clock: float, seed: int) -> np.ndarray:
    """Three and five layers against the time integral."""
    data, s = _problem(preset, seed)
    errors = []
    for depth in (3, 5):
        law = DeepBalanced(0.05, aligned=True)
        network = law(jr.key(seed), data, width=6, depth=depth)
        ts = np.linspace(0.2, 2, 16) * float(deep_mode_time(0.9 * s[-1], s[-1], 0.05, depth))
        flow = gradient_flow(network, data, ts=ts, measures=[Product()], rtol=1e-11)
        a = _modes(data, flow.measures["product"])
        for i, strength in enumerate(s):
            # Up to where the time of a value is well conditioned.
            rows = a[:, i] < 0.99 * strength
            when = deep_mode_time(a[rows, i], strength, 0.05, depth) / clock
            errors.append(np.abs(when - ts[rows]) / ts[rows])
    return np.concatenate(errors)


def descent(preset: str, clock: float, seed: int) -> np.ndarray:
    """Gradient descent of 2 and 4 layers against the recurrence of each mode's weight."""
    data, s = _problem(preset, seed)
    rate, steps, errors = 0.01, 1_000, []
    for depth in (2, 4):
        law = DeepBalanced(0.05, aligned=True)
        network = law(jr.key(seed), data, width=6, depth=depth)
        flow = gradient_descent(
            network, data, optax.sgd, learning_rate=rate, steps=steps, measures=[Product()]
        )
        w = np.full(s.shape, 0.05 ** (1 / depth))
        for _ in range(steps):
            w = w + clock * rate * w ** (depth - 1) * (s - w**depth)
        errors.append(np.abs(_modes(data, flow.measures["product"][-1]) - w**depth) / w**depth)
    return np.concatenate(errors)


CLAIMS = (
    agreement(
        "saxe2014.modes",
        "a(t) = s a0 / (a0 (1 - e^(-2 s t)) + s e^(-2 s t))",
        modes,
        **ABOUT,
    ),
    agreement(
        "saxe2014.times",
        "t = log(af (s - a0) / (a0 (s - af))) / (2 s) from a0 to af",
        times,
        **ABOUT,
    ),
    agreement("saxe2014.deep_modes", "a' = L a^(2 - 2/L) (s - a)", deep, **ABOUT),
    agreement(
        "saxe2014.descent",
        "w <- w + eta w^(L-1) (s - w^L) in every mode, for gradient descent of L layers",
        descent,
        **ABOUT,
    ),
)
