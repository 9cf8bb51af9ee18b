"""Woodworth et al.: kernel and rich regimes of diagonal linear networks."""

import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr
from jaxtyping import Array

from .. import data as problems
from ..claims import Evidence, Moves, Paper, at_least, at_most, finished, once, power, presets
from ..data import Regression
from ..dynamics import gradient_flow, until
from ..dynamics.measure import Measure
from ..dynamics.view import View
from ..measures import Product
from ..networks import MirrorMap
from ..networks.init import Diagonal, Gaussian
from ..sweeps import Sweep
from ..theory import least_l1, least_potential
from .settings.agreement import relative
from .settings.sparse_regression import parameter_limit, sparse_regression

paper = Paper("woodworth2020", "Woodworth et al. (COLT 2020)", provenance="read")


@once
def problem(seed: int, samples: int, features: int, sparse: int) -> tuple[Regression, np.ndarray]:
    """Gaussian inputs, a teacher whose r* entries are 1/sqrt(r*), noise 0.1; and the teacher."""
    key, entry = jr.key(seed), sparse**-0.5
    return sparse_regression(key, samples, features, sparse, entry=entry, noise=0.1)


class Flows(NamedTuple):
    """Samples, features and teacher entries of a problem; the depths and scales of its flows."""

    sizes: tuple[int, int, int]
    depths: tuple[float, ...]
    alphas: tuple[float, ...]

    @property
    def data(self) -> Regression:
        """The problem."""
        return problem(20, *self.sizes)[0]


FLOWS = presets(
    quick=Flows((8, 24, 2), (2.0, 3.0, 4.0), (0.1, 1.0, 10.0)),
    paper=Flows((100, 1000, 5), (2.0, 3.0, 4.0), (0.03, 0.1, 0.3, 1.0, 10.0)),
    large=Flows((200, 4000, 5), (2.0, 2.5, 3.0, 4.0), (0.01, 0.03, 0.1, 0.3, 1.0, 10.0)),
)


def ends(flows: Flows) -> list[tuple[float, float, np.ndarray]]:
    """Depth L, scale alpha and limit of flows in the parameters."""
    data = flows.data
    return [
        (depth, alpha, parameter_limit(Diagonal(alpha, depth)(jr.key(0), data), data))
        for depth in flows.depths
        for alpha in flows.alphas
    ]


@paper.claim(
    lambda times: (
        f"beta(inf) minimizes Q^L_{'alpha' if times == 1 else f'({times:.12g} alpha)'}(beta) over "
        "X beta = y"
    ),
    source="theorems 1 and 3",
    latex=r"\beta(\infty) = \operatorname{argmin}_{X \beta = y} Q^L_\alpha(\beta)",
    hypotheses="beta = u^L - v^L, u(0) = v(0) = alpha, and the flow reaches zero loss",
    settings=FLOWS,
    run=ends,
    moves=Moves("times", "scale alpha"),
)
def limit(
    flown: list[tuple[float, float, np.ndarray]], setting: Flows, times: float = 1.0
) -> Evidence:
    """The limits against the minimizers at `times` the scale."""
    data, errors = setting.data, []
    for depth, alpha, end in flown:
        expected = np.asarray(least_potential(MirrorMap(times * alpha, depth), data).beta)
        errors.append(relative(end, expected))
    return at_most("relative_error", errors, 1e-8)


@once
def predictors(
    flows: Flows, start: float, depth: float, formulation: str, rows_scaled: bool
) -> np.ndarray:
    """beta at finite times; with `rows_scaled`, under the loss of rows of other scales."""
    data = flows.data
    ts = np.array([0.1, 0.3, 1.0, 3.0, 10.0]) / float(data.singular_values[0]) ** 2
    network = Diagonal(start, depth)(jr.key(0), data)
    if rows_scaled:
        scale = np.linspace(0.9, 1.1, data.samples)[:, None]
        data = Regression(scale * data.X, scale * data.Y)
    solution = gradient_flow(
        network, data, ts=ts, formulation=formulation, measures=[Product()], rtol=1e-12
    )
    return np.asarray(solution.check().measures["product"])


@paper.claim(
    lambda rows_scaled, **_: (
        "grad Phi(beta(t)) = X^T nu(t), nu' = y - X beta"
        f"{', with rows of another scale' if rows_scaled else ''}"
    ),
    source="appendix D, proof of theorem 1, and appendix F",
    latex=r"\nabla \Phi(\beta(t)) = X^\top \nu(t), \qquad \dot\nu = y - X \beta",
    hypotheses="Phi is the potential of u^L - v^L from u(0) = v(0) = alpha",
    settings=FLOWS,
    mutant={"rows_scaled": True},
    control={"start": 0.6},  # from another scale of the start
)
def path(flows: Flows, start: float = 0.5, rows_scaled: bool = False) -> Evidence:
    """Flows in mirror coordinates and in the parameters, at finite times."""
    errors = [
        relative(
            predictors(flows, start, depth, "mirror", rows_scaled),
            predictors(flows, start, depth, "residual", False),
        )
        for depth in flows.depths
    ]
    return at_most("relative_error", np.concatenate(errors), 1e-9, trials="comparisons")


THRESHOLDS = {
    "rich": (
        r"\alpha \le \min\left\{\left(2 (1 + \epsilon) "
        r"\lVert\beta^*_{\ell_1}\rVert_1\right)^{-\frac{2 + \epsilon}{2 \epsilon}},\ "
        r"e^{-d/(\epsilon \lVert\beta^*_{\ell_1}\rVert_1)}\right\} \ \Rightarrow\ "
        r"\lVert\beta(\infty)\rVert_1 \le (1 + \epsilon) \lVert\beta^*_{\ell_1}\rVert_1"
    ),
    "kernel": (
        r"\alpha \ge \sqrt{2 (1 + \epsilon) \left(1 + \frac{2}{\epsilon}\right) "
        r"\lVert\beta^*_{\ell_2}\rVert_2} \ \Rightarrow\ \lVert\beta(\infty)\rVert_2^2 "
        r"\le (1 + \epsilon) \lVert\beta^*_{\ell_2}\rVert_2^2"
    ),
}


def threshold_statement(regime: str, factor: float) -> str:
    """The statement about the scale from which on a regime begins, N the least norm."""
    times = "" if factor == 1 else f"{factor:.12g} * "
    if regime == "rich":
        return (
            f"log alpha = {times}min(-(2 + eps)/(2 eps) log(2 (1 + eps) N), -d/(eps N)) gives "
            "||beta(inf)||_1 <= (1 + eps) N, N the least l1 norm"
        )
    return (
        f"alpha = {times}sqrt(2 (1 + eps) (1 + 2/eps) N) gives ||beta(inf)||_2^2 <= "
        "(1 + eps) N^2, N the least l2 norm"
    )


@paper.claim(
    threshold_statement,
    name="{regime}",
    each=[{"regime": "rich"}, {"regime": "kernel"}],
    source="theorem 2",
    latex=lambda regime, **_: THRESHOLDS[regime],
    hypotheses="depth 2, u(0) = v(0) = alpha, 0 < eps < d",
    settings=presets(range, quick=8, paper=32, large=128),
    moves=Moves("factor", "scale"),
)
def threshold(seeds: range, regime: str, factor: float = 1.0) -> Evidence:
    """`(1 + eps)` of the least norm over that of the limit from the regime's scale, by problem."""
    ratios = []
    for seed in seeds:
        data = problems.gaussian(jr.key(seed), 4, 10, 1)
        least = float(np.abs(least_l1(data)).sum())
        square = float(np.sum(np.asarray(data.min_norm) ** 2))
        for eps in (0.1, 0.5, 1.0):
            if regime == "rich":
                log_size = math.log(2 * (1 + eps) * least)
                log_alpha = min(-(2 + eps) / (2 * eps) * log_size, -data.features / (eps * least))
                mirror = MirrorMap(log_alpha=factor * log_alpha)
                ratio = least / np.abs(least_potential(mirror, data).beta).sum()
            else:
                mirror = MirrorMap(
                    factor * math.sqrt(2 * (1 + eps) * (1 + 2 / eps) * math.sqrt(square))
                )
                ratio = square / np.sum(np.asarray(least_potential(mirror, data).beta) ** 2)
            ratios.append((1 + eps) * float(ratio))
    return at_least("bound_over_norm", ratios, allowance=1e-9, trials="problems")


class Teachers(NamedTuple):
    """Problems of sparse regression: numbers of samples, and how many seeds of each."""

    features: int
    sparse: int
    samples: tuple[int, ...]
    seeds: int


TEACHERS = presets(
    quick=Teachers(200, 3, (50, 60, 80), 4),
    paper=Teachers(1000, 5, (80, 100, 140, 200), 16),
    large=Teachers(1000, 5, (80, 100, 140, 200), 64),
)
SCALES = np.geomspace(1e-3, 3, 15)


@jax.jit
def population_errors(data: Regression, beta: Array, depth: Array) -> Array:
    """`E (x^T beta(inf) - x^T beta*)^2` for each of SCALES."""

    def error(alpha: Array) -> Array:
        return jnp.sum((least_potential(MirrorMap(alpha, depth), data).beta - beta) ** 2)

    return jax.lax.map(error, jnp.asarray(SCALES))


@once
def largest_scale(teachers: Teachers, depth: float, samples: int, seed: int) -> float:
    """The largest alpha from which the limit generalizes: population error at most 0.1."""
    data, beta = problem(seed, samples, teachers.features, teachers.sparse)
    errors = np.asarray(population_errors(data, jnp.asarray(beta), depth))
    bad = np.flatnonzero(errors > 0.1)
    i = bad[0] if len(bad) else len(SCALES)
    if i in (0, len(SCALES)):
        return float("nan")
    part = (np.log(0.1) - np.log(errors[i - 1])) / np.log(errors[i] / errors[i - 1])
    return float(SCALES[i - 1] * (SCALES[i] / SCALES[i - 1]) ** part)


@paper.claim(
    lambda along, reverse: (
        f"the largest {'alpha^L' if along == 'depth' else 'alpha'} with "
        f"E (x^T beta(inf) - x^T beta*)^2 <= 0.1 {'falls' if reverse else 'grows'} with "
        f"{'L' if along == 'depth' else 'the number of samples'}"
    ),
    name="{along}",
    each=[{"along": "depth"}, {"along": "samples"}],
    source="figures 1(c) and 3(c), which have an error of .025; at a level and sizes of our choice",
    latex=lambda along, **_: (
        r"\alpha_{\max}^L \text{ grows with } L"
        if along == "depth"
        else r"\alpha_{\max} \text{ grows with } n"
    ),
    hypotheses="sparse regression, more samples than exact recovery by least l1 norm needs",
    settings=TEACHERS,
    mutant={"reverse": True},
)
def transition(teachers: Teachers, along: str, reverse: bool = False) -> Evidence:
    """The ratio of each scale to the one before it (the one after it: `reverse`)."""
    fixed = teachers.samples[1]
    every = [(L, fixed) for L in (2.0, 3.0, 4.0)]
    if along == "samples":
        every = [(2.0, n) for n in teachers.samples]
    scales = np.asarray(
        [[largest_scale(teachers, *one, s) for one in every] for s in range(teachers.seeds)]
    )
    if along == "depth":
        scales = scales ** [depth for depth, _ in every]  # the size of the predictor at time 0
    ratio = scales[:, 1:] / scales[:, :-1]
    return at_least(
        "ratio",
        1 / ratio if reverse else ratio,
        failed=np.isnan(ratio),
        measured={"scales_median": [float(v) for v in np.median(scales, axis=0)]},
        trials="pairs",
    )


class KernelChange(Measure):
    """`||T(end) - T(0)||_F / ||T(0)||_F` of the tangent kernel of a two-layer linear network."""

    name: ClassVar[str] = "kernel_change"
    rotation_free: ClassVar[bool] = True

    def start(self, first: View) -> Any:
        return _factor_kernel(first)

    def finish(self, ts: Any, saved: Any, last: View, fixed: Any) -> Array:
        return jnp.linalg.norm(_factor_kernel(last) - fixed) / jnp.linalg.norm(fixed)


def _factor_kernel(view: View) -> Array:
    V, U1 = view.factors
    hidden, output = U1 @ U1.T, V @ V.T
    return jnp.kron(hidden, jnp.eye(len(output))) + jnp.kron(jnp.eye(len(hidden)), output)


def factorization(sizes: tuple[int, int], alpha: float) -> xr.Dataset:
    """Flows of `M = U V^T` to a matrix of rank one and size ten, entries N(0, k^(-2 alpha))."""
    widths, seeds = sizes
    u, v = (np.linalg.qr(np.asarray(jr.normal(jr.key(i), (4, 1))))[0] for i in (0, 1))
    sweep = Sweep(
        Regression(np.eye(4), 10 * u @ v.T),
        Gaussian(alpha=alpha),
        widths=[10**k for k in range(4, 4 + widths)],
        seeds=seeds,
        until=until.loss_ratio(1e-16),
        measures=[KernelChange()],
    )
    return finished(sweep)


@paper.claim(
    lambda alpha: (
        f"M = U V^T of width k from N(0, alpha^2): at fixed alpha^2 k^{2 * alpha:g}, "
        "||T(inf) - T(0)|| / ||T(0)|| does not depend on k"
    ),
    source="section 6 argues for sigma sqrt(k); derived for the change of the kernel",
    provenance="derived",
    latex=r"\frac{\lVert T(\infty) - T(0)\rVert}{\lVert T(0)\rVert} \,\sim\, k^{0} \quad "
    r"\text{at fixed } \alpha^2 k",
    hypotheses="T is the tangent kernel; k large; all entries of the matrix are observed",
    settings=presets(quick=(4, 32), paper=(6, 256), large=(6, 1024)),
    run=factorization,
    mutant={"alpha": 0.3},
)
def width(found: xr.Dataset, alpha: float = 0.5) -> Evidence:
    """The exponent in k of the kernel's relative change."""
    return power(
        "exponent",
        found.width.values,
        found.kernel_change.transpose("width", "seed").values,
        0.0,
        0.02,
        measured={"change_median": float(found.kernel_change.median())},
        dataset=found,
    )
