"""What papers with closed forms share: two-layer flows from (lambda-)balanced weights."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from ... import data as problems
from ...claims import once, presets
from ...data import Regression
from ...dynamics import Measure, gradient_flow
from ...networks import TwoLayerLinear, span_factors
from ...networks.init import LambdaBalanced
from ...theory import lambda_balanced
from .agreement import relative

TIMES = np.asarray([0.1, 0.3, 1.0, 2.0, 4.0])


class Case(NamedTuple):
    """A problem with `rank` inputs and `outputs` targets, and a network with
    `U1^T U1 - V^T V = lam I` and weights of this `size`."""

    seed: int
    rank: int
    outputs: int
    width: int
    lam: float
    size: float


class GramAlong(Measure):
    """`Z Z^T` of `Z = [V; U1]` at every saved time."""

    name = "gram"
    dims = ("time", "row", "column")

    def update(self, t: Any, view: Any, fixed: Any) -> Any:
        Z = jnp.concatenate(view.factors, axis=0)
        return Z @ Z.T


def everywhere(*cases: Case) -> Callable[[str], tuple[Case, ...]]:
    """The same cases for every preset."""
    return presets(quick=cases, paper=cases, large=cases)


@once
def whitened(seed: int, rank: int, outputs: int) -> Regression:
    """Data whose singular values are 1, in the one basis that does not depend on rounding."""
    data = problems.gaussian(jr.key(seed), rank, rank + 3, outputs, whiten=True)
    return Regression.of_spectrum(jnp.ones(rank, data.Y.dtype), data.Y, features=rank + 3)


def gram_along(network: TwoLayerLinear, data: Regression) -> np.ndarray:
    """`Z Z^T` along the flow, which is integrated."""
    solution = gradient_flow(
        network, data, ts=TIMES, measures=[GramAlong()], rtol=1e-11, solver="explicit"
    )
    return np.asarray(solution.measures["gram"])


@once
def followed(case: Case) -> tuple[TwoLayerLinear, Regression, np.ndarray]:
    """The network of a case at the start, its data, and `Z Z^T` along its flow."""
    data = whitened(case.seed, case.rank, case.outputs)
    law = LambdaBalanced(case.lam, case.size)
    network = eqx.filter_jit(law)(jr.key(0), data, width=case.width)
    return network, data, gram_along(network, data)


def of_any_shape(cases: Sequence[Case], time_factor: float) -> np.ndarray:
    """The errors of `lambda_balanced`, which does not depend on the shape."""
    errors = []
    for case in cases:
        network, data, flow = followed(case)
        errors.append(relative(_gram(network, data, time_factor * TIMES), flow))
    return np.concatenate(errors)


@eqx.filter_jit
def _gram(network: TwoLayerLinear, data: Regression, ts: np.ndarray) -> Array:
    gram = lambda_balanced(network, data, ts)
    blocks = [[gram.outputs, jnp.swapaxes(gram.product, -1, -2)], [gram.product, gram.inputs]]
    return jnp.block(blocks)


def in_their_variables(
    formula: Callable[..., Any], cases: Sequence[Case], time_factor: float
) -> np.ndarray:
    """The errors of `formula(W1, W2, S, lam, t)` for `Q Q^T`, Q = [W1^T; W2] = [U1; V]."""
    errors = []
    for case in cases:
        network, data, flow = followed(case)
        V, U1 = span_factors(network, data)
        start, compiled = (U1.T, V, data.targets.T), jax.jit(formula)
        found = np.stack([compiled(*start, case.lam, time_factor * t) for t in TIMES])
        order = np.r_[case.rank + np.arange(case.outputs), np.arange(case.rank)]
        errors.append(relative(found[:, order][:, :, order], flow))
    return np.concatenate(errors)
