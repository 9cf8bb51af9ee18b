"""An inequality about networks, in a form that a search for counterexamples can evaluate."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..machine.arguments import function, number, positive


@dataclasses.dataclass(frozen=True)
class Inequality:
    r"""`factor * smaller <= larger`, for a network and the data that it learns from.

    **Arguments:**

    - `statement`: the inequality in symbols.
    - `smaller`, `larger`: the two sides, called as `f(network, data)`; with `t1`, called as
      `f(start, now, t, data)`, with the networks at time 0 and at a flow time `0 < t <= t1`. They
      return scalars, and are written in `jax.numpy`.
    - `applies`: the hypotheses that the chart does not ensure, called as `f(network, data)` with
      the network at time 0. Networks for which it is False do not count. Default: none.
    - `t1`: the longest flow time, if the inequality is about trajectories.
    - `factor`: multiplies the smaller side; more than 1 makes a stronger statement.
    """

    statement: str
    smaller: Callable[..., Any]
    larger: Callable[..., Any]
    applies: Callable[[Any, Any], Any] | None = None
    t1: float | None = None
    factor: float = 1.0

    def __post_init__(self):
        for name in ("smaller", "larger"):
            function(name, getattr(self, name), "f(network, data)")
        if self.t1 is not None:
            positive("t1", self.t1)
        number("factor", self.factor)

    def slack(self, *where: Any) -> Float[Array, ""]:
        """`(larger - smaller) / (|larger| + |smaller|)`: in [-1, 1], negative where it is violated.

        A change of units does not change it. 0 where both sides are 0.
        """
        return relative_slack(jnp, self.factor * self.smaller(*where), self.larger(*where))

    def meets(self, network: Any, data: Any) -> Bool[Array, ""]:
        """Whether the hypotheses are met."""
        return jnp.asarray(True if self.applies is None else self.applies(network, data))

    def times(self, factor: float) -> "Inequality":
        """The inequality with its smaller side multiplied by a factor."""
        statement = f"{factor:.12g} * ({self.statement.replace(' <=', ') <=', 1)}"
        return dataclasses.replace(self, statement=statement, factor=self.factor * factor)


def relative_slack(np: Any, smaller: Any, larger: Any) -> Any:
    """The slack from both sides, which may be arrays of NumPy or of JAX."""
    size = np.abs(larger) + np.abs(smaller)
    return (larger - smaller) / np.where(size > 0, size, 1)
