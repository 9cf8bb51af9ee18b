"""Kunin et al.: one linear neuron, lazy, balanced or rich."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ..claims import Paper, once, presets
from ..data import Regression
from ..networks import TwoLayerLinear
from ..theory import kunin
from .settings.agreement import agreement
from .settings.balanced_flow import TIMES, gram_along, whitened

paper = Paper("kunin2024", "Kunin et al. (NeurIPS 2024)", provenance="second-hand")
Start = tuple[float, float]  # the output weight a, and the norm of the input weights w
STARTS: tuple[Start, ...] = ((1.5, 0.2), (0.6, 0.6), (0.2, 1.2))  # lazy, balanced, rich


@once
def followed(start: Start) -> tuple[np.ndarray, Regression, np.ndarray]:
    """The input weights at the start, the data, and nu along the flow."""
    a, size = start
    data = whitened(40, 4, 1)
    w = jr.normal(jr.key(0), (4,))
    w = size * w / jnp.linalg.norm(w)
    gram = gram_along(TwoLayerLinear(data.right @ w[:, None], jnp.full((1, 1), a)), data)
    # nu = w . b / a = (a w) . b / a^2.
    return np.asarray(w), data, gram[:, 0, 1:] @ np.asarray(data.targets[:, 0]) / gram[:, 0, 0]


_formula = jax.jit(jax.vmap(kunin, in_axes=(None, None, None, 0)))


@agreement(
    paper,
    "nu(t) = (-delta + q tanh(q t/2 + artanh((delta + 2 nu0)/q))) / 2, nu = w . b / a",
    source="as in its authors' notebook",
    latex=r"\nu(t) = \frac{1}{2} \left(-\delta + q \tanh\left(\frac{q t}{2} + "
    r"\operatorname{artanh} \frac{\delta + 2 \nu_0}{q}\right)\right), \qquad \nu = "
    r"\frac{w \cdot b}{a}",
    settings=presets(quick=STARTS, paper=STARTS, large=STARTS),
    hypotheses="one neuron x -> a w . x, whitened inputs, b the targets' coefficients; "
    "delta = a(0)^2 - ||w(0)||^2, q = sqrt(delta^2 + 4 ||b||^2)",
)
def neuron(starts: tuple[Start, ...], time_factor: float) -> np.ndarray:
    """One linear neuron, lazy, balanced and rich."""
    errors = []
    for start in starts:
        w, data, nu = followed(start)
        found = _formula(start[0], w, data.targets[:, 0], time_factor * TIMES)
        errors.append(np.abs(np.asarray(found) - nu) / np.max(np.abs(nu)))
    return np.concatenate(errors)
