"""Min, Vidal, Mallada: rates from conserved quantities for two layers and more (ICML 2023)."""

from typing import Any

import jax.numpy as jnp

from ..claims import Paper
from ..data import Regression
from ..falsify.charts import DeepBalanced, Free, Size
from ..falsify.inequality import Inequality
from ..networks import DeepLinear
from ..theory import balanced_level, limit_rate, rate_bound, slowest_decay
from .settings.random_networks import inequality

paper = Paper("min2023", "Min, Vidal, Mallada (ICML 2023)", provenance="read")


class NearMinimum(Free):
    """Networks whose residual is a millionth: the margin is then the whole product."""

    def sample(self, key: Any, size: Size) -> Any:
        c = super().sample(key, size)
        product = jnp.linalg.norm(c["U"]) * jnp.linalg.norm(c["V"])
        E = 1e-6 * product * c["E"] / jnp.linalg.norm(c["E"])
        return {**c, "E": E}


def two_layers(brace: str, factor: float) -> Inequality:
    """Theorem 1, with alpha_2 so many times the brace that `rate_bound` takes half of."""
    roots = "-d+ + sqrt((d+ + c)^2 + 4 nu_m^2) - d- + sqrt((d- + c)^2 + 4 nu_r^2)"
    return Inequality(
        f"lambda_r(Sigma) 2 alpha_2 <= 2 lambda_min(T), alpha_2 = {brace.format(roots)}",
        lambda network, data: factor * rate_bound(network, data, margin=True).rate,
        limit_rate,
    )


PRINTED = two_layers("{}", 2.0)
CORRECTED = two_layers("({}) / 2", 1.0)
TWO_LAYERS: dict[str, Any] = {
    "hypotheses": "two layers, squared loss",
    "sizes": [Size(1, 1, 1), Size(2, 1, 3), Size(2, 3, 4)],
    "tight": [Size(1, 1, 1)],
    "tight_chart": NearMinimum(),
}
inequality(
    paper,
    "two_layers_printed",
    PRINTED,
    NearMinimum(),
    source="theorem 1, (12) and (F.3), as printed",
    latex=r"2 \lambda_r(\Sigma)\, \alpha_2 \le 2 \lambda_{\min}(T), \qquad \alpha_2 = "
    r"-\Delta_+ + \sqrt{(\Delta_+ + c)^2 + 4 \nu_m^2} - \Delta_- + \sqrt{(\Delta_- + "
    r"c)^2 + 4 \nu_r^2}",
    expected=False,
    sound=CORRECTED,
    **TWO_LAYERS,
)
inequality(
    paper,
    "two_layers",
    CORRECTED,
    Free(),
    source="theorem 1, with the 1/2 of its proof (appendix F)",
    latex=r"2 \lambda_r(\Sigma)\, \alpha_2 \le 2 \lambda_{\min}(T), \qquad \alpha_2 = "
    r"\frac{1}{2} \left(-\Delta_+ + \sqrt{(\Delta_+ + c)^2 + 4 \nu_m^2} - \Delta_- + "
    r"\sqrt{(\Delta_- + c)^2 + 4 \nu_r^2}\right)",
    **TWO_LAYERS,
)


def balanced(formula: str, *, printed: bool) -> Inequality:
    """(19); as printed, the formula for square W is used for every shape."""

    def smaller(network: DeepLinear, data: Regression) -> Any:
        product = network.product[: data.rank]
        square = printed or product.shape[0] == product.shape[1]
        return balanced_level(product, network.depth, square=square)

    return Inequality(
        f"{formula} <= lambda_min(T)",
        smaller,
        lambda network, data: 0.5 * slowest_decay(network, data),
    )


BALANCED_PRINTED = balanced("L sigma_min(W)^(2 - 2/L)", printed=True)
BALANCED_CORRECTED = balanced("(L if W is square, else 1) * sigma_min(W)^(2 - 2/L)", printed=False)
BALANCED: dict[str, Any] = {
    "hypotheses": "L balanced layers, whitened inputs, h >= min(r, m)",
    "sizes": [Size(1, 1, 1, 3), Size(2, 1, 1), Size(1, 2, 2, 3), Size(2, 2, 2, 3)],
    "tight": [Size(1, 1, 1, 3), Size(2, 2, 2, 3)],
}
inequality(
    paper,
    "balanced_printed",
    BALANCED_PRINTED,
    DeepBalanced(isotropic=True),
    source="theorem 3, (19) at zero imbalance, as printed for every shape",
    latex=r"L\, \sigma_{\min}(W)^{2 - 2/L} \le \lambda_{\min}(T)",
    expected=False,
    sound=BALANCED_CORRECTED,
    **BALANCED,
)
inequality(
    paper,
    "balanced",
    BALANCED_CORRECTED,
    DeepBalanced(isotropic=True),
    source="theorem 3, (19), corrected",
    provenance="derived",
    latex=r"\kappa\, \sigma_{\min}(W)^{2 - 2/L} \le \lambda_{\min}(T), \qquad \kappa = "
    r"\begin{cases} L & \text{if } W \text{ is square} \\ 1 & \text{otherwise} "
    r"\end{cases}",
    **BALANCED,
)
