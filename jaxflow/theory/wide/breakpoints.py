"""A shallow ReLU network of one input as a spline: its breakpoints and changes of slope."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from ...data import Regression
from ...networks import ShallowNetwork, trainable
from ...networks.init import Shallow


class Breakpoints(eqx.Module):
    r"""The network as the spline `f(x) = sum_i mu_i (x - xi_i) 1[o_i (x - xi_i) > 0]`.

    **Attributes**, all of shape (h,), one entry per hidden unit: the breakpoint `xi = -b / w`,
    infinite where w = 0; the delta-slope `mu = s w v`, the change of slope there; the
    `orientation` `o = sign(w)`; and the `invariant` `v^2 - w^2 - b^2`, which the gradient flow of
    any loss conserves.

    **Source:** derived, in the terms of Sahs et al. (2022).
    """

    xi: Float[Array, " h"]
    mu: Float[Array, " h"]
    orientation: Float[Array, " h"]
    invariant: Float[Array, " h"]


def breakpoints(network: ShallowNetwork) -> Breakpoints:
    """The breakpoints and delta-slopes of a network of one input and one output.

    **Raises:** `ValueError` for any other network.
    """
    if network.W.shape[-1] != 1 or network.V.shape[-2] != 1:
        raise ValueError(
            "Breakpoints are defined for networks of one input and one output, got "
            f"{network.W.shape[-1]} and {network.V.shape[-2]}."
        )
    w, b, v = network.W[:, 0], network.b, network.V[0]
    moving = w != 0
    xi = jnp.where(moving, -b / jnp.where(moving, w, 1), jnp.inf)
    return Breakpoints(xi, network.scale * w * v, jnp.sign(w), v**2 - w**2 - b**2)


def delta_slope_velocity(
    network: ShallowNetwork, data: Regression
) -> tuple[Float[Array, " h"], Float[Array, " h"]]:
    r"""The velocities `(xi', mu')` under the gradient flow of `L = 1/2 ||Y - f(X)||^2`.

    With r = f(X) - y, s the scale of a unit, and sums over the samples on its active side,

        `xi' = s (v / w) (sum r + xi sum r x)`,
        `mu' = -s^2 (v^2 + w^2) sum r x - s^2 w b sum r`.

    **Source:** derived, in the terms of Sahs et al. (2022).
    """
    points = breakpoints(network)
    w, b, v, s, x = network.W[:, 0], network.b, network.V[0], network.scale, data.X[:, 0]
    r = jax.vmap(network)(data.X)[:, 0] - data.Y[:, 0]
    active = (w[:, None] * x[None] + b[:, None] > 0).astype(x.dtype)
    total, first = active @ r, active @ (r * x)
    xi = s * v / w * (total + points.xi * first)
    return xi, -(s**2) * ((v**2 + w**2) * first + w * b * total)


def initial_density(init: Shallow, xi: ArrayLike, mu: ArrayLike, *, width: int) -> np.ndarray:
    r"""The joint density of breakpoint and delta-slope at the start, at points (xi, mu != 0).

    It is the quadrature of `p(xi, mu) = E_w p_b(xi w) p_v(mu / w)`, with p_b and p_v the densities
    of b and of s v. For three normal laws xi is a Cauchy variable of scale s_b / s_w and mu, given
    xi, a Laplace variable, with the joint density

        `exp(-|mu| R / (s_b s_v s_w)) / (2 pi s_v R)`,  `R = sqrt(s_b^2 + s_w^2 xi^2)`;

    for three uniform laws it is `(min(a_b / |xi|, a_w) - |mu| / a_v)_+ / (4 a_b a_w a_v)`.

    **Source:** derived, in the terms of Sahs et al. (2022).
    """
    size = _unit_size(init, width)

    def at(x: float, m: float) -> float:
        def given(w: float) -> Any:
            if w == 0:
                return 0.0
            return float(init.biases.density(np.asarray(x * w))) * float(
                init.outputs.density(np.asarray(m / (w * size))) / size
            )

        breaks = [init.biases.support / abs(x)] if x != 0 else []
        breaks += [abs(m) / (size * init.outputs.support)]
        finite = [b for b in breaks if math.isfinite(b) and b > 0]
        return float(init.weights.expect(given, finite))

    return np.vectorize(at, otypes=[float])(np.asarray(xi, float), np.asarray(mu, float))


def _unit_size(init: Shallow, width: int) -> float:
    """The ratio of s v to a draw of the law of v."""
    return width**-0.5 * (0.5**0.5 if init.antisymmetric else 1.0)


def roughness(network: ShallowNetwork) -> Float[Array, ""]:
    r"""`sum mu_i^2`, whose mean is 4 for He's initialization and about 4 / h for Glorot's.

    **Source:** derived, after Sahs et al. (2022).
    """
    return jnp.sum(breakpoints(network).mu ** 2)


def flat_directions(network: ShallowNetwork, units: ArrayLike) -> Float[Array, "k P"]:
    r"""The directions of `(w, b, v) -> (c w, c b, v / c)`, which leave a ReLU network unchanged.

    Wherever the gradient is zero they are null directions of the Hessian.

    **Arguments:** a `network` with P parameters, and the numbers of k hidden `units`.

    **Returns:** one unit vector per hidden unit, along `(w_i, b_i, -v_i)`, in the flattened
    parameters.

    **Source:** derived, after Sahs et al. (2022).
    """
    parameters, _ = eqx.partition(network, trainable(network))

    def direction(i: Array) -> Array:
        one = (jnp.arange(network.width) == i).astype(network.b.dtype)
        zero = jax.tree.map(jnp.zeros_like, parameters)
        moved = eqx.tree_at(
            lambda p: (p.W, p.b, p.V),
            zero,
            (one[:, None] * network.W, one * network.b, -one[None] * network.V),
        )
        flat = jax.flatten_util.ravel_pytree(moved)[0]
        return flat / jnp.linalg.norm(flat)

    return jax.vmap(direction)(jnp.asarray(units))
