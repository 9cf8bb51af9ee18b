"""The network of one hidden layer, of any activation."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..data import Regression
from ..machine.arguments import array
from .activations import LeakyReLU, ReLU, by_name
from .attainable import attainable
from .base import best_fit
from .smoothing import with_rounded_kinks


class ShallowNetwork(eqx.Module):
    r"""`f(x) = sum_i s_i v_i phi(<w_i, x> + b_i) + c`.

    The scales s are constants: 1 in the standard parametrization, where the v are drawn with size
    `h^(-1/2)`, and `h^(-1/2)` in the NTK parametrization. A unit of scale zero is padding.

    **Arguments:**

    - `W`: shape `(h, D)`; `b`: shape `(h,)`; `V`: shape `(m, h)`.
    - `c`: the output bias, shape `(m,)`, or None for a network without one.
    - `scale`: s, shape `(h,)`, or one number for all units; default 1.
    - `activation`: phi, applied entry by entry, or the name of one, such as "gelu" (see
      `activations.NAMES`); default `ReLU()`.
    - `output_only`: whether the flow moves V and c only. It is then linear.

    **Raises:** `ValueError` if the shapes do not fit.
    """

    W: Float[Array, "h D"]
    b: Float[Array, " h"]
    V: Float[Array, "m h"]
    c: Float[Array, " m"] | None
    scale: Float[Array, " h"]
    activation: Callable[[Array], Array]
    output_only: bool = eqx.field(static=True)

    def __init__(
        self,
        W: Any,
        b: Any,
        V: Any,
        c: Any = None,
        *,
        scale: Any = 1.0,
        activation: Callable[[Array], Array] | str | None = None,
        output_only: bool = False,
    ):
        self.W, self.b, self.V = array("W", W), array("b", b), array("V", V)
        self.c = None if c is None else array("c", c)
        scale = jnp.asarray(array("scale", scale), jnp.result_type(self.W))
        if jnp.ndim(scale) and scale.shape[-1:] != jnp.shape(self.b)[-1:]:
            raise ValueError(
                f"scale must be one number, or one per unit, of shape {jnp.shape(self.b)}, got "
                f"shape {scale.shape}."
            )
        self.scale = jnp.broadcast_to(scale, jnp.shape(self.b))
        self.activation = ReLU() if activation is None else by_name(activation)
        self.output_only = output_only

    def __check_init__(self):
        W, b, V = map(jnp.shape, (self.W, self.b, self.V))
        c = V[-2:-1] if self.c is None else jnp.shape(self.c)[-1:]
        if len(W) < 2 or len(V) < 2 or W[-2:-1] != b[-1:] or V[-1:] != b[-1:] or c != V[-2:-1]:
            raise ValueError(
                "ShallowNetwork needs W of shape (h, D), b of shape (h,), V of shape (m, h) and c "
                f"of shape (m,), got {W}, {b}, {V} and {None if self.c is None else c}."
            )

    def __call__(self, x: Float[Array, " D"]) -> Float[Array, " m"]:
        out = self.V @ self.features(x)
        return out if self.c is None else out + self.c

    def features(self, x: Float[Array, " D"]) -> Float[Array, " h"]:
        """`s phi(W x + b)`, the inputs of the output layer."""
        return self.scale * self.activation(self.W @ x + self.b)

    @property
    def width(self) -> int:
        """h, the number of hidden units, padding included."""
        return self.W.shape[-2]

    def trainable(self) -> PyTree[bool]:
        """The filter mask of what the flow moves: all weights, or those of the output layer."""
        every = eqx.tree_at(
            lambda network: [network.W, network.b, network.V, network.scale],
            self,
            [not self.output_only, not self.output_only, True, False],
        )
        # Arrays that an activation holds are part of the function: they do not move.
        none = jax.tree.map(lambda _: False, self.activation)
        every = eqx.tree_at(lambda network: network.activation, every, none)
        return every if self.c is None else eqx.tree_at(lambda network: network.c, every, True)


@best_fit.register
def _(network: ShallowNetwork, data: Regression):
    D, m = network.W.shape[-1], network.V.shape[-2]
    if (D, m) != (data.features, data.outputs):
        raise ValueError(
            f"The network maps R^{D} to R^{m}, but the data has {data.features} features and "
            f"{data.outputs} targets: draw it with init(key, data, width=...)."
        )
    return attainable(network, data)


@with_rounded_kinks.register
def _(network: ShallowNetwork, smoothing: Any) -> ShallowNetwork:
    phi = network.activation
    if not isinstance(phi, ReLU | LeakyReLU):
        phi = with_rounded_kinks(phi, smoothing)
    elif getattr(phi, "power", 1) == 1:
        phi = dataclasses.replace(phi, smoothing=smoothing)
    return ShallowNetwork(
        *(network.W, network.b, network.V, network.c),
        scale=network.scale,
        activation=phi,
        output_only=network.output_only,
    )
