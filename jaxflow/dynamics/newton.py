"""Newton's method from where a flow ended: the stationary point nearby, to rounding."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.sparse.linalg import LinearOperator, minres

from .._types import Network
from ..data import Regression
from ..data.regression import problem
from ..machine.arguments import integer
from ..networks.adopt import Where, adopt, bare
from ..networks.curvature import hessian, hessian_product
from ..networks.losses import usable
from .formulations import Parameters

DENSE = 2000  # parameters up to which the Hessian is made as a matrix
HALVINGS = 30  # of a step that does not reduce the gradient


@dataclasses.dataclass(frozen=True)
class Polished:
    """A stationary point of the loss, as `polish` found it.

    **Attributes:** the `network`; its `loss` L; `gradient`, the norm `||grad L||_F`; the number of
    `steps`; and `eigenvalues` (P,), those of the Hessian of L, increasing, or None beyond 2,000
    parameters.
    """

    network: Network
    loss: float
    gradient: float
    steps: int
    eigenvalues: np.ndarray | None

    @property
    def signature(self) -> tuple[int, int, int] | None:
        """How many eigenvalues are negative, zero to rounding, and positive."""
        if self.eigenvalues is None:
            return None
        zero = np.abs(self.eigenvalues) <= _rounding(self.eigenvalues)
        negative = int(np.sum((self.eigenvalues < 0) & ~zero))
        flat = int(zero.sum())
        return negative, flat, len(self.eigenvalues) - negative - flat

    def __repr__(self) -> str:
        kind = ""
        if self.signature is not None:
            negative, flat, positive = self.signature
            kind = f", Hessian {negative} negative, {flat} zero, {positive} positive"
        return (
            f"Polished(L = {self.loss:.6g}, |grad L| = {self.gradient:.3g} after {self.steps} "
            f"steps{kind})"
        )


def polish(
    network: Any,
    data: Regression,
    *,
    loss: Any = None,
    where: Where | None = None,
    steps: int = 50,
) -> Polished:
    """Newton's method on `grad L = 0` from a network, such as the end of a flow.

    A step is `-H^+ grad L`, with the pseudo-inverse of the Hessian H: directions in which H is zero
    to rounding are left as they are. It is halved until the gradient becomes smaller, and the last
    step is the one after which no step makes it smaller. The point may be a saddle: its `signature`
    says so. Beyond 2,000 parameters steps are SciPy's MINRES solutions.

    **Arguments:** `network`, `data`, `loss` and `where`, as in `gradient_flow`; the largest number
    of `steps`.

    **Returns:** a `Polished`.

    **Raises:** `ValueError` as `gradient_flow` does.
    """
    steps, loss = integer("steps", steps), usable(loss, problem(data))
    trained = adopt(network, data, where)
    form: Any = Parameters.build(trained, data, loss)
    flat, unravel = jax.flatten_util.ravel_pytree(form.start(trained))

    def network_at(flat: Array) -> Network:
        return form.lift(unravel(flat), trained)

    def gradient_at(flat: Array) -> np.ndarray:
        return np.asarray(_gradient(form, unravel(flat)))

    gradient, done = gradient_at(flat), 0
    for done in range(steps + 1):
        if done == steps or not np.isfinite(gradient).all():
            break
        direction = _direction(network_at(flat), data, loss, gradient)
        for halving in range(HALVINGS):
            new = flat + 0.5**halving * direction
            there = gradient_at(new)
            if np.linalg.norm(there) < np.linalg.norm(gradient):
                break
        else:
            break
        flat, gradient = new, there
    end = network_at(flat)
    return Polished(
        bare(end),
        float(form.loss(unravel(flat))),
        float(np.linalg.norm(gradient)),
        done,
        np.linalg.eigvalsh(hessian(end, data, loss=loss)) if flat.size <= DENSE else None,
    )


def _rounding(eigenvalues: np.ndarray) -> float:
    """The size up to which an eigenvalue of this Hessian may be rounding."""
    return 10 * len(eigenvalues) * np.finfo(eigenvalues.dtype).eps * np.abs(eigenvalues).max()


def _direction(network: Network, data: Regression, loss: Any, gradient: np.ndarray) -> Array:
    """Newton's step."""
    P = gradient.size
    if P <= DENSE:
        values, vectors = np.linalg.eigh(hessian(network, data, loss=loss))
        kept = np.abs(values) > _rounding(values)
        along = vectors[:, kept]
        return jnp.asarray(-along @ ((along.T @ gradient) / values[kept]))

    def times(v: np.ndarray) -> np.ndarray:
        direction = jnp.asarray(v.reshape(-1), gradient.dtype)
        return np.asarray(hessian_product(network, data, direction, loss=loss))

    operator = LinearOperator((P, P), matvec=times, dtype=gradient.dtype)
    step = minres(operator, gradient, rtol=1e-12, maxiter=5 * P)[0]
    return jnp.asarray(-step, gradient.dtype)


@eqx.filter_jit
def _gradient(form: Parameters, parameters: Any) -> Array:
    """grad L in the flattened parameters."""
    return -jax.flatten_util.ravel_pytree(form.field(0.0, parameters, None))[0]
