"""The border: any network that a user brings, checked, and in the form that all rooms take."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._types import Network
from ..data import Regression
from ..data.regression import problem
from ..machine.arguments import function
from ..machine.user_files import sentence
from .base import best_fit, predictions, trainable

Where = Callable[[Network], Any]


class Plain(eqx.Module):
    """A network made of a function `apply(params, x)`; see `module`."""

    params: PyTree
    apply: Callable[[PyTree, Array], Array]

    def __call__(self, x: Float[Array, " D"]) -> Array:
        return self.apply(self.params, x)


def module(apply: Callable[[PyTree, Array], Array], params: PyTree) -> Plain:
    """The network `x -> apply(params, x)`, for functions and for modules of other libraries.

    **Arguments:** `apply(params, x)` with x of shape (D,), such as `model.apply` of a Flax module,
    or `lambda params, x: model.apply(params, None, x)` of a transformed Haiku function; and the
    `params`, any pytree of arrays.

    **Returns:** an Equinox module that can be given wherever a network can.

    **Example:**

    >>> import jax.numpy as jnp
    >>> import jaxflow as jf
    >>> network = jf.module(lambda p, x: p["w"] @ x, {"w": jnp.ones((1, 2))})
    >>> network(jnp.array([1.0, 2.0])).tolist()
    [3.0]
    """
    return Plain(params, function("apply", apply, "apply(params, x)"))


class Masked(eqx.Module):
    """A network of which only some parameters are trained."""

    network: Network
    moves: tuple[bool, ...] = eqx.field(static=True)  # by leaf

    def __call__(self, x: Float[Array, " D"]) -> Array:
        return self.network(x)

    def trainable(self) -> PyTree[bool]:
        """The mask of the parameters that are trained."""
        return jax.tree.unflatten(jax.tree.structure(self), self.moves)


def bare(network: Network) -> Network:
    """The network itself, without the mask that `adopt` put around it."""
    return network.network if isinstance(network, Masked) else network


def adopt(network: Network, data: Regression, where: Where | None = None) -> Network:
    """The network as it is trained on this data: checked, in the data's precision, masked.

    Its floating-point arrays, NumPy's among them, are converted to the dtype of the data.

    **Arguments:** a `network`, called as `network(x: (D,)) -> (m,)` or, with one output, `-> ()`;
    the `data`; and `where(network)`, the parameters to train, as `equinox.tree_at` takes it.

    **Raises:** `ValueError` for what is no function of x alone, whose outputs do not have the shape
    of the targets, or that has complex or no trainable parameters.
    """
    problem(data)
    name = type(network).__name__
    if not callable(network):
        raise ValueError(
            f"A network is called as network(x), and a {name} cannot be: give an Equinox module, "
            "or jf.module(apply, params)."
        )
    if not jax.tree.leaves(network) or all(leaf is network for leaf in jax.tree.leaves(network)):
        raise ValueError(
            f"{getattr(network, '__qualname__', name)} has no parameters that JAX can see: give an "
            "Equinox module, or jf.module(apply, params) for a function and its parameters."
        )
    _pure(network)
    dtype = data.X.dtype

    def converted(leaf: Any) -> Any:
        if not eqx.is_array(leaf) and not isinstance(leaf, np.ndarray):
            return leaf
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise ValueError(
                f"{name} has complex parameters, and the flow is that of real ones: hold real and "
                "imaginary parts as two real arrays."
            )
        return jnp.asarray(leaf, dtype if jnp.issubdtype(leaf.dtype, jnp.floating) else None)

    network = jax.tree.map(converted, network)
    if where is not None:
        network = _masked(network, where)
    mask = trainable(network)
    if not any(bool(m) for m in jax.tree.leaves(mask)):
        raise ValueError(
            f"{name} has no trainable parameters: they are its arrays of floating-point numbers, "
            "or what its method trainable() or where= names."
        )
    _fits(network, data)
    return network


def _masked(network: Network, where: Where) -> Masked:
    nothing = jax.tree.map(lambda _: False, network)
    try:
        chosen = jax.tree.map(eqx.is_inexact_array, where(network))
        mask = eqx.tree_at(where, nothing, replace=chosen)
    except Exception as error:
        raise ValueError(
            "where= must select parts of the network, such as "
            f"lambda network: network.layers[-1], as equinox.tree_at takes it: {sentence(error)}"
        ) from error
    return Masked(network, tuple(map(bool, jax.tree.leaves(mask))))


def _pure(network: Network) -> None:
    """Raise `ValueError` for a layer that is no function of its input alone."""

    def impure(node: Any) -> bool:
        random = isinstance(node, eqx.nn.Dropout) and not node.inference and node.p != 0
        return random or isinstance(node, eqx.nn.StateIndex | eqx.nn.BatchNorm)

    for node in jax.tree.leaves(network, is_leaf=impure):
        if isinstance(node, eqx.nn.Dropout) and impure(node):
            raise ValueError(
                f"{type(network).__name__} contains Dropout, which draws random numbers at every "
                "call: turn it off by eqx.nn.inference_mode(network)."
            )
        if impure(node):
            raise ValueError(
                f"{type(network).__name__} contains a layer with a state, such as BatchNorm, and "
                "gradient flow needs a function of x alone: use eqx.nn.LayerNorm or GroupNorm, or "
                "bind the state by eqx.nn.inference_mode and a module that calls the layer with it."
            )


def _fits(network: Network, data: Regression) -> None:
    """Raise `ValueError` unless the predictions have the shape of the targets."""
    try:
        out = eqx.filter_eval_shape(predictions, network, data.X)
        shape = out.shape
    except Exception as error:
        if best_fit.dispatch(type(network)) is not best_fit.dispatch(object):
            best_fit(network, data)  # which says it in the words of this family
        raise ValueError(
            f"{type(network).__name__} cannot be called with a sample of {data.features} features, "
            f"x of shape ({data.features},): {sentence(error)}"
        ) from error
    if shape != data.Y.shape:
        raise ValueError(
            f"The network maps {data.features} features to an output of shape {shape[1:]}, but "
            f"the targets have shape {data.Y.shape[1:]}."
        )
    if out.dtype != data.X.dtype:
        raise ValueError(
            f"The network returns numbers of dtype {out.dtype}, and the data has {data.X.dtype}: "
            "let it compute in the dtype of its parameters, which are converted to the data's."
        )
