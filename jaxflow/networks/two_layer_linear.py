"""The two-layer linear network."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._types import Network
from ..data import Regression
from ..data.regression import problem
from ..machine.arguments import numbers
from .base import WrongNetwork


class TwoLayerLinear(eqx.Module):
    r"""`f(x) = V U^T x`: a linear predictor `Theta = U V^T` in factorized form.

    **Arguments:**

    - `U`: input weights, shape `(D, h)`.
    - `V`: output weights, shape `(m, h)`.

    **Raises:** `ValueError` if the two widths differ or the width is 0.

    **Example:**

    >>> import jax.numpy as jnp
    >>> import jaxflow as jf
    >>> network = jf.TwoLayerLinear(U=jnp.array([[1.0], [2.0]]), V=jnp.array([[3.0]]))
    >>> network.product.tolist(), network(jnp.array([1.0, 1.0])).tolist()
    ([[3.0], [6.0]], [9.0])
    """

    U: Float[Array, "D h"]
    V: Float[Array, "m h"]

    def __check_init__(self):
        U, V = numbers("U", self.U) or (), numbers("V", self.V) or ()
        if len(U) < 2 or len(V) < 2 or U[-1] != V[-1] or U[-1] == 0:
            raise ValueError(
                "TwoLayerLinear needs U of shape (D, h) and V of shape (m, h) with one and the "
                f"same width h >= 1, got {U} and {V}."
            )

    def __call__(self, x: Float[Array, " D"]) -> Float[Array, " m"]:
        return self.V @ (self.U.T @ x)

    @property
    def width(self) -> int:
        """h, the number of hidden units."""
        return self.V.shape[-1]

    @property
    def product(self) -> Float[Array, "D m"]:
        """`Theta = U V^T`, the end-to-end predictor."""
        return self.U @ self.V.T

    def trainable(self) -> PyTree[bool]:
        """The filter mask of what the flow moves: both layers."""
        return eqx.tree_at(lambda network: (network.U, network.V), self, (True, True))


def span_factors(
    network: Network, data: Regression
) -> tuple[Float[Array, "m h"], Float[Array, "r h"]]:
    """`(V, U1)` with `U1 = Phi^T U`, the part of the input weights on the span of the data."""
    fits(network, data)
    return network.V, data.right.T @ network.U


def fits(network: Network, data: Regression) -> None:
    """Raise `ValueError` unless this is a two-layer linear network of the sizes of the data."""
    problem(data)
    if not isinstance(network, TwoLayerLinear):
        raise WrongNetwork("a two-layer linear network", network)
    D, m = network.U.shape[-2], network.V.shape[-2]
    if (D, m) != (data.features, data.outputs):
        raise ValueError(
            f"The network maps R^{D} to R^{m}, but the data has {data.features} features and "
            f"{data.outputs} targets: draw it with init(key, data, width=...)."
        )


def stack(V: Float[Array, "m h"], U1: Float[Array, "r h"]) -> Float[Array, "m+r h"]:
    """`Z = [V; U1]`, all weights that the data reach; gradient flow never leaves its row space."""
    return jnp.concatenate([V, U1], axis=-2)
