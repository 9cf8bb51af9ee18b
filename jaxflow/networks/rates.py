"""Parameters that move at different rates: time scales, or learning rates, of their own."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._types import Network
from ..machine.arguments import positive
from ..machine.user_files import sentence
from .adopt import Where
from .base import is_parameter, trainable


class Rated(eqx.Module):
    """A network that holds `phi = theta / sqrt(d)` for its parameters theta; see `with_rates`."""

    scaled: Network
    roots: PyTree[Array]  # sqrt(d) of every leaf, or None

    @property
    def network(self) -> Network:
        """The network itself, with the parameters theta."""
        return _times(self.roots, self.scaled)

    def __call__(self, x: Float[Array, " D"]) -> Array:
        return self.network(x)

    def trainable(self) -> PyTree[bool]:
        """The mask of the parameters that move: those of the network."""
        none = jax.tree.map(lambda _: False, self)
        return eqx.tree_at(lambda n: n.scaled, none, trainable(self.scaled))


def _scaled(root: float, part: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(lambda leaf: root * leaf, part)


def _times(roots: PyTree, network: Network) -> Network:
    return jax.tree.map(
        lambda root, leaf: leaf if root is None else root.astype(leaf.dtype) * leaf,
        roots,
        network,
        is_leaf=lambda node: node is None,
    )


def with_rates(network: Network, *rates: tuple[Where, float]) -> Rated:
    r"""The network whose parameters move at rates of their own: `theta' = -D grad L(theta)`.

    D is diagonal. In the coordinates `phi = D^(-1/2) theta` this is the gradient flow of phi, which
    every solver, optimizer and sweep can follow; descent of rate eta moves theta at rate eta d.
    Gradients, kernels and Hessians are those in phi: `until.gradient_norm` sees `|D^(1/2) grad L|`.

    **Arguments:** the `network`; and pairs `(where, d)`, with `where(network)` some of its
    parameters as in `gradient_flow`, and d > 0. Rates of parameters that are named twice are
    multiplied; others have rate 1.

    **Returns:** a network whose attribute `network` is the given one, with theta: after a flow it
    is `sol.network.network`.

    **Raises:** `ValueError` for rates that are not positive, and for what selects no parameters.

    **Example:** the first layer learns ten times as fast as the second.

    >>> import equinox as eqx
    >>> import jax
    >>> import jaxflow as jf
    >>> network = eqx.nn.MLP(3, 1, 8, 1, key=jax.random.key(0))
    >>> fast = jf.with_rates(network, (lambda n: n.layers[0], 10.0))
    >>> round(float(fast.roots.layers[0].weight) ** 2, 3)
    10.0
    """
    ones = jax.tree.map(lambda leaf: jnp.ones(()) if is_parameter(leaf) else None, network)
    for where, rate in rates:
        positive("a rate", rate)
        try:
            ones = eqx.tree_at(
                where, ones, replace_fn=functools.partial(_scaled, float(rate) ** 0.5)
            )
        except Exception as error:
            raise ValueError(
                "with_rates takes pairs (where, rate), where(network) some of its parameters, "
                f"such as lambda network: network.layers[-1]: {sentence(error)}"
            ) from error
    inverse = jax.tree.map(lambda root: 1 / root, ones)
    return Rated(_times(inverse, network), ones)
