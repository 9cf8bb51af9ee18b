"""Closed forms of the two-layer flow from (lambda-)balanced weights, by four papers."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .. import data as problems
from ..claims.agreement import agreement, relative
from ..data import Regression
from ..dynamics import Measure, gradient_flow
from ..networks import TwoLayerLinear, span_factors
from ..networks.init import LambdaBalanced
from ..theory import braun, domine, kunin
from ..theory.modes import lambda_balanced

TIMES = np.asarray([0.1, 0.3, 1.0, 2.0, 4.0])


class GramAlong(Measure):
    """`Z Z^T` of `Z = [V; U1]` at every saved time."""

    name = "gram"
    dims = ("time", "row", "column")

    def update(self, t: Any, view: Any, fixed: Any) -> Any:
        Z = jnp.concatenate(view.factors, axis=0)
        return Z @ Z.T

    def finish(self, ts: Any, saved: Any, last: Any, fixed: Any) -> Any:
        return saved


def flow(network: TwoLayerLinear, data: Regression) -> np.ndarray:
    """`Z Z^T` along the flow."""
    solution = gradient_flow(network, data, ts=TIMES, measures=[GramAlong()], rtol=1e-11)
    return np.asarray(solution.measures["gram"])


def whitened(seed: int, r: int, m: int) -> Regression:
    """Data whose singular values are 1."""
    return problems.gaussian(jr.key(seed), r, r + 3, m, whiten=True)


def by_gram(network: TwoLayerLinear, data: Regression, clock: float) -> np.ndarray:
    """`lambda_balanced` against the flow."""
    gram = lambda_balanced(network, data, clock * TIMES)
    blocks = [[gram.outputs, jnp.swapaxes(gram.product, -1, -2)], [gram.product, gram.inputs]]
    return relative(jnp.block(blocks), flow(network, data))


def fukumizu(preset: str, clock: float, seed: int) -> np.ndarray:
    """Balanced, tall, wide and square, narrow and wide networks."""
    errors = []
    for r, m, h in ((3, 2, 2), (2, 3, 6)):
        data = whitened(seed, r, m)
        network = LambdaBalanced(0.0, 0.5)(jr.key(seed), data, width=h)
        errors.append(by_gram(network, data, clock))
    return np.concatenate(errors)


def by_paper(formula: Any, network: TwoLayerLinear, data: Regression) -> np.ndarray:
    """A formula for `Q Q^T`, Q = [W1^T; W2] = [U1; V], against the flow."""
    V, U1 = span_factors(network, data)
    m = V.shape[0]
    found = np.stack([np.asarray(formula(U1.T, V, data.targets.T, t)) for t in TIMES])
    order = np.r_[np.arange(m) + U1.shape[0], np.arange(U1.shape[0])]
    return relative(found[:, order][:, :, order], flow(network, data))


def braun_errors(preset: str, clock: float, seed: int) -> np.ndarray:
    """Square and rectangular, zero-balanced."""
    errors = []
    for r, m, h in ((3, 3, 3), (4, 2, 3)):
        data = whitened(seed + 10, r, m)
        network = LambdaBalanced(0.0, 0.7)(jr.key(seed), data, width=h)
        errors.append(by_paper(lambda a, b, S, t: braun(a, b, S, clock * t), network, data))
    return np.concatenate(errors)


def domine_errors(preset: str, clock: float, seed: int) -> np.ndarray:
    """Square, both signs of lambda."""
    errors = []
    for lam in (0.8, -0.5):
        data = whitened(seed + 20, 3, 3)
        network = LambdaBalanced(lam, 0.7)(jr.key(seed), data, width=3)
        errors.append(
            by_paper(lambda a, b, S, t, lam=lam: domine(a, b, S, -lam, clock * t), network, data)
        )
    return np.concatenate(errors)


def general(preset: str, clock: float, seed: int) -> np.ndarray:
    """Any shape, both signs of lambda."""
    errors = []
    for r, m, h, lam in ((3, 2, 2, 0.6), (2, 4, 3, -0.7)):
        data = whitened(seed + 30, r, m)
        network = LambdaBalanced(lam, 0.6)(jr.key(seed), data, width=h)
        errors.append(by_gram(network, data, clock))
    return np.concatenate(errors)


def neuron(preset: str, clock: float, seed: int) -> np.ndarray:
    """One linear neuron, lazy, balanced and rich."""
    errors = []
    data = whitened(seed + 40, 4, 1)
    b = data.targets[:, 0]
    for a, size in ((1.5, 0.2), (0.6, 0.6), (0.2, 1.2)):
        w = jr.normal(jr.key(seed), (4,))
        w = size * w / jnp.linalg.norm(w)
        network = TwoLayerLinear(data.right @ w[:, None], jnp.full((1, 1), a))
        gram = flow(network, data)
        # nu = w . b / a = (a w) . b / a^2.
        nu = gram[:, 0, 1:] @ np.asarray(b) / gram[:, 0, 0]
        found = jax.vmap(lambda t, a=a, w=w: kunin(a, w, b, clock * t))(jnp.asarray(TIMES))
        errors.append(np.abs(np.asarray(found) - nu) / np.max(np.abs(nu)))
    return np.concatenate(errors)


CLAIMS = (
    agreement(
        "fukumizu1998.balanced",
        "Q Q^T = e^(Ft) Q0 [I + Q0^T (int_0^t e^(2Fs) ds) Q0]^-1 Q0^T e^(Ft)",
        fukumizu,
        source="Fukumizu (ICONIP 1998)",
        hypotheses="whitened inputs, U1^T U1 = V^T V",
    ),
    agreement(
        "braun2022.exact",
        "Q Q^T = Z M^-1 Z^T with Z, M of theorem 3.1",
        braun_errors,
        source="Braun, Domine, Fitzgerald, Saxe (NeurIPS 2022), theorem 3.1",
        provenance="second-hand",
        hypotheses="whitened inputs, U1^T U1 = V^T V, B invertible",
    ),
    agreement(
        "domine2025.exact",
        "Q Q^T = Z M^-1 Z^T with the lambda-balanced Z, M",
        domine_errors,
        source="Domine et al. (ICLR 2025)",
        hypotheses="whitened inputs, U1^T U1 - V^T V = lam I, lam != 0, m = n",
    ),
    agreement(
        "domine2025.any_shape",
        "Q Q^T = e^(Ft) Q0 [I + Q0^T (int_0^t e^(2Fs) ds) Q0]^-1 Q0^T e^(Ft), lam in F",
        general,
        source="derived; beyond Domine et al. (ICLR 2025), who need m = n",
        provenance="derived",
        hypotheses="whitened inputs, U1^T U1 - V^T V = lam I",
    ),
    agreement(
        "kunin2024.neuron",
        "nu(t) = (-delta + q tanh(q t/2 + artanh((delta + 2 nu0)/q))) / 2, nu = w . b / a",
        neuron,
        source="Kunin et al. (NeurIPS 2024), section 3",
        hypotheses="one neuron, whitened inputs",
    ),
)
