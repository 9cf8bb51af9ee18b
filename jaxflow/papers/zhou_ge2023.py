"""Zhou and Ge: an l1 + l2 parametrization, whose limit minimizes neither of the two norms."""

import itertools

import jax.random as jr
import numpy as np

from ..claims import Evidence, Moves, Paper, at_least, at_most, once, presets
from ..data import Regression
from ..networks import MirrorMap
from ..networks.init import Diagonal
from ..theory import least_l1, least_potential
from .settings.agreement import relative
from .settings.sparse_regression import parameter_limit, sparse_regression

paper = Paper("zhou_ge2023", "Zhou and Ge (ICML 2023)", provenance="second-hand")
QUICK, AS_PUBLISHED, LARGE = (40, 200, 2), (100, 1000, 5), (200, 4000, 5)  # n, d, sparsity
Sizes = tuple[int, int, int]


@once
def problem(sizes: Sizes, seed: int) -> tuple[Regression, np.ndarray]:
    """Gaussian inputs, a sparse teacher of ones, noise of size 0.5; and the teacher."""
    samples, features, sparse = sizes
    return sparse_regression(jr.key(seed), samples, features, sparse, entry=1.0, noise=0.5)


def flows(sizes: Sizes) -> list[tuple[float, float, np.ndarray]]:
    """alpha, lambda, and the limit of the flow in the parameters u, v and w."""
    data, _ = problem(sizes, 0)
    return [
        (alpha, skip, parameter_limit(Diagonal(alpha, skip=skip)(jr.key(0), data), data))
        for alpha, skip in itertools.product((0.05, 0.1, 0.2, 0.3), (0.3, 1.0))
    ]


@paper.claim(
    lambda times: (
        "beta(inf) minimizes sum Phi(beta) over X beta = y, Phi*(q) = (alpha^2/2) cosh(4 q) + "
        f"{'lambda' if times == 1 else f'({times:.12g} lambda)'}^2 q^2 / 2"
    ),
    source="for whose parametrization it is derived",
    provenance="derived",
    latex=r"\beta(\infty) = \operatorname{argmin}_{X \beta = y} \sum_i \Phi(\beta_i), \qquad "
    r"\Phi^*(q) = \frac{\alpha^2}{2} \cosh(4 q) + \frac{\lambda^2 q^2}{2}",
    hypotheses="beta = u^2 - v^2 + lambda w, u(0) = v(0) = alpha, w(0) = 0",
    settings=presets(quick=QUICK, paper=AS_PUBLISHED, large=LARGE),
    run=flows,
    moves=Moves("times", "weight lambda"),
)
def limit(
    flown: list[tuple[float, float, np.ndarray]], setting: Sizes, times: float = 1.0
) -> Evidence:
    """The limits of the flows against the minimizers, with lambda multiplied by `times`."""
    data, _ = problem(setting, 0)
    errors = []
    for alpha, skip, end in flown:
        expected = least_potential(MirrorMap(alpha, skip=times * skip), data).beta
        errors.append(relative(end, expected))
    return at_most("relative_error", errors, 1e-8)


@paper.claim(
    "||beta(inf) - beta*|| is less than that of the interpolators of least l1 and of least l2 "
    "norm, at lambda = {skip:g}",
    source="after its abstract, which is on the test loss of descent; at scales of our choice",
    provenance="derived",
    latex=r"\lVert\beta(\infty) - \beta^*\rVert < \min\left(\lVert\beta_{\ell_1} - "
    r"\beta^*\rVert,\ \lVert\beta_{\ell_2} - \beta^*\rVert\right)",
    hypotheses="beta* is a sparse teacher of ones; noise 0.5; alpha = 1e-20",
    settings=presets(quick=(QUICK, 8), paper=(AS_PUBLISHED, 16), large=(LARGE, 32)),
    mutant={"skip": 1.0},
    control={"skip": 0.02},  # the gain is not one of a single lambda
)
def error(given: tuple[Sizes, int], skip: float = 0.03) -> Evidence:
    """The smaller error of the two norms' interpolators over that of the flow, by problem."""
    sizes, seeds = given
    ratios = []
    for seed in range(seeds):
        data, beta = problem(sizes, seed)
        mirror = MirrorMap(log_alpha=-20 * np.log(10), skip=skip)
        mixed = np.asarray(least_potential(mirror, data).beta)
        norms = (least_l1(data), np.asarray(data.min_norm)[:, 0])
        best = min(np.linalg.norm(b - beta) for b in norms)
        ratios.append(best / np.linalg.norm(mixed - beta))
    return at_least("error_over_error", ratios, trials="problems")
