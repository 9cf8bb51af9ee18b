"""Measures of rates: how fast the loss of a trajectory decays, and what a bound promises."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..data import Regression
from ..dynamics.measure import Measure
from ..dynamics.settings import SAVES, log_spaced
from ..dynamics.view import View
from ..machine.arguments import array
from ..theory import (
    imbalance,
    instantaneous_rate,
    limit_rate,
    rate_bound,
)


def theorem_1(network: Any, data: Regression) -> Array:
    """`2 lambda_r(Sigma) c`, the exponent of Min et al. (ICML 2021), theorem 1."""
    return rate_bound(network, data).rate


# A claimed exponent of `L - L*`: a function of the network at time 0 and the data.
Bound = Callable[[Any, Regression], Array]


class BoundTimes(eqx.Module):
    r"""Saved times of each trajectory's own, in units of what a rate bound promises for it.

    They are 0 and logarithmically spaced times up to the one by which the bound promises
    `L - L* <= ratio (L(0) - L*)`: a trajectory that is not there by then violates the bound. Where
    the bound promises nothing (rate = 0), the last time is `fallback` times `log(1/ratio)`.
    """

    rotation_free: ClassVar[bool] = True
    log_ratio: float
    fallback: float = 1.0
    saves: int = eqx.field(default=SAVES, static=True)
    bound: Bound = eqx.field(default=theorem_1, static=True)

    def __call__(self, network: Any, data: Regression) -> Float[Array, " times"]:
        rate = self.bound(network, data)
        promised = rate > 0
        unit = jnp.where(promised, 1 / jnp.where(promised, rate, 1), self.fallback)
        # A thousandth more, so that a bound that is attained still lets the stop fire.
        return log_spaced(1.001 * unit * -self.log_ratio, self.saves)


class Level(Measure):
    """`c = [lambda_r(Lambda)]_+ + [lambda_m(-Lambda)]_+` of the initialization."""

    name: ClassVar[str] = "c"
    rotation_free: ClassVar[bool] = True

    def start(self, first: View) -> PyTree:
        return imbalance(first.initial, first.data).c

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        return fixed


class BoundRate(Measure):
    """The exponent that the bound guarantees: of the rate theorem, `2 lambda_r(Sigma) c`."""

    name: ClassVar[str] = "bound_rate"
    rotation_free: ClassVar[bool] = True
    bound: Bound = eqx.field(default=theorem_1, static=True)

    def start(self, first: View) -> PyTree:
        return self.bound(first.initial, first.data)

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        return fixed


class MeasuredRate(Measure):
    """Mean decay rate of `L - L*` over the second half of the time, in 1/time."""

    name: ClassVar[str] = "measured_rate"
    rotation_free: ClassVar[bool] = True

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return view.log_excess

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        half = 0.5 * ts[-1]
        return (jnp.interp(half, ts, saved) - saved[-1]) / half


class LimitRate(Measure):
    """The exact local rate of `L - L*` at the network where the trajectory ended, in 1/time."""

    name: ClassVar[str] = "limit_rate"
    rotation_free: ClassVar[bool] = True

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        return limit_rate(last.network, last.data)


class InstantaneousRate(Measure):
    """The exact rate `-(d/dt) log(L - L*)` of a two-layer linear network, at every saved time."""

    name: ClassVar[str] = "instantaneous_rate"
    dims: ClassVar[tuple[str, ...]] = ("time",)
    rotation_free: ClassVar[bool] = True

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return instantaneous_rate(view.network, view.data, residual=view.residual)


class _Promised(Measure):
    """What the rate bound promises by every saved time."""

    rotation_free: ClassVar[bool] = True
    bound: Bound = eqx.field(default=theorem_1, static=True)

    def start(self, first: View) -> PyTree:
        return first.log_excess, self.bound(first.initial, first.data)

    @staticmethod
    def promise(ts: Array, fixed: PyTree) -> tuple[Array, Array]:
        """The decay `rate t`, and where rounding of `log(L - L*)` does not outweigh it."""
        log_excess0, rate = fixed
        return rate * ts, rate * ts > roundoff(log_excess0)


class RateSlack(_Promised):
    r"""By how much the trajectory beats `exp(-rate t)`, at its tightest.

    `min over saved t of log(excess(0) / excess(t)) / (rate t) - 1`, over the times at which the
    promised decay is more than rounding. Negative where the bound is crossed; infinite where there
    is no bound (rate = 0). For a rate `factor` times as large the slack is
    `(1 + slack) / factor - 1`.
    """

    name: ClassVar[str] = "slack"

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return view.log_excess

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        promised, counts = self.promise(ts, fixed)
        ratio = (fixed[0] - saved) / jnp.where(counts, promised, 1)
        return jnp.min(jnp.where(counts, ratio, jnp.inf)) - 1


class LeastDecay(_Promised):
    """The least promised decay, `rate t`, at which the slack is taken: what rounding weighs on."""

    name: ClassVar[str] = "least_decay"

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        promised, counts = self.promise(ts, fixed)
        return jnp.min(jnp.where(counts, promised, jnp.inf))


class RestartSlack(Measure):
    r"""By how much every stretch of a trajectory beats the bound restarted where it begins.

    `min over neighbouring saved times of log(excess(t_i)/excess(t_(i+1))) / (rate_i dt) - 1`, with
    `rate_i` the bound of the network at t_i: what holds for neighbours holds for all pairs. The
    bound is a function `(network, data, residual)`.
    """

    name: ClassVar[str] = "restart_slack"
    rotation_free: ClassVar[bool] = True
    bound: Callable[[Any, Regression, Array], Array] = eqx.field(static=True)

    def update(self, t: Any, view: View, fixed: PyTree) -> PyTree:
        return view.log_excess, self.bound(view.network, view.data, view.residual)

    def finish(self, ts: Any, saved: PyTree, last: View, fixed: PyTree) -> Array:
        log_excess, rate = saved
        promised = rate[:-1] * jnp.diff(ts)
        counts = promised > roundoff(log_excess[:-1])
        ratio = -jnp.diff(log_excess) / jnp.where(counts, promised, 1)
        return jnp.min(jnp.where(counts, ratio, jnp.inf)) - 1


def roundoff(log_excess: Any) -> Any:
    """The least decay that can be told from rounding of `log_excess`, to three digits."""
    log_excess = array("log_excess", log_excess)
    size = jnp.where(jnp.isfinite(log_excess), jnp.abs(log_excess), 0)
    return 1e3 * jnp.finfo(size.dtype).eps * (1 + size)


def decay(bound: Bound) -> tuple[Measure, ...]:
    """The measures that compare trajectories of any network with `exp(-rate t)`."""
    return BoundRate(bound), MeasuredRate(), RateSlack(bound), LeastDecay(bound)
