"""The gradient flow in multiprecision: slow, and independent of every other solver.

The method is Gragg's extrapolation of the modified midpoint rule, applied to the jaxpr of the
gradient.
"""

from typing import Any

import equinox as eqx
import jax
import mpmath
import numpy as np

from .._types import Network
from ..data import Regression
from ..networks import trainable
from ..networks.base import predictions
from ..networks.losses import SquaredLoss
from .multiprecision import exactly, program

COLUMNS = 9  # midpoint rules with 2, 4, ..., 18 substeps, which give order 18
STEPS = 300  # most steps of a flow; each takes up to a second


def exact_flow(network: Network, data: Regression, t: float, *, digits: int = 30) -> Network | None:
    """The network at the flow time t under the squared loss, its numbers as `mpmath.mpf`.

    The error of a step is below `10^(-2/3 digits)` of the largest parameter.

    **Arguments:** a `network` at time 0 and the `data`, whose numbers count as exact; the time `t`;
    the number of `digits` of the arithmetic.

    **Returns:** the network at time t, or None if more than 300 steps would be needed.
    """
    moving, still = eqx.partition(network, trainable(network))

    def loss(moving: Any, still: Any, X: Any, Y: Any) -> Any:
        return SquaredLoss()(predictions(eqx.combine(moving, still), X), Y)

    rest = eqx.filter(still, eqx.is_array)
    static = eqx.filter(still, eqx.is_array, inverse=True)

    def gradient(moving: Any, rest: Any, X: Any, Y: Any) -> Any:
        return jax.grad(lambda p: loss(p, eqx.combine(rest, static), X, Y))(moving)

    field = program(gradient, moving, rest, data.X, data.Y, digits=digits)
    leaves, structure = jax.tree.flatten(moving)
    shapes = [np.shape(leaf) for leaf in leaves]
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

    def pack(tree: Any) -> np.ndarray:
        return np.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(tree)])

    def unpack(y: np.ndarray) -> Any:
        parts = [p.reshape(s) for p, s in zip(np.split(y, cuts), shapes, strict=True)]
        return jax.tree.unflatten(structure, parts)

    def velocity(y: np.ndarray) -> np.ndarray:
        return -pack(field(unpack(y), rest, data.X, data.Y))

    with mpmath.workdps(digits):
        y = pack(exactly(lambda tree: tree, moving, digits=digits))
        end = _travel(velocity, y, mpmath.mpf(float(t)), mpmath.mpf(10) ** (-2 * digits // 3))
    return None if end is None else eqx.combine(unpack(end), still)


def _travel(velocity: Any, y: np.ndarray, t: Any, tolerance: Any) -> np.ndarray | None:
    done, size = mpmath.mpf(0), max(abs(y).max(), mpmath.mpf(1e-30))
    speed = abs(velocity(y)).max()
    h = min(t, size / speed / 10) if speed > 0 else t
    for _ in range(STEPS):
        h = min(h, t - done)
        new, error = _extrapolated(velocity, y, h)
        share = error / (tolerance * max(abs(new).max(), size))
        if share <= 1:
            y, done = new, done + h
            if done >= t:
                return y
        grow = 4.0 if share == 0 else float(0.9 * share ** (-mpmath.mpf(1) / (2 * COLUMNS - 1)))
        h = h * mpmath.mpf(min(4.0, max(0.2, grow)))
    return None


def _extrapolated(velocity: Any, y: np.ndarray, H: Any) -> tuple[np.ndarray, Any]:
    """One step, and the difference of the last two columns of the extrapolation table."""
    start = velocity(y)
    row: list[np.ndarray] = []
    for j in range(COLUMNS):
        n = 2 * (j + 1)
        h = H / n
        before, now = y, y + h * start
        for _ in range(n - 1):
            before, now = now, before + 2 * h * velocity(now)
        new = [(now + before + h * velocity(now)) / 2]
        for k in range(1, j + 1):
            ratio = (mpmath.mpf(j + 1) / (j + 1 - k)) ** 2
            new.append(new[-1] + (new[-1] - row[k - 1]) / (ratio - 1))
        row = new
    return row[-1], abs(row[-1] - row[-2]).max()
