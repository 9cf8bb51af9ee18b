"""Networks with rounded kinks, and what is known of the kinks of a network."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..machine.arguments import function, positive
from .base import trainable
from .kinks import evaluate, flat, kinked


def smoothed(network: Any, smoothing: Any = 1e-3) -> Any:
    r"""The same network with every kink replaced by a parabola over `|z| <= smoothing`.

    At a kink `f = g + kappa max(z, 0)` with g smooth near z = 0. There `max(z, 0)` is replaced by
    its mean over shifts of z, `(z + d)^2 / (4 d)` for `|z| <= d = smoothing`, which changes f by at
    most `kappa d / 4` and makes its derivative continuous. Rounded are, wherever they stand in the
    program of the call: `relu`, `leaky_relu`, `relu6`, `hard_tanh`, `abs`, `clip`, the larger and
    the smaller of two, and `where(z > k, a, b)` with a and b functions of z entry by entry (`selu`,
    `eqx.nn.PReLU`). Left as they are: what has a derivative of its own (`custom_jvp`, such as
    `logaddexp`), maxima over an axis (max pooling; that of softmax only shifts its arguments),
    `sign` and other jumps, `x * (x > 0)`.

    The flow of the network is then an ordinary differential equation. It is not the flow of the
    network with kinks: choose the smoothing far below the smallest `|z|` that matters, which after
    a small initialization is small itself (see `activations.ReLU`). The exact flow of a network of
    one hidden layer is `gradient_flow(..., formulation="filippov")`.

    **Arguments:** a `network`, or an activation: anything that is called with arrays; `smoothing`,
    positive, in units of z.

    **Returns:** a module with the parameters and attributes of `network`, so that `where=`,
    `trainable()`, sweeps and stores treat it alike. A `ShallowNetwork` stays one.

    **Raises:** `ValueError` for what cannot be called, or a smoothing that is not positive.

    **Source:** derived.

    **Example:**

    >>> import jax.numpy as jnp
    >>> import jaxflow as jf
    >>> f = jf.smoothed(jnp.abs, 0.5)
    >>> f(jnp.array([-1.0, 0.0, 2.0])).tolist()
    [1.0, 0.25, 2.0]
    """
    function("network", network, "network(x)")
    return with_rounded_kinks(network, positive("smoothing", smoothing))


@functools.singledispatch
def with_rounded_kinks(network: Any, smoothing: Any) -> Any:
    """`smoothed` of checked arguments. Families whose activations can be rounded register here."""
    return Smoothed(network, smoothing)


class Smoothed(eqx.Module):
    """A network, or an activation, with rounded kinks; see `smoothed`."""

    network: Any
    smoothing: float = eqx.field(static=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _run(self.network, args, kwargs, self.smoothing, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "network":
            raise AttributeError(name)
        return getattr(self.network, name)

    def trainable(self) -> PyTree[bool]:
        """The mask of the parameters of the network that the flow moves."""
        return eqx.tree_at(lambda s: s.network, self, trainable(self.network))


def kink_arguments(network: Any, *args: Any) -> list[Array]:
    """The z of all kinks that `smoothed` would round, at this call; not those inside loops."""
    found: list[Array] = []
    _run(network, args, {}, None, found)
    return found


def tabulated(activation: Any, z: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """The values of an activation at these points; also while something else is traced."""
    program = flat(jax.make_jaxpr(activation)(jax.ShapeDtypeStruct(z.shape, float)))
    with jax.ensure_compile_time_eval():
        return np.asarray(evaluate(program, [jnp.asarray(z, float)], None, None)[0])


def has_kinks(call: Any, *args: Any) -> bool:
    """Whether the program of this call has kinks that `smoothed` would round."""
    return kinked(eqx.filter_make_jaxpr(call)(*args)[0])


def _run(network: Any, args: Any, kwargs: Any, smoothing: float | None, found: Any) -> Any:
    """The value of this call, with rounded kinks if there is a smoothing."""

    def call(network: Any, args: Any, kwargs: Any) -> Any:
        return network(*args, **kwargs)

    given = network, args, kwargs
    program, shapes, static = eqx.filter_make_jaxpr(call)(*given)
    arrays = jax.tree.leaves(eqx.filter(given, eqx.is_array))
    out = evaluate(flat(program), arrays, smoothing, found)
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(shapes), out), static)
