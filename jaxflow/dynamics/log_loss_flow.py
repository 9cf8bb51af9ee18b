"""The gradient flow of exponential and logistic losses, with `-log L` as the time variable."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._types import Network
from ..data import Regression
from ..machine.arguments import instance, numbers
from ..networks.adopt import adopt
from ..networks.losses import usable
from .flow import flow
from .formulations import NoFormulation, choose
from .integrators.choose_solver import traced
from .measure import Measure
from .settings import flow_settings, takes
from .solution import Solution
from .status import Call, Result
from .view import View


class Margins(Measure):
    """The margins `y_i f(x_i)` of the n samples at every saved time."""

    name: ClassVar[str] = "margins"
    dims: ClassVar[tuple[str, ...]] = ("time", "sample")

    def update(self, t: Any, view: View, fixed: Any) -> Array:
        return view.formulation.margins(view.state.weights)  # type: ignore[attr-defined]


class LogTime(Measure):
    """The logarithm of the flow time at every saved time."""

    name: ClassVar[str] = "log_time"
    dims: ClassVar[tuple[str, ...]] = ("time",)

    def update(self, t: Any, view: View, fixed: Any) -> Array:
        return view.formulation.log_time(t, view.state)


class Predictor(Measure):
    """The coefficients beta (D,) of a linear predictor with one output, at every saved time."""

    name: ClassVar[str] = "beta"
    dims: ClassVar[tuple[str, ...]] = ("time", "feature")

    def update(self, t: Any, view: View, fixed: Any) -> Array:
        return view.product[:, 0]


class LogLossSolution(Solution):
    r"""A `Solution` whose saved times are values of `s = -log L`.

    **Attributes:** those of `Solution`, with `ts`, also called `s`, and `t1` values of `-log L`;
    `log_time` (times,), the logarithm of the flow time there; `margins` (times, n) of the n
    samples; `beta` (times, D), the predictor of a linear network, else None.
    """

    @property
    def s(self) -> Float[Array, " times"]:
        """The saved values of `-log L`."""
        return self.ts

    @property
    def log_time(self) -> Float[Array, " times"]:
        """The logarithm of the flow time at `s`."""
        return self.measures["log_time"]

    @property
    def margins(self) -> Float[Array, "times n"]:
        """`y_i f(x_i)` at `s`."""
        return self.measures["margins"]

    @property
    def beta(self) -> Float[Array, "times D"] | None:
        """The predictor at `s`."""
        return self.measures.get("beta")

    @property
    def steps(self) -> Array:
        """How many steps the solver made."""
        return self.stats["steps"]

    @property
    def finished(self) -> Any:
        """Whether the last value of s was reached."""
        return self.status == Result.finished


@takes(flow_settings)
def log_loss_flow(
    network: Network,
    data: Regression,
    s: Any,
    *,
    loss: Any = None,
    formulation: str = "auto",
    measures: Sequence[Measure] = (),
    rtol: float = 1e-10,
    max_steps: int = 100_000,
    **settings: Any,
) -> LogLossSolution:
    r"""`theta' = -grad L(theta)` with `s = -log L` as time: L = exp(-100000) is an ordinary number.

    With `p_i = -l'(m_i) / L` at the margins m_i, and `G = sum_i p_i y_i grad f(x_i) = -grad L / L`:

        `d theta / d s = G / ||G||^2`,   `d t / d s = exp(s) / ||G||^2`.

    Of several classes, `y_i f(x_i)` stands for `f_y - log sum_(k != y) exp f_k` at x_i, y the right
    class.

    A `DiagonalLinear` moves in its mirror coordinates, `d nu / d s = p / (p^T K p)` with K its
    tangent kernel, n equations; other modules in their parameters. The same flow in a sweep:
    `Sweep(data, law, ts=s, loss=jf.ExponentialLoss(), formulation="log_loss_parameters")`.

    **Arguments:**

    - `network`: at time 0, and the `data`, with labels +1 and -1 in `data.Y`, or one-hot targets.
    - `s`: increasing values of `-log L` at which to save, from the initial one on.
    - `loss`: "exponential" (the default), "logistic", or "cross_entropy", which is the logistic
      loss of several classes.
    - `formulation`: "auto", "mirror" or "parameters".
    - `measures`, `until`, `solver`, `rtol`, `max_steps`, `adjoint`: as in `gradient_flow`.
      "auto" is "implicit" in mirror coordinates.

    **Returns:** a `LogLossSolution`.

    **Raises:** `ValueError` for targets that are no labels, or values of s that cannot be used.

    **Source:** derived; Moroshko et al. (NeurIPS 2020) go to such accuracies by other means.
    """
    loss = usable("exponential" if loss is None else loss, data)
    network = adopt(network, data)
    instance("formulation", formulation, str, "a name, such as 'auto'")
    known = {"auto": "log_loss", "mirror": "log_loss_mirror", "parameters": "log_loss_parameters"}
    try:
        form: Any = choose(known.get(formulation, "none"), network, data, loss)
    except NoFormulation:
        raise ValueError(
            f"No formulation {formulation!r} of this flow for {type(network).__name__}: choose "
            "'auto', 'parameters', or 'mirror' for a DiagonalLinear."
        ) from None
    dtype = data.X.dtype
    if 0 in (numbers("s", s) or ()):
        raise ValueError("s is empty: give at least one value.")
    values = jnp.atleast_1d(jnp.asarray(s, dtype))
    if not traced((network, data, values)):
        plain, first = np.asarray(values), float(form.begin(form.start(network)))
        least = first - 1e-12 * (1 + abs(first))
        if not (np.isfinite(plain).all() and (np.diff(plain) > 0).all() and plain[0] >= least):
            raise ValueError(f"s must be finite, and increase from -log L(0) = {first:.17g} on.")
    asked = [*measures, LogTime(), Margins()]
    if hasattr(type(network), "product"):
        asked.append(Predictor())
    solution = flow(
        network,
        data,
        values,
        flow_settings(
            dtype,
            loss=loss,
            formulation=form.name,
            measures=asked,
            rtol=rtol,
            max_steps=max_steps,
            **settings,
        ),
        Call("log_loss_flow", "s"),
    )
    fields = dataclasses.fields(solution)
    return LogLossSolution(**{field.name: getattr(solution, field.name) for field in fields})
