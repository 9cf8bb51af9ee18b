"""The least loss that any network can reach, as far as that can be known beforehand."""

from typing import Any

import equinox as eqx
import jax
import jax.extend.core
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._types import Network
from ..data import Regression
from .base import best_fit, entries, predictions, trainable

MOST_ENTRIES = 10**7  # of a Jacobian, beyond which the range of an affine model is not computed


@best_fit.register(object)
def attainable(network: Network, data: Regression) -> Float[Array, "n m"]:
    """The best predictions that the trained parameters could possibly make, a lower bound.

    Samples with the same input get the same prediction: no network does better than the mean of
    their targets. If the predictions are affine in the trained parameters, `f = f(0) + J theta`
    (a linear layer; any network of which the last layer alone is trained), the best are the
    projection of the targets on the range of J, which the flow reaches.
    """
    parameters, rest = eqx.partition(network, trainable(network))

    def f(parameters: PyTree[Array]) -> Float[Array, "n m"]:
        return predictions(eqx.combine(parameters, rest), data.X)

    size = entries(parameters)
    if data.Y.size * size > MOST_ENTRIES or not _affine(f, parameters):
        return data.means
    zero = jax.tree.map(jnp.zeros_like, parameters)
    start = f(zero)
    jacobian = jax.jacrev(f) if data.Y.size <= size else jax.jacfwd(f)
    leaves = jax.tree.leaves(jacobian(zero))
    J = jnp.concatenate([leaf.reshape(data.Y.size, -1) for leaf in leaves], axis=1)
    left, s, _ = jnp.linalg.svd(J, full_matrices=False)
    kept = s > max(J.shape) * jnp.finfo(s.dtype).eps * s[0]
    left = jnp.where(kept[None], left, 0)
    gap = (data.Y - start).reshape(-1)
    return start + (left @ (left.T @ gap)).reshape(start.shape)


def _affine(f: Any, parameters: PyTree[Array]) -> bool:
    """Whether the derivative of f does not depend on the parameters, read off its program.

    Inner programs count as dependent on all that they read, so that False may be said of an affine
    function, and True is never said of another one.
    """

    def change(at: Any, direction: Any) -> Any:
        return jax.jvp(f, (at,), (direction,))[1]

    program = jax.make_jaxpr(change)(parameters, parameters).jaxpr
    needed = {v for v in program.outvars if not isinstance(v, jax.extend.core.Literal)}
    for equation in reversed(program.eqns):
        if needed.intersection(equation.outvars):
            read = (v for v in equation.invars if not isinstance(v, jax.extend.core.Literal))
            needed.update(read)
    return not needed.intersection(program.invars[: len(jax.tree.leaves(parameters))])
