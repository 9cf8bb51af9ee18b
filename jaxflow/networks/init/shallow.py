"""The initialization of the network of one hidden layer."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from ...data import Regression
from ...data.regression import problem
from ...machine.arguments import instance, shown
from ...machine.keys import Key, as_key
from ..activations import ReLU, by_name
from ..shallow import ShallowNetwork
from .base import Initialization, integer_width
from .laws import Law, Uniform


class Shallow(Initialization):
    r"""Independent hidden units: `f(x) = sum_i s_i v_i phi(<w_i, x> + b_i)`.

    **Arguments:** the laws of the `weights` w, the `biases` b and the `outputs` v (see `Law`), and

    - `parametrization`: "standard", where v has its law times `h^(-1/2)` and s = 1, so that the
      output layer contributes order h to the tangent kernel and the hidden layer order 1; or
      "ntk", where `s = h^(-1/2)` and both contribute alike.
    - `antisymmetric`: two copies of h units, `f = (f_1 - f_2) / sqrt(2)`, so that f = 0 at the
      start while the tangent kernel is that of one copy. The network then has 2 h units.
    - `activation`: phi, or its name as in `ShallowNetwork`; default a ReLU whose kink is smoothed
      over 1e-3.
    - `output_only`: the flow moves the output layer only.
    - `intercept`: an output bias c, zero at the start, which adds 1 to the tangent kernel.

    The draw of a unit depends on the key and the number of the unit, not on the width. With a
    `room` the network has the units `first, ..., first + room - 1`, and those from `width` on have
    scale 0, which makes them padding.

    **Source:** Jin and Montufar (JMLR 2023), sections 2 and 3.
    """

    weights: Law = Uniform(1.0)
    biases: Law = Uniform(2.0)
    outputs: Law = Uniform(1.0)
    parametrization: Literal["standard", "ntk"] = eqx.field(default="standard", static=True)
    antisymmetric: bool = eqx.field(default=True, static=True)
    activation: Callable[[Array], Array] = eqx.field(
        default=ReLU(smoothing=1e-3), converter=by_name
    )
    output_only: bool = eqx.field(default=False, static=True)
    intercept: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        for name in ("weights", "biases", "outputs"):
            instance(name, getattr(self, name), Law, "a law, such as jf.init.Uniform(1.0)")
        if str(self.parametrization) not in ("standard", "ntk"):
            said = shown(self.parametrization)
            raise ValueError(f'parametrization must be "standard" or "ntk", got {said}.')

    rotates: ClassVar[bool] = False

    def bucket(self, width: int, data: Regression) -> dict[str, Any]:
        """The width padded to `room`: a power of four, and beyond 4,096 a power of two."""
        power = (integer_width(width) - 1).bit_length()
        return {"room": 2 ** (power if power > 12 else 2 * math.ceil(power / 2))}

    def __call__(
        self,
        key: Key,
        data: Regression,
        *,
        width: Any,
        room: int | None = None,
        first: Any = 0,
    ) -> ShallowNetwork:
        h = integer_width(width) if room is None else width
        key = as_key(key)
        D, m, dtype, units = problem(data).features, data.outputs, data.X.dtype, room or h

        def unit(i: Array) -> tuple[Array, Array, Array]:
            a, b, c = jr.split(jr.fold_in(key, i), 3)
            bias, outs = self.biases.sample(b, (), dtype), self.outputs.sample(c, (m,), dtype)
            return self.weights.vectors(a, D, dtype), bias, outs

        numbers = first + jnp.arange(units)
        W, b, v = jax.vmap(unit)(numbers)
        V, h = v.T, jnp.asarray(h, dtype)
        there = (numbers.astype(dtype) < h).astype(dtype)
        if self.parametrization == "standard":
            V, scale = V / jnp.sqrt(h), there
        else:
            scale = there / jnp.sqrt(h)
        if self.antisymmetric:
            W, b = jnp.concatenate([W, W]), jnp.concatenate([b, b])
            V = jnp.concatenate([V, -V], axis=1)
            scale = jnp.concatenate([scale, scale]) / jnp.sqrt(jnp.asarray(2, dtype))
        c = jnp.zeros(m, dtype) if self.intercept else None
        return ShallowNetwork(
            W, b, V, c, scale=scale, activation=self.activation, output_only=self.output_only
        )
