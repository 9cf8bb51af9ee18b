"""An inequality about networks, stated so that it can be tried on random ones and hunted down."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


@dataclasses.dataclass(frozen=True)
class Inequality:
    r"""`factor * smaller <= larger`, of a network and the data it learns from.

    **Arguments:**

    - `statement`: the inequality in symbols.
    - `smaller`, `larger`: functions `(network, data) -> scalar` in `jax.numpy`. With `t1`:
      functions `(start, now, t, data) -> scalar` of the network at time 0 and at a flow time
      `0 < t <= t1`, so that the inequality is about trajectories.
    - `applies`: `(network, data) -> bool`, the hypotheses that the sampler does not ensure by
      itself; of the network at time 0. Where it is False nothing counts. Default: everywhere.
    - `t1`: the longest flow time, if the inequality is about trajectories.
    - `factor`: of the smaller side; more than 1 makes a stronger statement.
    """

    statement: str
    smaller: Callable[..., Any]
    larger: Callable[..., Any]
    applies: Callable[[Any, Any], Any] | None = None
    t1: float | None = None
    factor: float = 1.0

    def __post_init__(self):
        if self.t1 is not None and not self.t1 > 0:
            raise ValueError(f"t1 must be positive, got {self.t1}.")

    def slack(self, *where: Any) -> Float[Array, ""]:
        """`(larger - smaller) / (|larger| + |smaller|)`: in [-1, 1], negative where it is broken.

        A change of units does not change it. 0 where both sides are 0.
        """
        return relative_slack(jnp, self.factor * self.smaller(*where), self.larger(*where))

    def meets(self, network: Any, data: Any) -> Bool[Array, ""]:
        """Whether the hypotheses are met."""
        return jnp.asarray(True if self.applies is None else self.applies(network, data))

    def times(self, factor: float) -> "Inequality":
        """The same with its smaller side multiplied."""
        statement = f"{factor:g} * ({self.statement.replace(' <=', ') <=', 1)}"
        return dataclasses.replace(self, statement=statement, factor=self.factor * factor)


def relative_slack(np: Any, smaller: Any, larger: Any) -> Any:
    """The slack from both sides, in this array library."""
    size = np.abs(larger) + np.abs(smaller)
    return (larger - smaller) / np.where(size > 0, size, 1)
