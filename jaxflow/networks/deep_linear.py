"""The deep linear network."""

import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..data import Regression
from ..machine.arguments import array, instance, numbers
from .base import best_fit, rotate


class DeepLinear(eqx.Module):
    r"""`f(x) = s^L W_L W_(L-1) ... W_1 x`: a linear predictor as a product of L >= 2 layers.

    The scale s multiplies every layer, not the product, so that with the standard parametrization
    nothing overflows at any depth. D is the number of inputs, m of outputs, h of hidden units.

    **Arguments:**

    - `first`: `W_1`, shape `(h, D)`.
    - `hidden`: `W_2 ... W_(L-1)`, shape `(L - 2, h, h)`.
    - `last`: `W_L`, shape `(m, h)`.
    - `scale`: s, a constant that the flow does not change; default 1.

    **Raises:** `ValueError` if the shapes do not fit.
    """

    first: Float[Array, "h D"]
    hidden: Float[Array, "between h h"]
    last: Float[Array, "m h"]
    scale: Float[Array, ""]

    def __init__(self, first: Any, hidden: Any, last: Any, scale: Any = 1.0):
        self.first, self.hidden = array("first", first), array("hidden", hidden)
        self.last = array("last", last)
        self.scale = jnp.asarray(array("scale", scale), jnp.result_type(self.first))

    def __check_init__(self):
        first, hidden, last = map(jnp.shape, (self.first, self.hidden, self.last))
        h = first[-2] if len(first) > 1 else 0
        if h == 0 or len(last) < 2 or last[-1] != h or len(hidden) < 3 or hidden[-2:] != (h, h):
            raise ValueError(
                "DeepLinear needs W_1 of shape (h, D), hidden layers of shape (L - 2, h, h) and "
                f"W_L of shape (m, h), got {first}, {hidden} and {last}."
            )

    @staticmethod
    def of(layers: Sequence[Any], scale: Any = 1.0) -> "DeepLinear":
        """The network of the layers `W_1, ..., W_L`, of any widths.

        Layers narrower than the widest, of width h, are padded with zeros, which stay zero under
        the flow.
        """
        instance("layers", layers, Sequence, "a list of matrices")
        shapes: list[Any] = [numbers("A layer", W) or () for W in layers]
        chained = all(len(shape) == 2 for shape in shapes)
        chained = chained and all(a[0] == b[1] for a, b in itertools.pairwise(shapes))
        if len(layers) < 2 or not chained:
            raise ValueError(
                "Layers must chain, W_1 of shape (h_1, D), W_2 of shape (h_2, h_1) and so on, and "
                f"there must be at least two, got {shapes}."
            )
        h = max(shape[0] for shape in shapes[:-1])
        first = jnp.pad(layers[0], ((0, h - shapes[0][0]), (0, 0)))
        last = jnp.pad(layers[-1], ((0, 0), (0, h - shapes[-1][1])))
        middle = [jnp.pad(W, ((0, h - W.shape[0]), (0, h - W.shape[1]))) for W in layers[1:-1]]
        hidden = jnp.stack(middle) if middle else jnp.zeros((0, h, h), first.dtype)
        return DeepLinear(first, hidden, last, scale)

    def __call__(self, x: Float[Array, " D"]) -> Float[Array, " m"]:
        x = self.scale * (self.first @ x)
        (x, _), _ = jax.lax.scan(_layer, (x, self.scale), self.hidden)
        return self.scale * (self.last @ x)

    @property
    def depth(self) -> int:
        """L, the number of layers."""
        return self.hidden.shape[-3] + 2

    @property
    def width(self) -> int:
        """h, the number of units of a hidden layer."""
        return self.first.shape[-2]

    @property
    def layers(self) -> tuple[Float[Array, "to from"], ...]:
        """`(W_1, ..., W_L)`, without the scale."""
        return (self.first, *(self.hidden[i] for i in range(self.depth - 2)), self.last)

    @property
    def product(self) -> Float[Array, "D m"]:
        """`Theta = (s^L W_L ... W_1)^T`, the end-to-end predictor."""
        back = self.scale * self.last.T
        (back, _), _ = jax.lax.scan(_back, (back, self.scale), self.hidden, reverse=True)
        return self.scale * (self.first.T @ back)

    def trainable(self) -> PyTree[bool]:
        """The filter mask of what the flow moves: all layers, but not the scale."""
        return eqx.tree_at(
            lambda network: (network.first, network.hidden, network.last, network.scale),
            self,
            (True, True, True, False),
        )


# Functions of the module, not of a call: an eager scan over them is compiled once.
def _layer(carry: tuple[Array, Array], W: Array) -> tuple[tuple[Array, Array], None]:
    x, scale = carry
    return (scale * (W @ x), scale), None


def _back(carry: tuple[Array, Array], W: Array) -> tuple[tuple[Array, Array], None]:
    return _layer(carry, W.T)


@best_fit.register
def _(network: DeepLinear, data: Regression):
    D, m = network.first.shape[-1], network.last.shape[-2]
    if (D, m) != (data.features, data.outputs):
        raise ValueError(
            f"The network maps R^{D} to R^{m}, but the data has {data.features} features and "
            f"{data.outputs} targets: draw it with init(key, data, width=..., depth=...)."
        )
    return data.best_fit


@rotate.register
def _(network: DeepLinear, data: Regression) -> DeepLinear:
    rest = data.rotated().features - data.rank
    on_span = network.first @ data.right
    left, s, _ = jnp.linalg.svd(network.first - on_span @ data.right.T, full_matrices=False)
    off_span = (left * s[None])[:, :rest]
    off_span = jnp.pad(off_span, ((0, 0), (0, rest - off_span.shape[1])))
    first = jnp.concatenate([on_span, off_span], axis=1)
    return DeepLinear(first, network.hidden, network.last, network.scale)
