r"""Charts: smooth coordinates on families of networks together with the data they learn from.

A family such as the balanced networks has measure zero among all networks, so that random search
never finds one, and a step along a gradient leaves it. A chart maps free coordinates onto the
family, so that its networks meet the hypothesis for all coordinates. Since inputs, samples and
targets may be rotated, the data are `X = [diag(s), 0]`.
"""

import abc
import itertools
import math
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..data import Regression
from ..networks.deep_linear import DeepLinear
from ..networks.init.two_layer_linear import hyperbolic
from ..networks.two_layer_linear import TwoLayerLinear


class Size(NamedTuple):
    """Dimensions of a problem: rank r of X, outputs m, width h, depth L, inputs off the span."""

    rank: int
    outputs: int
    width: int
    depth: int = 2
    off_span: int = 0


class Chart(eqx.Module):
    """Coordinates of a family: `chart(coordinates, size) -> (network, data)`.

    The coordinates are the arrays that `arrays(size)` names. Each is drawn normal, with a magnitude
    of its own between 10^-2 and 10^1, so that layers of very different sizes occur.
    """

    isotropic: bool = eqx.field(default=False, static=True)  # all singular values of X are 1
    name: ClassVar[str]

    @abc.abstractmethod
    def arrays(self, size: Size) -> dict[str, tuple[int, ...]]:
        """The shapes of the coordinates."""

    @abc.abstractmethod
    def network(self, c: dict[str, Array], size: Size) -> Any:
        """The network with these coordinates; the first r inputs are the span of the data."""

    def sizes(self) -> list[Size]:
        """The dimensions to search, small ones first."""
        grid = [Size(r, m, h) for r in (1, 2, 3) for m in (1, 2, 3) for h in range(1, 7)]
        grid = [size for size in grid if self.admits(size)]
        return sorted(grid, key=lambda size: (size.rank + size.outputs + size.width, size))

    def admits(self, size: Size) -> bool:
        """Whether the family has networks of this size."""
        return True

    def sample(self, key: PRNGKeyArray, size: Size) -> dict[str, Array]:
        """Random coordinates."""
        shapes = self._all(size)
        lengths = [math.prod(shape) for shape in shapes.values()]
        size_key, value_key = jr.split(key)
        # Only two draws, since each takes a second to compile.
        uniform = jr.uniform(size_key, (len(shapes),))
        values = jnp.split(jr.normal(value_key, (sum(lengths),)), np.cumsum(lengths)[:-1])
        out = {}
        for i, (name, shape) in enumerate(shapes.items()):
            # The coordinates of the singular values of X are logarithms.
            magnitude = 1.5 * uniform[i] if name == "s" else 10 ** (3 * uniform[i] - 2)
            out[name] = magnitude * values[i].reshape(shape)
        return out

    def _all(self, size: Size) -> dict[str, tuple[int, ...]]:
        rest = {"E": (size.rank, size.outputs)} | ({} if self.isotropic else {"s": (size.rank,)})
        return self.arrays(size) | rest

    def __call__(self, c: dict[str, Array], size: Size) -> tuple[Any, Regression]:
        network = self.network(c, size)
        r = size.rank
        ones = jnp.ones(r, c["E"].dtype)
        s = ones if self.isotropic else jnp.sort(jnp.exp(c["s"]))[::-1]
        # The residual is a coordinate, so that networks near a minimum are drawn often.
        targets = s[:, None] * network.product[:r] + c["E"]
        return network, Regression.of_spectrum(s, targets, features=r + size.off_span)


class Free(Chart):
    """Any two-layer linear network."""

    name: ClassVar[str] = "any network"

    def arrays(self, size: Size) -> dict[str, tuple[int, ...]]:
        r, m, h = size[:3]
        return {"U": (r + size.off_span, h), "V": (m, h)}

    def network(self, c: dict[str, Array], size: Size) -> TwoLayerLinear:
        return TwoLayerLinear(c["U"], c["V"])


class Balanced(Chart):
    """Two-layer linear networks of zero imbalance, `U1^T U1 = V^T V`."""

    name: ClassVar[str] = "balanced"

    def arrays(self, size: Size) -> dict[str, tuple[int, ...]]:
        r, m, h = size[:3]
        k = min(r, m, h)
        return {"A": (r, k), "B": (m, k), "Q": (h, k), "root": (k,)}

    def network(self, c: dict[str, Array], size: Size) -> TwoLayerLinear:
        A, B, Q = (_frame(c[name]) for name in "ABQ")
        return TwoLayerLinear(_off((A * c["root"][None]) @ Q.T, size), (B * c["root"][None]) @ Q.T)


class LambdaBalanced(Chart):
    """Networks with homogeneous imbalance, `U1^T U1 - V^T V = lam I`, lam of the given sign."""

    name: ClassVar[str] = "lambda-balanced"
    positive: bool = eqx.field(default=True, static=True)

    def admits(self, size: Size) -> bool:
        return size.width <= (size.rank if self.positive else size.outputs)

    def arrays(self, size: Size) -> dict[str, tuple[int, ...]]:
        r, m, h = size[:3]
        rows, partner = (m, r) if self.positive else (r, m)
        return {"free": (rows, h), "O": (partner, h), "root": ()}

    def network(self, c: dict[str, Array], size: Size) -> TwoLayerLinear:
        free = c["free"]
        eye = jnp.eye(size.width, dtype=free.dtype)
        L = jnp.linalg.cholesky(free.T @ free + c["root"] ** 2 * eye)
        partner = _frame(c["O"]) @ L.T
        U1, V = (partner, free) if self.positive else (free, partner)
        return TwoLayerLinear(_off(U1, size), V)


class Prescribed(Chart):
    """Networks of width r + m with any imbalance and product, as in `init.Prescribed`.

    The coordinates are the product and, as their square roots `plus` and `minus`, the eigenvalues
    of the imbalance.
    """

    name: ClassVar[str] = "prescribed imbalance and product"

    def admits(self, size: Size) -> bool:
        return size.width == size.rank + size.outputs

    def arrays(self, size: Size) -> dict[str, tuple[int, ...]]:
        r, m, _ = size[:3]
        return {"A": (r, r), "B": (m, m), "plus": (r,), "minus": (m,), "p": (min(r, m),)}

    def network(self, c: dict[str, Array], size: Size) -> TwoLayerLinear:
        p = jnp.abs(c["p"])
        V, U1 = hyperbolic(c["plus"] ** 2, c["minus"] ** 2, p, size.rank, size.outputs)
        return TwoLayerLinear(_off(_frame(c["A"]) @ U1, size), _frame(c["B"]) @ V)


class DeepFree(Chart):
    """Any deep linear network, of 3 and 4 layers by default."""

    name: ClassVar[str] = "any deep network"

    def sizes(self) -> list[Size]:
        return [s._replace(depth=L) for s in super().sizes() if s.width <= 3 for L in (3, 4)]

    def arrays(self, size: Size) -> dict[str, tuple[int, ...]]:
        r, m, h, L, off = size
        return {"first": (h, r + off), "hidden": (L - 2, h, h), "last": (m, h)}

    def network(self, c: dict[str, Array], size: Size) -> DeepLinear:
        return DeepLinear(c["first"], c["hidden"], c["last"])


class DeepBalanced(Chart):
    """Deep linear networks with `W_(l+1)^T W_(l+1) = W_l W_l^T`, of 2, 3 and 4 layers."""

    name: ClassVar[str] = "balanced"

    def sizes(self) -> list[Size]:
        return [s._replace(depth=L) for s in super().sizes() if s.width <= 3 for L in (2, 3, 4)]

    def arrays(self, size: Size) -> dict[str, tuple[int, ...]]:
        r, m, h = size[:3]
        k = min(r, m, h)
        return {"A": (r, k), "B": (m, k), "Q": (size.depth - 1, h, k), "root": (k,)}

    def network(self, c: dict[str, Array], size: Size) -> DeepLinear:
        A, B, root = _frame(c["A"]), _frame(c["B"]), c["root"]
        Q = [_frame(c["Q"][i]) for i in range(size.depth - 1)]
        hidden = [(b * root[None]) @ a.T for a, b in itertools.pairwise(Q)]
        first = _off(((Q[0] * root[None]) @ A.T).T, size).T
        h = size.width
        stacked = jnp.stack(hidden) if hidden else jnp.zeros((0, h, h), root.dtype)
        return DeepLinear(first, stacked, (B * root[None]) @ Q[-1].T)


def _frame(free: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """Orthonormal columns with the span of the columns of any matrix."""
    return jnp.linalg.qr(free)[0]


def _off(U1: Float[Array, "r h"], size: Size) -> Float[Array, "D h"]:
    return jnp.pad(U1, ((0, size.off_span), (0, 0)))
