"""Activations: the functions that hidden units apply to their preactivations z."""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..machine.arguments import function, integer, number, shown


def rounded(z: Array, smoothing: float) -> Array:
    """`max(z, 0)`, whose kink is replaced by a parabola over `|z| <= smoothing`."""
    return jax.nn.relu(z) if smoothing == 0 else _rounded(z, smoothing)


# With a derivative of its own: nothing in it is a kink.
@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _rounded(z: Array, d: float) -> Array:
    return jnp.where(jnp.abs(z) < d, (jnp.clip(z, -d, d) + d) ** 2 / (4 * d), jax.nn.relu(z))


def _along(d: float, z: Any, along: Any) -> tuple[Array, Array]:
    return _rounded(*z, d), jnp.clip((z[0] + d) / (2 * d), 0, 1) * along[0]


_rounded.defjvp(_along)


class ReLU(eqx.Module):
    """`max(z, 0)^power`, whose derivative at z = 0 is 0.

    The gradient flow of a network with a kink is a differential inclusion: a kink that meets a
    sample may stay at it, with a derivative between the two one-sided ones, and a solver for smooth
    equations gets stuck there. `gradient_flow(..., formulation="filippov")` follows it exactly.

    With `smoothing` > 0 a parabola replaces the kink over `|z| <= smoothing`, and the flow is an
    ordinary differential equation. While preactivations are far larger than the smoothing, the
    limit of the flow changes about in proportion to it: for 1e-3, and preactivations of size 1, by
    7e-4 of the targets with 40 units and by 3e-5 with 640. After a small initialization, whose
    preactivations are below the smoothing, the limit may be a different one: every unit then has
    some gradient at every sample, and units that are dead without smoothing grow. Choose the
    smoothing far below the smallest initial preactivation, or zero. An implicit step may jump over
    a kink, which costs an error of about a hundred times rtol in the limit.

    **Arguments:** `power`, a positive integer; `smoothing`, in units of z, zero for any power > 1.
    """

    power: int = eqx.field(default=1, static=True)
    smoothing: float = eqx.field(default=0.0, static=True)

    def __check_init__(self):
        integer("power", self.power)
        _smoothing(self.smoothing)
        if self.power > 1 and self.smoothing:
            raise ValueError("Only power 1 has a kink: use smoothing=0 with any other.")

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        return rounded(z, self.smoothing) ** self.power


class LeakyReLU(eqx.Module):
    """z where z > 0, else `slope z`; `smoothing` means the same as in `ReLU`."""

    slope: float = eqx.field(default=0.01, static=True)
    smoothing: float = eqx.field(default=0.0, static=True)

    def __check_init__(self):
        number("slope", self.slope)
        _smoothing(self.smoothing)

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.slope * z + (1 - self.slope) * rounded(z, self.smoothing)


def _smoothing(smoothing: float) -> None:
    must = "be a finite number, zero or more"
    number("smoothing", smoothing, must, lambda x: 0 <= x < math.inf)


class Tanh(eqx.Module):
    """`tanh(z)`."""

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.tanh(z)


class Swish(eqx.Module):
    """`z / (1 + exp(-z))`."""

    def __call__(self, z: Float[Array, "..."]) -> Float[Array, "..."]:
        return jax.nn.silu(z)


def _gelu(z: Array) -> Array:
    return jax.nn.gelu(z, approximate=False)


NAMES = {
    "relu": ReLU(),
    "leaky_relu": LeakyReLU(),
    "tanh": Tanh(),
    "swish": Swish(),
    "silu": Swish(),
    "gelu": _gelu,  # z times the normal distribution function
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "hardtanh": jax.nn.hard_tanh,
    "erf": jax.scipy.special.erf,
}


def by_name(activation: Any) -> Any:
    """The activation of this name (see `NAMES`); a function is returned as it is."""
    if not isinstance(activation, str):
        return function("activation", activation, "activation(z), entry by entry")
    if activation not in NAMES:
        raise ValueError(
            f"No activation is called {shown(activation)}: choose one of "
            f"{', '.join(map(repr, NAMES))}, or give a function of an array, entry by entry."
        )
    return NAMES[activation]
