"""Min, Vidal, Mallada: rates from conserved quantities for two layers and more (ICML 2023)."""

from typing import Any

import jax.numpy as jnp

from ..claims.kinds import Everywhere
from ..data import Regression
from ..falsify.charts import DeepBalanced, Free, Size
from ..falsify.inequality import Inequality
from ..networks import DeepLinear
from ..theory import balanced_level, least_decay, limit_rate, rate_bound

SOURCE = "Min, Vidal, Mallada (ICML 2023)"
SMALL = [Size(1, 1, 1), Size(2, 1, 3), Size(2, 3, 4)]


def _two_layers(factor: float, statement: str) -> Inequality:
    return Inequality(
        statement,
        lambda network, data: factor * rate_bound(network, data, margin=True).rate,
        limit_rate,
    )


PRINTED = _two_layers(
    2.0,
    "lambda_r(Sigma) 2 alpha_2 <= 2 lambda_min(T), alpha_2 = -d+ + sqrt((d+ + c)^2 + 4 nu_m^2) - "
    "d- + sqrt((d- + c)^2 + 4 nu_r^2)",
)
CORRECTED = _two_layers(
    1.0,
    "lambda_r(Sigma) 2 alpha_2 <= 2 lambda_min(T), alpha_2 = (-d+ + sqrt((d+ + c)^2 + 4 nu_m^2) - "
    "d- + sqrt((d- + c)^2 + 4 nu_r^2)) / 2",
)


class NearMinimum(Free):
    """Networks whose residual is a millionth: the margin is then the whole product."""

    def sample(self, key: Any, size: Size) -> Any:
        c = super().sample(key, size)
        product = jnp.linalg.norm(c["U"]) * jnp.linalg.norm(c["V"])
        E = 1e-6 * product * c["E"] / jnp.linalg.norm(c["E"])
        return {**c, "E": E}


def kernel_floor(network: DeepLinear, data: Regression) -> Any:
    """`lambda_min(T)`."""
    return 0.5 * least_decay(network, data)


def _balanced(printed: bool) -> Inequality:
    def smaller(network: DeepLinear, data: Regression) -> Any:
        product = network.product[: data.rank]
        square = printed or product.shape[0] == product.shape[1]
        return balanced_level(product, network.depth, square=square)

    formula = "L sigma_min(W)^(2 - 2/L)"
    if not printed:
        formula += " if W is square, else sigma_min(W)^(2 - 2/L),"
    return Inequality(f"{formula} <= lambda_min(T)", smaller, kernel_floor)


BALANCED_SIZES = [
    Size(1, 1, 1, 3),
    Size(2, 1, 1),
    Size(1, 2, 2, 3),
    Size(2, 2, 2, 3),
]
_CHART = DeepBalanced(isotropic=True)
_ABOUT: dict[str, Any] = {
    "hypotheses": "balanced layers, whitened inputs, h >= min(r, m)",
    "sizes": BALANCED_SIZES,
    "sound": _balanced(False),
    "tight": (_CHART, [Size(1, 1, 1, 3), Size(2, 2, 2, 3)]),
}
_TWO: dict[str, Any] = {
    "hypotheses": "two layers, squared loss",
    "sizes": SMALL,
    "sound": CORRECTED,
    "tight": (NearMinimum(), [Size(1, 1, 1)]),
}


CLAIMS = (
    Everywhere(
        "min2023.two_layers_printed",
        PRINTED,
        NearMinimum(),
        source=f"{SOURCE}, theorem 1, (12), as printed",
        expected=False,
        **_TWO,
    ),
    Everywhere(
        "min2023.two_layers",
        CORRECTED,
        Free(),
        source=f"{SOURCE}, theorem 1, with the 1/2 of its proof (appendix F)",
        **_TWO,
    ),
    Everywhere(
        "min2023.balanced_printed",
        _balanced(True),
        _CHART,
        source=f"{SOURCE}, (19), as printed for every shape",
        expected=False,
        **_ABOUT,
    ),
    Everywhere(
        "min2023.balanced",
        _balanced(False),
        _CHART,
        source=f"{SOURCE}, (19), corrected",
        provenance="derived",
        **_ABOUT,
    ),
)
