"""Steps of the printed proofs that do not hold; the theorems are judged on their own."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import stats

from ...claims.base import Evidence
from ...claims.kinds import Everywhere, Made
from ...data import Regression
from ...falsify.charts import Free, Size
from ...falsify.inequality import Inequality
from ...networks import span_factors
from ...theory.rates.bounds import span_residual

SOURCE = "Min, Tarmoun, Vidal, Mallada (ICML 2021)"


def _step(power: int) -> Inequality:
    def larger(network: Any, data: Regression) -> Any:
        V, U1 = span_factors(network, data)
        s = data.singular_values
        size = 1 / s[-1] if power < 0 else s[0]
        return jnp.linalg.norm(data.targets) + size * jnp.linalg.norm(U1 @ V.T)

    size = "||S^-1||" if power < 0 else "||S||"
    return Inequality(
        f"||E(0)||_F <= ||W^T Y||_F + {size} ||U1 V^T||_F",
        lambda network, data: jnp.linalg.norm(span_residual(network, data)),
        larger,
    )


RESIDUAL = Everywhere(
    "min2021.residual_step",
    _step(-1),
    Free(),
    source=f"{SOURCE}, appendix E, proof of theorem 2 (as printed)",
    hypotheses="none",
    expected=False,
    sizes=[Size(1, 1, 1), Size(2, 2, 3)],
    sound=_step(1),
    tight=(Free(), [Size(1, 1, 1)]),
)


def tails(divisor: float, scale: float = 1.0) -> Evidence:
    """The exact probability that the one singular value of a 1 x 1 matrix leaves its interval."""
    t = np.linspace(0.1, 8, 80)
    # |x| of a standard normal x against sqrt(N) + sqrt(n) + t = 2 + t, N = n = 1.
    outside = 2 * stats.norm.sf(2 + t)
    bound = scale * 2 * np.exp(-(t**2) / divisor)
    return Evidence(
        slack=bound / outside - 1,
        measured={"probability_at_t_6": float(2 * stats.norm.sf(8.0))},
        predicted={"at_most_at_t_6": float(scale * 2 * np.exp(-36 / divisor))},
        trials="values of t",
    )


def _concentration(divisor: int, scale: float = 1.0, **more: Any) -> Made:
    power = "t^2" if divisor == 1 else "t^2/2"
    times = "" if scale == 1 else f" {scale:g} *"
    return Made(
        "min2021.concentration_step",
        f"P(s_max(A) > sqrt(N) + sqrt(n) + t) <= {times}2 exp(-{power}) for A (N, n) standard "
        "normal",
        plan=lambda preset: None,
        look=lambda setting: tails(divisor, scale),
        source=f"{SOURCE}, lemma E.1 (Davidson and Szarek, as quoted)",
        hypotheses="t > 0",
        **more,
    )


CONCENTRATION = _concentration(
    1,
    expected=False,
    mutant=_concentration(2, 1e-3),
    control=_concentration(2),
)

CLAIMS = (CONCENTRATION, RESIDUAL)
