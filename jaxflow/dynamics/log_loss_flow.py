"""The gradient flow of exponential and logistic losses, on the clock of the loss itself."""

import abc
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..data import Regression
from ..data.labels import signed
from ..networks import DiagonalLinear, MirrorMap, trainable
from ..networks.losses import ExponentialLoss, MarginLoss
from .formulations.base import like, norm
from .integrators.choose_solver import traced
from .integrators.control import control
from .settings import tolerance


class ClockSolution(eqx.Module):
    r"""A flow at given values of `s = -log L`.

    **Attributes:** `s` (times,); `log_time`, the logarithm of the flow time there; `margins`
    (times, n), of the `n` samples; `network`, the networks along a first axis; `beta` (times, D)
    of a diagonal network, else None; `steps`; `finished`, whether the end was reached.
    """

    s: Float[Array, " times"]
    log_time: Float[Array, " times"]
    margins: Float[Array, "times n"]
    network: Any
    beta: Float[Array, "times D"] | None
    steps: Array
    finished: Array


class _State(eqx.Module):
    weights: PyTree[Array]
    late: Float[Array, ""]  # the flow time, times the loss: neither over- nor underflows


class _Coordinates(eqx.Module):
    """Coordinates of a flow that only knows margins."""

    network: eqx.AbstractVar[Any]
    loss: eqx.AbstractVar[MarginLoss]

    @abc.abstractmethod
    def start(self) -> PyTree[Array]:
        """The coordinates of the network."""

    @abc.abstractmethod
    def margins(self, weights: PyTree[Array]) -> Float[Array, " n"]:
        """`y_i f(x_i)`."""

    @abc.abstractmethod
    def ascent(
        self, weights: PyTree[Array], p: Float[Array, " n"]
    ) -> tuple[PyTree[Array], Float[Array, ""]]:
        """The velocity of the coordinates under `G = sum_i p_i grad m_i`, and `||G||^2`."""

    @abc.abstractmethod
    def size(self, weights: PyTree[Array]) -> Float[Array, ""]:
        """What the error of the coordinates is relative to."""

    @abc.abstractmethod
    def lift(self, weights: PyTree[Array]) -> Any:
        """The network."""

    def log_loss(self, margins: Float[Array, " n"]) -> Float[Array, ""]:
        """`log L`."""
        return jax.nn.logsumexp(self.loss.log_terms(margins))

    def field(self, s: Any, state: _State, args: Any) -> _State:
        # p_i = -l'(m_i) / L; at the current margins the sum need not be L.
        p = -jax.grad(self.log_loss)(self.margins(state.weights))
        velocity, square = self.ascent(state.weights, p)
        return _State(jax.tree.map(lambda leaf: leaf / square, velocity), 1 / square - state.late)

    def sizes(self, state: _State) -> _State:
        # The time is read off along the way, and has no say in the steps.
        never = jnp.full_like(state.late, jnp.inf)
        return _State(like(state.weights, self.size(state.weights)), never)


class _Mirror(_Coordinates):
    """`nu_i = int -l'(m_i) dt`: with `A = diag(y) X`, `beta = grad Phi*(A^T nu)`."""

    network: DiagonalLinear
    loss: MarginLoss
    rows: Float[Array, "n D"]
    map: MirrorMap

    def start(self) -> Float[Array, " n"]:
        return jnp.zeros(len(self.rows), self.rows.dtype)

    def margins(self, weights: Float[Array, " n"]) -> Float[Array, " n"]:
        return self.rows @ self.predictor(weights)

    def predictor(self, weights: Float[Array, " n"]) -> Float[Array, " D"]:
        """beta, by the mirror map."""
        return self.network.offset + self.map.inverse(weights @ self.rows)

    def ascent(
        self, weights: Float[Array, " n"], p: Float[Array, " n"]
    ) -> tuple[Float[Array, " n"], Float[Array, ""]]:
        return p, jnp.sum(self.map.slope(weights @ self.rows) * (p @ self.rows) ** 2)

    def size(self, weights: Float[Array, " n"]) -> Float[Array, ""]:
        # What changes a slope by a factor e, or the margins by what they are, or by 1.
        q, lengths = weights @ self.rows, jnp.linalg.norm(self.rows, axis=0)
        margins = jnp.maximum(1, jnp.max(jnp.abs(self.margins(weights))))
        kernel = jnp.sum(self.map.slope(q) * lengths**2)
        return jnp.minimum(1 / jnp.max(self.map.bend(q) * lengths), margins / kernel)

    def lift(self, weights: Float[Array, " n"]) -> DiagonalLinear:
        return self.network.at(weights @ self.rows)


class _Parameters(_Coordinates):
    """The parameters of any module with one output."""

    network: Any
    loss: MarginLoss
    data: Regression

    def start(self) -> PyTree[Array]:
        return eqx.filter(self.network, trainable(self.network))

    def margins(self, weights: PyTree[Array]) -> Float[Array, " n"]:
        return (jax.vmap(self.lift(weights))(self.data.X) * self.data.Y)[:, 0]

    def ascent(
        self, weights: PyTree[Array], p: Float[Array, " n"]
    ) -> tuple[PyTree[Array], Float[Array, ""]]:
        (G,) = jax.vjp(self.margins, weights)[1](p)
        return G, norm(G) ** 2

    def size(self, weights: PyTree[Array]) -> Float[Array, ""]:
        return norm(weights)

    def lift(self, weights: PyTree[Array]) -> Any:
        return eqx.combine(weights, self.network)


def log_loss_flow(
    network: Any,
    data: Regression,
    s: Any,
    *,
    loss: MarginLoss | None = None,
    formulation: str = "auto",
    solver: Any = None,
    rtol: float = 1e-10,
    max_steps: int = 100_000,
) -> ClockSolution:
    r"""`theta' = -grad L(theta)` with `s = -log L` as time: L = exp(-100000) is an ordinary number.

    With `p_i = -l'(m_i) / L`, `G = sum_i p_i y_i grad f(x_i) = -grad L / L`:

        `d theta / d s = G / ||G||^2`,   `d t / d s = exp(s) / ||G||^2`.

    A `DiagonalLinear` moves in its mirror coordinates, `d nu / d s = p / (p^T K p)` with K its
    tangent kernel, n equations; other modules in their parameters.

    **Arguments:** the `network` at time 0 and the `data`, labels +1 and -1 in `data.Y`; increasing
    values `s` of `-log L` at which to save, from the initial one on; the `loss`, default
    `ExponentialLoss()`; `formulation`, "auto", "mirror" or "parameters"; a Diffrax `solver`,
    default `Kvaerno5()` in mirror coordinates and `Tsit5()` in parameters; `rtol`; `max_steps`.

    **Returns:** a `ClockSolution`.

    **Raises:** `ValueError` for labels other than +1 and -1, or values of s that cannot be used.

    **Source:** derived; Moroshko et al. (NeurIPS 2020) go to such accuracies by other means.
    """
    rows = signed(data)
    if formulation not in ("auto", "parameters") and not (
        formulation == "mirror" and isinstance(network, DiagonalLinear)
    ):
        raise ValueError(
            f"No formulation {formulation!r} for {type(network).__name__} on this clock: choose "
            "'auto', 'parameters', or 'mirror' for a DiagonalLinear."
        )
    loss = ExponentialLoss() if loss is None else loss
    dtype = data.X.dtype
    form: _Coordinates
    if isinstance(network, DiagonalLinear) and formulation != "parameters":
        form = _Mirror(network, loss, rows, network.mirror)
        solver = diffrax.Kvaerno5() if solver is None else solver
    else:
        form = _Parameters(network, loss, data)
        solver = diffrax.Tsit5() if solver is None else solver
    values = jnp.atleast_1d(jnp.asarray(s, dtype))
    if not traced((network, data, values)):
        plain, first = np.asarray(values), -float(form.log_loss(form.margins(form.start())))
        least = first - 1e-12 * (1 + abs(first))
        if not (np.isfinite(plain).all() and (np.diff(plain) > 0).all() and plain[0] >= least):
            raise ValueError(f"s must be finite, and increase from -log L(0) = {first:.17g} on.")
    return _run(form, values, solver, jnp.asarray(tolerance(rtol, dtype), dtype), max_steps)


@eqx.filter_jit
def _run(
    form: _Coordinates, s: Float[Array, " times"], solver: Any, rtol: Array, max_steps: int
) -> ClockSolution:
    y0 = _State(form.start(), jnp.zeros((), s.dtype))
    start = -form.log_loss(form.margins(y0.weights))
    s = jnp.maximum(s, start)

    def read(s: Any, y: _State, args: Any) -> tuple[Array, Array, Any]:
        return jnp.log(y.late) + s, form.margins(y.weights), y.weights

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(form.field),
        solver,
        t0=start,
        t1=jnp.maximum(s[-1], start),
        dt0=jnp.full_like(start, 1e-3),
        y0=y0,
        saveat=diffrax.SaveAt(ts=s, fn=read),
        stepsize_controller=control(rtol, jnp.ones_like(start), form.sizes),
        max_steps=max_steps,
        throw=False,
    )
    assert solution.ys is not None
    log_time, margins, weights = solution.ys
    networks = jax.vmap(form.lift)(weights)
    beta = jax.vmap(form.predictor)(weights) if isinstance(form, _Mirror) else None
    return ClockSolution(
        s=s,
        log_time=log_time,
        margins=margins,
        network=networks,
        beta=beta,
        steps=solution.stats["num_steps"],
        finished=solution.result == diffrax.RESULTS.successful,
    )
