"""Wind, Antun, Hansen: which l1 minimizer diagonal networks find, and at what rate in alpha."""

import numpy as np
from scipy.optimize import linprog

from ..claims import Evidence, Moves, Paper, at_most, median_interval, near, presets
from ..data import Regression
from ..networks import MirrorMap
from ..theory import least_l1, least_potential

paper = Paper("wind2023", "Wind, Antun, Hansen (2023)", provenance="second-hand")
LINE = np.array([[1.0, 1, 1], [3, 0, 1]]), np.array([3.0, 3])
PLANE = np.array([[2.0, -1, 0, 1], [0, 3, 2, 0]]), np.array([0.0, 6])
DEPTHS = (2.0, 2.5, 3.0, 4.0)
SMALL = {2.0: -60.0, 2.5: -9.0, 3.0: -7.0, 4.0: -5.5}  # log alpha: as far as digits allow


def on_the_line(depth: float) -> np.ndarray:
    """The closed form of the limit on the data set LINE."""
    q = 1 - 2 / depth
    third = np.log(2) / 1.5 if q == 0 else -np.log1p(np.expm1(-q * np.log(2)) / 1.5) / q
    t = 1 / (1 + 3 * np.exp(-third))
    return np.array([1 - t, 2 * (1 - t), 3 * t])


@paper.claim(
    lambda shift: (
        "of the l1 minimizers, alpha -> 0 selects the least sum g_L(|b|), g_2 = x log(x / e), "
        f"g_L = -(L/2) x^(2/L){f', with L + {shift:.12g} for L' if shift else ''}"
    ),
    source="as in its authors' code; closed forms on their data sets",
    latex=r"\lim_{\alpha \to 0} \beta(\infty) = \operatorname{argmin}_{\text{least } \ell_1} "
    r"\sum_i g_L(\lvert\beta_i\rvert), \qquad g_2(x) = x \log \frac{x}{e}, \quad g_L(x) "
    r"= -\frac{L}{2} x^{2/L}",
    hypotheses="u(0) = v(0) = alpha -> 0",
    settings=presets(quick=DEPTHS, paper=DEPTHS, large=DEPTHS),
    moves=Moves("shift", "depth", by="difference"),
)
def limit(depths: tuple[float, ...], shift: float = 0.0) -> Evidence:
    """The limits from small alpha, against the selected minimizers (of another depth: `shift`)."""
    errors = []
    for which, (A, y) in enumerate((LINE, PLANE)):
        data = Regression(A, y)
        for depth in depths:
            found = least_potential(MirrorMap(log_alpha=SMALL[depth], depth=depth), data).beta
            said = depth + shift
            expected = least_l1(data, depth=said) if which else on_the_line(said)
            errors.append(np.abs(np.asarray(found) - expected).max())
    return at_most("error", errors, 1e-6, trials="problems")


def gap(data: Regression) -> float:
    """`1 - min max |x_j^T eta|` off the support, over certificates `X_S^T eta = sign(beta_S)`."""
    X, beta = np.asarray(data.X, float), least_l1(data)
    on = np.abs(beta) > 1e-9
    n, off = len(X), X[:, ~on].T
    bound = np.vstack([np.c_[off, -np.ones(len(off))], np.c_[-off, -np.ones(len(off))]])
    equal = np.c_[X[:, on].T, np.zeros(on.sum())]
    ends = [(None, None)] * n + [(0, None)]
    cost, none = np.r_[np.zeros(n), 1.0], np.zeros(len(bound))
    found = linprog(cost, bound, none, equal, np.sign(beta[on]), ends, method="highs")
    return 1 - float(found.x[-1])


def problem(seed: int) -> Regression:
    """Five features and three samples, as in the paper: the l1 minimizer is unique."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3, 5))
    return Regression(X, X @ np.r_[rng.normal(size=2), np.zeros(3)])


def slopes(problems: int, depth: float) -> np.ndarray:
    """Slopes of log error against log alpha, over the predicted ones, by problem."""
    ratios = []
    for seed in range(problems):
        data = problem(seed)
        predicted = 2 * gap(data) if depth == 2 else depth
        if depth == 2 and predicted < 0.1:
            continue  # almost no certificate: far beyond any alpha
        target, logs, errors = least_l1(data), [], []
        # Past the knee and above rounding, wherever that is.
        for decades in range(3, 60):
            log_alpha = -np.log(10) * decades / predicted
            mirror = MirrorMap(log_alpha=log_alpha, depth=depth)
            error = np.linalg.norm(np.asarray(least_potential(mirror, data).beta) - target)
            if error < 1e-8:
                break
            if error < 1e-4:
                logs.append(log_alpha)
                errors.append(error)
        ratios.append(np.polyfit(logs[1:], np.log(errors[1:]), 1)[0] / predicted)
    return np.asarray(ratios)


@paper.claim(
    lambda depth, times: (
        f"||beta(inf) - beta*|| ~ alpha^({'' if times == 1 else f'{times:g} * '}"
        f"{'2 delta' if depth == 2 else f'{depth:g}'})"
    ),
    name="exponent_depth_{depth:g}",
    each=[{"depth": depth} for depth in (2.0, 3.0, 4.0)],
    source="derived for the program whose limits they are",
    provenance="derived",
    latex=lambda depth, **_: (
        r"\lVert\beta(\infty) - \beta^*\rVert \,\sim\, \alpha^"
        + (r"{2 \delta}" if depth == 2 else f"{{{depth:g}}}")
    ),
    hypotheses="the l1 minimizer beta* is unique; over its certificates eta, "
    "delta = 1 - min max |x_j^T eta|",
    settings=presets(quick=16, paper=32, large=128),
    run=slopes,
    moves=Moves("times", "exponent"),
)
def exponent(ratios: np.ndarray, depth: float, times: float = 1.0) -> Evidence:
    """The median of the slopes over those predicted, and its interval of 99%.

    A problem whose knee is beyond the digits of the solver does not decide.
    """
    least, most = float(ratios.min()), float(ratios.max())
    return near(
        "exponent_over_predicted",
        float(np.median(ratios)),
        median_interval(ratios),
        times,
        0.02,
        measured={"least": least, "most": most},
        count=len(ratios),
        trials="problems",
    )
