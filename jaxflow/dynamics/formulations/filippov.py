"""The exact gradient flow of a ReLU network of one hidden layer, in the sense of Filippov."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ...data import Regression
from ...networks import best_fit, trainable
from ...networks.adopt import bare
from ...networks.hidden_layer import Gate, HiddenLayer, kink
from ...networks.losses import SquaredLoss
from .base import norm, split
from .general import DenseKernel, Residual
from .residual import ResidualState

# What a unit does at a sample. The first two are also the derivative of max(z, 0).
OFF, ON, SLIDES = 0, 1, 2
ROUNDS = 20  # of the search for the multipliers of all kinks

Modes = Int[Array, "n h"]
Kinks = Float[Array, "n h"]


class Filippov(Residual):
    r"""The parameters and the residual of a network of one hidden layer of (leaky) ReLUs.

    Unit i has the preactivation `z_ki = <w_i, x_k> + b_i` at sample k, and
    `phi(z) = max(z, 0) + a min(z, 0)`. With `g_ki` the derivative of -L by `phi(z_ki)` the flow of
    (w_i, b_i) is `sum_k u_ki (x_k, 1)`, `u_ki = g_ki s_ki`, where s = 1 if z > 0, s = a if z < 0,
    and at z = 0 any s in [a, 1]: a differential inclusion. Its solution in the sense of Filippov
    stays at a kink if both sides push towards it. Then z' = 0, which determines s. With
    `G_kl = <x_k, x_l> + 1` one has `z'_i = G u_i`, and g_ki < 0 at a kink where it can stay; there
    z' > 0 only if s = 1, and z' < 0 only if s = a. These are the conditions for u_i, with the other
    entries fixed, to minimize `1/2 <u, G u>` over the box with sides [g_ki, a g_ki]: the velocity
    is the shortest one that is admitted, and it is unique. A kink with g_ki >= 0 is passed. At the
    start s = a where z = 0, unless z grows.

    Between events, with every (k, i) off, on or sliding, the flow is smooth (`in_modes`); the
    solver locates events (`integrators/sliding.py`). Derivatives of a solution are those between
    events: how the times of events move is left out.

    **Source:** Filippov, Differential Equations with Discontinuous Righthand Sides (1988), for the
    notion of solution; the rest is derived.
    """

    name: ClassVar[str] = "filippov"
    layer: HiddenLayer = eqx.field(static=True)
    slope: float = eqx.field(static=True)
    inputs: Float[Array, "n d"]  # by which z moves with the parameters: x_k, 1, or both
    modes: Any = None  # (n, h), or None: as the signs of z say

    @classmethod
    def applies(cls, network: Any, data: Regression, loss: Any) -> bool:
        return isinstance(loss, SquaredLoss) and kink(network) is not None and any(_moves(network))

    @classmethod
    def build(cls, network: Any, data: Regression, loss: Any) -> "Filippov":
        found = kink(network)
        assert found is not None
        ones = jnp.ones((data.samples, 1), data.X.dtype)
        columns = [x for x, moves in zip((data.X, ones), _moves(network), strict=True) if moves]
        frozen = split(network)[1]
        return cls(data, frozen, best_fit(network, data), *found, jnp.concatenate(columns, axis=1))

    def in_modes(self, modes: Modes) -> "Filippov":
        """The smooth flow as long as every unit keeps its mode at every sample."""
        return eqx.tree_at(lambda f: f.modes, self, modes, is_leaf=lambda x: x is None)

    # The smooth flow

    def predict(self, parameters: PyTree[Array]) -> Float[Array, "n m"]:
        if self.modes is None:
            return super().predict(parameters)
        return self._gated(parameters, jnp.zeros(self.modes.shape, self.inputs.dtype))

    def _gains(self, modes: Modes) -> Kinks:
        """The derivative of the activation; zero where it is not known, and z is."""
        gains = jnp.asarray([self.slope, 1.0, 0.0], self.inputs.dtype)
        return gains[modes]

    def _gated(self, parameters: PyTree[Array], shift: Kinks) -> Float[Array, "n m"]:
        """`f(X)` with `gain z + shift` for the activation."""
        network = bare(eqx.combine(parameters, self.frozen))

        def one(x: Array, gain: Array, shift: Array) -> Array:
            return jnp.atleast_1d(self.layer.replaced(network, Gate(gain, shift))(x))

        return jax.vmap(one)(self.data.X, self._gains(self.modes), shift)

    def velocity_and_decay(
        self, weights: PyTree[Array], E: Float[Array, "n m"]
    ) -> tuple[PyTree[Array], Float[Array, "n m"]]:
        if self.modes is None:
            return super().velocity_and_decay(weights, E)
        _, pull = jax.vjp(self.predict, weights)
        (velocity,) = pull(E)
        velocity = self.pushed(velocity, self._holding(-self._rates(velocity)))
        _, decay = jax.jvp(self.predict, (weights,), (velocity,))
        return velocity, decay

    def kernel(self, weights: PyTree[Array]) -> DenseKernel:
        if self.modes is None:
            return super().kernel(weights)
        every = jnp.eye(self.goal.size, dtype=self.goal.dtype).reshape(-1, *self.goal.shape)
        columns = jax.vmap(lambda E: self.velocity_and_decay(weights, E)[1])(every)
        return DenseKernel.of(columns.reshape(self.goal.size, -1))

    @property
    def implicit_cost(self) -> float:
        return 1.5 + self.goal.size / 50  # events are most of a step of either kind

    # The kinks

    def preactivations(self, weights: PyTree[Array]) -> Kinks:
        """z, for every sample and unit."""
        W, b = self.layer.parameters(bare(eqx.combine(weights, self.frozen)))
        z = self.data.X @ W.T
        return z if b is None else z + b[None]

    def pulls(self, weights: PyTree[Array], E: Float[Array, "n m"]) -> Kinks:
        """g: the derivative of -L by what each unit puts out at each sample."""
        zeros = jnp.zeros((self.data.samples, self._units(weights)), self.inputs.dtype)
        form = self if self.modes is not None else self.in_modes(zeros.astype(jnp.int8))
        _, pull = jax.vjp(lambda shift: form._gated(weights, shift), zeros)
        return pull(E)[0]

    def multipliers(self, g: Kinks, modes: Modes) -> tuple[Kinks, Kinks]:
        """u, and z': those of sliding kinks keep them where they are."""
        form = self.in_modes(modes)
        u = g * self._gains(modes)
        u = u + form._holding(-(self._gram @ u))
        return u, self._gram @ u

    def bounds(self, g: Kinks) -> tuple[Kinks, Kinks]:
        """Between which u may be where a kink slides."""
        return jnp.minimum(g, 0), jnp.where(g < 0, self.slope * g, jnp.zeros_like(g))

    def settled(self, z: Kinks, g: Kinks, modes: Modes, border: Any) -> Modes:
        """The modes with which the flow goes on: consistent with z, and at kinks with z'.

        The kinks of `border` are at z = 0: they slide, or leave to the side to which z' points.
        """
        attracts = g < 0
        side = jnp.where(z > 0, ON, OFF).astype(modes.dtype)
        slides = border & attracts
        modes = jnp.where(slides, SLIDES, jnp.where(modes == SLIDES, SLIDES, side))
        modes = modes.astype(side.dtype)
        low, high = self.bounds(g)

        def improve(carry: Any) -> Any:
            modes, _, rounds = carry
            u, rates = self.multipliers(g, modes)
            here = modes == SLIDES
            new = jnp.where(here & (u < low), ON, jnp.where(here & (u > high), OFF, modes))
            tiny = 64 * jnp.finfo(u.dtype).eps * (jnp.abs(self._gram) @ jnp.abs(u))
            back = (modes == ON) & (rates < -tiny) | (modes == OFF) & (rates > tiny)
            to = jnp.where(attracts, SLIDES, jnp.where(rates > 0, ON, OFF))
            new = jnp.where(border & ~here & back, to, new).astype(modes.dtype)
            return new, jnp.any(new != modes), rounds + 1

        zero = jnp.zeros((), jnp.int32)
        going = (modes, jnp.any(border), zero)
        return jax.lax.while_loop(lambda c: c[1] & (c[2] < ROUNDS), improve, going)[0]

    def start_modes(self, state: ResidualState) -> Modes:
        """The modes at the beginning of the flow."""
        z = self.preactivations(state.weights)
        g = self.pulls(state.weights, state.E.direction)
        border = jnp.abs(z) <= 8 * jnp.finfo(z.dtype).eps * self.reaches * norm(state.weights)
        modes = jnp.where(z > 0, ON, OFF).astype(jnp.int8)
        return self.settled(jnp.where(border, 0, z), g, modes, border)

    def at_kinks(self, weights: PyTree[Array], modes: Modes) -> PyTree[Array]:
        """The nearest weights with z = 0 at all kinks that slide."""
        form = self.in_modes(modes)
        return self.pushed(weights, form._holding(-self.preactivations(weights)))

    @property
    def reaches(self) -> Float[Array, "n 1"]:
        """The length of (x_k, 1): by how much z_k moves with the parameters of a unit."""
        return jnp.sqrt(jnp.sum(self.inputs**2, axis=1, keepdims=True))

    @property
    def _gram(self) -> Float[Array, "n n"]:
        return self.inputs @ self.inputs.T

    def _units(self, weights: PyTree[Array]) -> int:
        return self.layer.parameters(bare(eqx.combine(weights, self.frozen)))[0].shape[0]

    def _rates(self, velocity: PyTree[Array]) -> Kinks:
        """z' of this velocity."""
        W, b = self.layer.parameters(bare(velocity))
        z = jnp.zeros((self.data.samples, 1), b.dtype) if W is None else self.data.X @ W.T
        return z if b is None else z + b[None]

    def pushed(self, tree: PyTree[Array], u: Kinks) -> PyTree[Array]:
        """The tree with `sum_k u_ki (x_k, 1)` added to the parameters of each unit i."""
        parts = self.layer.parameters(bare(tree))
        added = (u.T @ self.data.X, jnp.sum(u, axis=0))
        new = [p + a for p, a in zip(parts, added, strict=True) if p is not None]
        return eqx.tree_at(
            lambda t: [p for p in self.layer.parameters(bare(t)) if p is not None], tree, new
        )

    def _holding(self, wanted: Kinks) -> Kinks:
        """The u, zero but at sliding kinks, with `G u = wanted` there."""
        slides = (self.modes == SLIDES).astype(wanted.dtype)

        def matrix(u: Kinks) -> Kinks:
            return slides * (self._gram @ (slides * u)) + (1 - slides) * u

        most = 2 * min(self.inputs.shape) + 2
        solve = lambda matrix, b: _conjugate_gradients(matrix, b, most)  # noqa: E731
        return jax.lax.custom_linear_solve(matrix, slides * wanted, solve, symmetric=True)


def _moves(network: Any) -> tuple[bool, bool]:
    """Whether the weights of the hidden layer move, and its biases."""
    found, mask = kink(network), trainable(network)
    assert found is not None
    W, b = found[0].parameters(bare(mask))
    return bool(W), b is not None and bool(b)


def _conjugate_gradients(matrix: Callable[[Kinks], Kinks], b: Kinks, most: int) -> Kinks:
    """The solution unit by unit, each to rounding. Where nothing slides it takes no steps."""
    goal = (16 * float(jnp.finfo(b.dtype).eps)) ** 2 * _sums(b * b)

    def improve(carry: Any) -> Any:
        x, r, p, square, n = carry
        image = matrix(p)
        curvature = _sums(p * image)
        on = (square > goal) & (curvature > 0)
        step = jnp.where(on, square / jnp.where(on, curvature, 1), 0)
        x, r = x + step * p, r - step * image
        new = jnp.where(on, _sums(r * r), 0)
        return x, r, r + new / jnp.where(on, square, 1) * p, new, n + 1

    start = jnp.zeros_like(b), b, b, _sums(b * b), jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(lambda c: jnp.any(c[3] > goal) & (c[4] < most), improve, start)[0]


def _sums(x: Kinks) -> Float[Array, "1 h"]:
    return jnp.sum(x, axis=0, keepdims=True)
