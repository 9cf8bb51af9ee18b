"""Preconditioned methods of descent: each is a rule, and has a stable and a central flow."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..machine.arguments import flag, number
from .formulations import Parameters
from .rules import Loss, Rule, flattened


class Progress(eqx.Module):
    """What a method carries: its `state`, and the `sizes` of the last step, `eta P^-1`."""

    state: PyTree
    sizes: Array


class Method(Rule):
    r"""Preconditioned descent, `theta <- theta - P^-1 grad L`, with a preconditioner of its state.

    A method is given by `init`, `update` and `scale`, functions of flat vectors, and its flows
    follow from them. Where the defaults do not fit, it also has a `velocity`, whose second
    derivative in the gradient central flows use, a `heading` and an `edge`.

    `jf.gradient_descent(network, data, method, learning_rate=...)` makes its steps,
    `jf.StableFlow(method)` and `jf.CentralFlow(method)` follow its flows.
    """

    @abc.abstractmethod
    def init(self, theta: Float[Array, " P"]) -> PyTree:
        """The state before the first step."""

    @abc.abstractmethod
    def update(self, state: Any, gradient: Float[Array, " P"]) -> PyTree:
        """The state that the step at this gradient uses, from the state before it."""

    @abc.abstractmethod
    def scale(self, state: Any) -> Any:
        """Step sizes over the learning rate, (P,) or ()."""

    def velocity(self, state: Any, gradient: Float[Array, " P"]) -> PyTree:
        """The time derivative of the state along flows, per step."""
        return jax.tree.map(jnp.subtract, self.update(state, gradient), state)

    def heading(self, state: Any, gradient: Float[Array, " P"]) -> Float[Array, " P"]:
        """What stands for the gradient in a step."""
        return gradient

    @property
    def edge(self) -> Any:
        """The eigenvalue of `P^-1 H` at which steps oscillate, H the Hessian of the loss."""
        return 2.0

    def start(self, form: Parameters, parameters: PyTree[Array], rate: Any) -> Progress:
        loss, flat, _ = flattened(form, parameters)
        state = self.init(flat)
        return Progress(state, rate * self.scale(self.update(state, jax.grad(loss)(flat))))

    def step(
        self, form: Parameters, parameters: Any, state: Any, rate: Any, batch: Loss
    ) -> tuple[PyTree[Array], PyTree]:
        flat, unravel = jax.flatten_util.ravel_pytree(parameters)
        gradient = jax.grad(lambda x: batch(unravel(x)))(flat)
        new = self.update(state.state, gradient)
        sizes = rate * self.scale(new)
        return unravel(flat - sizes * self.heading(new, gradient)), Progress(new, sizes)


class GradientDescent(Method):
    """Gradient descent, `P = 1 / eta`, with eta the learning rate."""

    def init(self, theta: Float[Array, " P"]) -> PyTree:
        return ()

    def update(self, state: Any, gradient: Float[Array, " P"]) -> PyTree:
        return ()

    def scale(self, state: Any) -> Any:
        return 1.0


class Average(eqx.Module):
    """The state of `RMSProp`: the count of its steps and the average of the squared gradient."""

    count: Float[Array, ""]
    square: Array


class RMSProp(Method):
    r"""RMSProp: `theta <- theta - eta grad L / sqrt(nu)`, with the average nu of squared gradients.

    `nu <- beta2 nu + (1 - beta2) (grad L)^2` before the step. The square is entry by entry, and so
    is the preconditioner, `P = diag(sqrt(nu) + eps) / eta`.
    With `bias_correction` it has `nu / (1 - beta2^t)` for nu, t the number of steps: Adam without
    momentum. nu starts at 0.

    It is `optax.rmsprop(eta, decay=beta2, eps=eps, eps_in_sqrt=False, bias_correction=...)`; by
    default Optax has eps within the root, and decay 0.9.

    Flows have `nu' = (1 - beta2) / beta2 ((grad L)^2 - nu)` per step, beta2 in the denominator
    since the gradient of a step enters nu before the step, and start with nu after one update.

    **Arguments:** `beta2` in (0, 1), default 0.99; `eps` >= 0, default 1e-8; `bias_correction`,
    default False.

    **Source:** part III of the companion site of Cohen, Damian, Talwalkar, Kolter, Lee (ICLR 2025)
    and the authors' code (bias correction, eps, the start).
    """

    beta2: Any = 0.99
    eps: Any = 1e-8
    bias_correction: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        number("beta2", self.beta2, "lie in (0, 1)", lambda x: 0 < x < 1)
        number("eps", self.eps, "be finite and at least 0", lambda x: 0 <= x < float("inf"))
        flag("bias_correction", self.bias_correction)

    def square(self, gradient: Float[Array, " P"]) -> Array:
        """The squared gradient that is averaged."""
        return gradient**2

    def init(self, theta: Float[Array, " P"]) -> PyTree:
        return Average(jnp.zeros((), theta.dtype), jnp.zeros_like(self.square(theta)))

    def update(self, state: Any, gradient: Float[Array, " P"]) -> PyTree:
        change = (1 - self.beta2) * (self.square(gradient) - state.square)
        return Average(state.count + 1, state.square + change)

    def velocity(self, state: Any, gradient: Float[Array, " P"]) -> PyTree:
        # Times 1 / beta2: nu after a step minus nu before it, in terms of nu after it.
        change = (1 / self.beta2 - 1) * (self.square(gradient) - state.square)
        return Average(jnp.ones_like(state.count), change)

    def scale(self, state: Any) -> Array:
        nu = state.square
        if self.bias_correction:
            nu = nu / (1 - self.beta2**state.count)
        # With a derivative where an entry of the gradient has always been 0.
        root = jnp.where(nu > 0, jnp.sqrt(jnp.where(nu > 0, nu, 1)), 0)
        return 1 / (root + self.eps)


class ScalarRMSProp(RMSProp):
    r"""Scalar RMSProp: `RMSProp` with one nu, the average of `||grad L||^2`, for all parameters.

    A step is one of descent with the learning rate `eta / sqrt(nu)`. Optax has no such method.

    **Source:** part II of the companion site of Cohen, Damian, Talwalkar, Kolter, Lee (ICLR 2025)
    and the authors' code.
    """

    def square(self, gradient: Float[Array, " P"]) -> Array:
        return gradient @ gradient


class Moments(Average):
    """The state of `Adam`: also the `last` gradient, and the average `first` of those before."""

    first: Float[Array, " P"]
    last: Float[Array, " P"]


class Adam(RMSProp):
    r"""Adam: `RMSProp` with bias correction along `m <- beta1 m + (1 - beta1) grad L`.

    A step is `theta <- theta - P^-1 m / (1 - beta1^t)`; it is `optax.adam(eta, beta1, beta2, eps)`.
    Steps oscillate where `P^-1 H` has the eigenvalue `2 (1 + beta1) / (1 - beta1)`, 38 for 0.9.

    **No central flow of Adam has been published by those who introduced central flows**: their
    paper's site and code stop at `RMSProp`, beta1 = 0. The flows here are derived from theirs: with
    the edge above, and with m for the gradient. What the oscillation adds to the gradient is taken
    to act at once, and not after the `beta1 / (1 - beta1)` steps by which m lags.

    **Arguments:** `beta1` in [0, 1), default 0.9; the others as in `RMSProp`, beta2 = 0.999.

    **Source:** the edge: Cohen et al., Adaptive gradient methods at the edge of stability (2022),
    abstract; the rest is derived.
    """

    beta2: Any = 0.999
    bias_correction: bool = eqx.field(default=True, static=True)
    beta1: Any = eqx.field(default=0.9, kw_only=True)

    def __check_init__(self):
        number("beta1", self.beta1, "lie in [0, 1)", lambda x: 0 <= x < 1)

    @property
    def edge(self) -> Any:
        return 2 * (1 + self.beta1) / (1 - self.beta1)

    def init(self, theta: Float[Array, " P"]) -> PyTree:
        known, zero = super().init(theta), jnp.zeros_like(theta)
        return Moments(known.count, known.square, zero, zero)

    def update(self, state: Any, gradient: Float[Array, " P"]) -> PyTree:
        known = super().update(state, gradient)
        first = state.first + (1 - self.beta1) * (state.last - state.first)
        return Moments(known.count, known.square, first, gradient)

    def velocity(self, state: Any, gradient: Float[Array, " P"]) -> PyTree:
        known = super().velocity(state, gradient)
        change = (1 - self.beta1) * (gradient - state.first)
        return Moments(known.count, known.square, change, jnp.zeros_like(gradient))

    def heading(self, state: Any, gradient: Float[Array, " P"]) -> Float[Array, " P"]:
        m = state.first + (1 - self.beta1) * (gradient - state.first)
        return m / (1 - self.beta1**state.count) if self.bias_correction else m
