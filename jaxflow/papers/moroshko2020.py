"""Moroshko et al.: initialization scale against training accuracy, under the exponential loss."""

import math

import jax.random as jr
import numpy as np

from ..claims import Evidence, Moves, Paper, at_least, at_most, once, presets
from ..data import Regression
from ..dynamics import log_loss_flow
from ..networks import MirrorMap
from ..networks.init import Diagonal
from ..theory import max_margin_l1, max_margin_l2, max_margin_potential, stationarity
from .settings.agreement import relative

paper = Paper("moroshko2020", "Moroshko et al. (NeurIPS 2020)", provenance="memory")
SEEDS = presets(range, quick=16, paper=32, large=64)  # of the problems
LATE = 1e5  # -log L: an accuracy of 1e-43429
MU = 0.1  # alpha^2 / gamma
NORMS = {"l1": (1, max_margin_l1), "l2": (2, max_margin_l2)}


@once
def problem(seed: int) -> Regression:
    """Labels of a sparse teacher: ten samples in fifteen dimensions."""
    X = np.asarray(jr.normal(jr.key(seed), (10, 15)))
    return Regression(X, np.sign(X[:, 0] + 0.3 * X[:, 1]))


@once
def separator(seed: int, depth: float, alpha: float, s: float) -> tuple[np.ndarray, float]:
    """beta and its least margin gamma at `-log L = s`."""
    data = problem(seed)
    found = log_loss_flow(Diagonal(alpha, depth)(jr.key(0), data), data, [s])
    assert bool(found.finished)
    return np.asarray(found.beta)[-1], float(np.asarray(found.margins)[-1].min())


@once
def kept(seed: int) -> bool:
    """Whether no multiplier of the margin problem falls as mu falls from 1e4 MU to MU.

    Along the flow the multipliers are integrals of exp(-margin), which cannot fall.
    """
    path = MU * np.geomspace(1e4, 1, 41)
    every = [max_margin_potential(MirrorMap(m**0.5), problem(seed)).multipliers for m in path]
    return bool(np.all(np.diff(every, axis=0) >= -1e-9))


@once
def distance(seed: int, times: float) -> float:
    """At large alpha, from the direction at mu to the minimizer at `times` mu, relative."""
    alpha = 100.0
    beta, gamma = separator(seed, 2.0, alpha, alpha**2 / MU)
    scale = math.sqrt(times * alpha**2 / gamma)
    return float(relative(beta / gamma, max_margin_potential(MirrorMap(scale), problem(seed)).beta))


PATH = (
    r"\frac{\beta}{\gamma} \to \operatorname{argmin}_{y_n x_n^\top b \ge 1} Q^L_\mu(b) "
    r"\quad \text{as } \alpha \to \infty,\ \mu = \frac{\alpha^L}{\gamma}"
)


def path_statement(times: float, **_: bool) -> str:
    """The statement about the intermediate regime."""
    mu = "mu" if times == 1 else f"({times:.12g} mu)"
    return (
        f"beta / gamma -> argmin Q^L_{mu} over margins >= 1, for alpha -> inf at fixed "
        "mu = alpha^L / gamma"
    )


@paper.claim(
    path_statement,
    source="on its intermediate regime; the condition on the multipliers is ours",
    latex=PATH,
    hypotheses="exponential loss, depth L = 2, gamma the least margin; here alpha = 100 and "
    "mu = 0.1; no multiplier of the problem falls as mu does, from infinity on",
    settings=SEEDS,
    moves=Moves("times", "scale mu"),
)
def path(seeds: range, times: float = 1.0) -> Evidence:
    """The directions on the problems whose multipliers do not fall."""
    errors, applies = [distance(seed, times) for seed in seeds], [kept(seed) for seed in seeds]
    return at_most("relative_distance", errors, 1e-3, applies=applies, trials="problems")


@paper.claim(
    path_statement,
    source="not known to be in the paper: the same without the condition on the multipliers",
    provenance="derived",
    latex=PATH,
    hypotheses="exponential loss, depth L = 2, gamma the least margin; here alpha = 100 and "
    "mu = 0.1; no condition on the data",
    settings=SEEDS,
    expected=False,
    mutant={"times": 1.1, "any_data": False},
    control={"any_data": False},
)
def path_without_the_condition(seeds: range, times: float = 1.0, any_data: bool = True) -> Evidence:
    """The directions on all problems."""
    if not any_data:
        return path(seeds, times)
    errors = [distance(seed, times) for seed in seeds]
    return at_most("relative_distance", errors, 1e-3, trials="problems")


def shares(seeds: range, norm: str, depth: float, alphas: tuple[float, ...]) -> list[float]:
    """The margin of late separators in this norm, over the greatest one."""
    order, greatest = NORMS[norm]
    ratios = []
    for seed in seeds:
        best = np.linalg.norm(greatest(problem(seed)).beta, order)
        for alpha in alphas:
            beta, gamma = separator(seed, depth, alpha, LATE)
            ratios.append(float(best * gamma / np.linalg.norm(beta, order)))
    return ratios


@paper.claim(
    "at depth 2 the {norm} margin is the greatest as L -> 0 ({least:g} of it at L = e^-100000)",
    source="on fixed alpha at depth 2",
    latex=r"\frac{\gamma(\beta)}{\lVert\beta\rVert_1} \to \max_b \frac{\gamma(b)}{\lVert "
    r"b\rVert_1} \quad \text{as } \mathcal{L} \to 0",
    hypotheses="exponential loss L, fixed alpha, depth 2",
    settings=SEEDS,
    moves=Moves("least", "share"),
    mutant={"norm": "l2"},
)
def l1_margin(seeds: range, norm: str = "l1", least: float = 0.95) -> Evidence:
    """The margin in this norm over the greatest one, from two scales of the initialization."""
    ratios = shares(seeds, norm, 2.0, (0.1, 1.0))
    return at_least("share_of_the_margin", ratios, least, trials="problems")


@paper.claim(
    "at depth 3 separators tend to stationary points of the l_(2/3) margin: what is left of the "
    "optimality condition falls by more than {factor:g} from L = e^-100000 to e^-1000000",
    source="on fixed alpha beyond depth 2",
    latex=r"\frac{\beta}{\gamma} \to \text{a stationary point of } \min_{y_n x_n^\top b \ge "
    r"1} \lVert b\rVert_{2/3} \quad \text{as } \mathcal{L} \to 0",
    hypotheses="exponential loss L, fixed alpha = 0.1",
    settings=SEEDS,
    moves="factor",
)
def stationary(seeds: range, factor: float = 1.0) -> Evidence:
    """How far separators of depth 3 are from stationary points, late and ten times as late."""
    left = np.asarray(
        [
            [stationarity(separator(seed, 3.0, 0.1, s)[0], problem(seed), 3.0) for seed in seeds]
            for s in (LATE, 10 * LATE)
        ]
    )
    measured = {"stationarity_median": float(np.median(left[1])), "largest": float(left[1].max())}
    return at_least("fall", left[0] / left[1], factor, measured=measured, trials="problems")


@paper.claim(
    "at depth 3 the l1 margin is at least {least:g} of the greatest as L -> 0",
    source="what holds at depth 2, asked at depth 3; not known to be in the paper",
    provenance="derived",
    latex=r"\frac{\gamma(\beta)}{\lVert\beta\rVert_1} \ge 0.95\, \max_b "
    r"\frac{\gamma(b)}{\lVert b\rVert_1} \quad \text{as } \mathcal{L} \to 0",
    hypotheses="exponential loss L, fixed alpha = 0.1",
    settings=SEEDS,
    expected=False,
    moves=Moves("least", "share"),
)
def l1_margin_at_depth_3(seeds: range, least: float = 0.95) -> Evidence:
    """The l1 margin of separators of depth 3 over the greatest one."""
    ratios = shares(seeds, "l1", 3.0, (0.1,))
    return at_least("share_of_the_margin", ratios, least, trials="problems")
