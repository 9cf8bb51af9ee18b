"""Where a stopping rule is first met, found by steps of the solver itself."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array


class Crossing(eqx.Module):
    """The search for the time at which a rule is met: steps from one state to ever better guesses.

    Regula falsi (Illinois): `low` is the latest time known to be too early, `high` the earliest
    known to be late enough, infinite as long as there is none. No dense output is involved, so the
    end is as accurate as a step.
    """

    value: Array  # of the rule at the state the steps start from
    low: Array
    high: Array
    at_low: Array
    at_high: Array
    side: Array  # the end that moved last: -1, 1, or 0

    @staticmethod
    def at(t: Array, value: Array) -> "Crossing":
        """No search yet. A rule that is met already gets its crossing at the start."""
        value = jnp.where(value > 0, value, 1)
        none = jnp.zeros_like(t)
        return Crossing(value, t, none + jnp.inf, value, none, none)

    def narrow(
        self, taken: Array, t: Array, goal: Array, value: Array
    ) -> tuple["Crossing", Array, Array]:
        """After a step from `t` to `goal`: the search; where it ended there; where it is on.

        `taken`: where the step would be accepted; within a search every step is.
        """
        on = jnp.isfinite(self.high)
        late = (taken | on) & (value <= 0)
        early = on & ~late
        # What has not moved twice in a row counts for half: else one end would stay for ever.
        weight_low = jnp.where(self.side > 0, 0.5, 1)
        weight_high = jnp.where(self.side < 0, 0.5, 1)
        eps = jnp.finfo(value.dtype).eps
        root = Crossing(
            self.value,
            jnp.where(early, goal, self.low),
            jnp.where(late, goal, self.high),
            jnp.where(early, value, jnp.where(late, weight_low * self.at_low, self.at_low)),
            jnp.where(late, value, jnp.where(early, weight_high * self.at_high, self.at_high)),
            jnp.where(late, 1.0, jnp.where(early, -1.0, self.side)).astype(value.dtype),
        )
        close = (jnp.abs(value) <= 512 * eps * self.value) | (
            root.high - root.low <= 64 * eps * root.high
        )
        found = late | early
        # Where an ordinary step was made, the next one starts there.
        moved = taken & ~found
        begun = Crossing.at(goal, value)
        root = jax.tree.map(lambda a, b: jnp.where(moved, a, b), begun, root)
        return root, found & close, found & ~close

    def guess(self) -> Array:
        """The next time to try, inside the bracket."""
        width = self.high - self.low
        share = self.at_low / jnp.where(self.at_low > self.at_high, self.at_low - self.at_high, 1)
        return self.low + jnp.clip(share, 1e-3, 1 - 1e-3) * jnp.where(jnp.isfinite(width), width, 1)
