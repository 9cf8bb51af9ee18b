"""Steps of the printed proofs that do not hold; the theorems themselves are judged on their own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from ...claims import Evidence, presets
from ...data import Regression
from ...falsify import prove
from ...falsify.charts import Free, Size
from ...falsify.inequality import Inequality
from ...networks import span_factors
from ...theory.rates.bounds import span_residual
from ..settings.random_networks import inequality
from .paper import paper

TIMES = np.linspace(0.1, 8, 80)  # the values of t


@paper.claim(
    "P(s_max(A) > sqrt(N) + sqrt(n) + t) <= {scale:times}2 exp(-{rate:times}t^2) for an N x n "
    "matrix A with standard normal entries",
    source="lemma E.1 (Davidson and Szarek, as quoted), its upper tail",
    latex=r"P\left(\sigma_1(A) > \sqrt{N} + \sqrt{n} + t\right) \le 2\, e^{-t^2}",
    hypotheses="t > 0; here N = n = 1, where it fails from t = 5.74 on",
    expected=False,
    settings=presets(quick=TIMES, paper=TIMES, large=TIMES),
    moves="rate",
    prove=lambda t: prove(
        "P(|a| > 2 + t) <= 2 exp(-t^2) for a standard normal number a",
        lambda c: jax.scipy.special.erfc((2 + c["t"]) / jnp.sqrt(2.0)),
        lambda c: 2 * jnp.exp(-(c["t"] ** 2)),
        {"t": np.asarray(6.0)},
    ),
    control={"rate": 0.5},
)
def concentration_step(t: np.ndarray, rate: float = 1.0, scale: float = 1.0) -> Evidence:
    """The exact probability for N = n = 1, where `s_max(A) = |A|`, against the bound."""
    outside = 2 * stats.norm.sf(2 + t)
    return Evidence(
        slack=scale * 2 * np.exp(-rate * t**2) / outside - 1,
        measured={"probability_at_t_6": float(2 * stats.norm.sf(8.0))},
        predicted={"at_most_at_t_6": float(scale * 2 * np.exp(-rate * 36))},
        trials="values of t",
    )


def residual_step(norm: str) -> Inequality:
    """The bound on the initial residual, with the norm of S^-1 (as printed) or of S."""

    def larger(network: Any, data: Regression) -> Any:
        V, U1 = span_factors(network, data)
        s = data.singular_values
        size = 1 / s[-1] if norm == "||S^-1||" else s[0]
        return jnp.linalg.norm(data.targets) + size * jnp.linalg.norm(U1 @ V.T)

    return Inequality(
        f"||E(0)||_F <= ||W^T Y||_F + {norm} ||U1 V^T||_F",
        lambda network, data: jnp.linalg.norm(span_residual(network, data)),
        larger,
    )


inequality(
    paper,
    "residual_step",
    residual_step("||S^-1||"),
    Free(),
    source="appendix E, proof of theorem 2, as printed",
    latex=r"\lVert E(0)\rVert_F \le \lVert W^\top Y\rVert_F + \lVert \Sigma^{-1/2}\rVert\, "
    r"\lVert U_1 V^\top\rVert_F",
    expected=False,
    sizes=[Size(1, 1, 1), Size(2, 2, 3)],
    sound=residual_step("||S||"),
    tight=[Size(1, 1, 1)],
)
