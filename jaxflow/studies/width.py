"""The width study: how fast two-layer linear networks learn, and where they end, by width."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from .. import claims, measures, theory
from ..claims import Verdict
from ..data import Regression
from ..data.regression import problem
from ..machine import Stopwatch
from ..machine.arguments import integer
from ..machine.keys import Key
from ..machine.progress import Progress, listening
from ..networks.init import Gaussian
from ..papers.min2021 import rate_on, rate_sweep
from ..report import sweep_figure
from ..sweeps import Sweep, run
from ..sweeps.power_law import Exponent
from ..sweeps.summary import WidthRow, by_width, width_exponent

WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)
CURVES = 4096  # the largest number of trajectories for which whole loss curves are kept by default
JUDGING = "judging: a finer sweep, a mutant and a control"


@dataclasses.dataclass(frozen=True, repr=False)
class WidthStudy:
    """What `width` returns."""

    sweep: Sweep
    dataset: xr.Dataset
    verdict: Verdict  # on the rate bound, theorem 1 of Min et al. (ICML 2021)
    fit: Exponent | None  # the power law of the off-span distance in the width
    why: str  # why there is no fit, where there is none
    figure: Figure
    time: Stopwatch

    @property
    def rows(self) -> list[WidthRow]:
        """Means over seeds, by width."""
        return by_width(self.dataset)

    def __repr__(self) -> str:
        words = {True: "holds", False: "is refuted", None: "is undecided"}
        slope = f"h^{self.fit.slope:.3f}" if self.fit else f"no fit ({self.why})"
        return (
            f"WidthStudy({len(self.sweep.axes['width'])} widths, {self.sweep.seeds} seeds per "
            f"width; the rate bound {words[self.verdict.holds]}; off-span distance: {slope}; "
            "see .rows, .dataset, .verdict, .fit, .figure)"
        )


def width(
    data: Regression,
    widths: Sequence[int] = WIDTHS,
    *,
    seeds: int = 64,
    alpha: float = 0.5,
    scale: tuple[float, ...] | None = None,
    key: Key | None = None,
    rtol: float | None = None,
    chunk: int | None = None,
    curves: bool | None = None,
    store: str | os.PathLike[str] | None = None,
    title: str = "",
    progress: Progress | bool = False,
) -> WidthStudy:
    r"""Train two-layer linear networks of many widths and judge the theory of their rate and limit.

    Every trajectory is the exact gradient flow of `L = 1/2 ||Y - X U V^T||^2` from Gaussian weights
    of variance `h^(-2 alpha)`, h the width, until `L - L*` has fallen to 1e-20 of its start. The
    rate bound `L - L* <= exp(-2 lambda_r c t) (L(0) - L*)` is judged on all of them, and a power
    law in h is fitted to the distance of the limit from the min-norm solution. A network of any
    width is reduced exactly to width m + r (m outputs, r the rank of X), so width 10^9 costs what
    width 100 costs.

    **Arguments:**

    - `data`: a `Regression`, such as `jf.data.load("digits", samples=12)`.
    - `widths`: the widths h. `seeds`: random networks per width.
    - `alpha`: 1/4 < alpha <= 1/2; or `scale=(su, sv)`: standard deviations of U and V.
    - `key`: a JAX key, or an integer seed; default `jax.random.key(0)`.
    - `rtol`: relative tolerance of the solver; default 1e-8, and 1e-5 in float32.
    - `chunk`: trajectories solved side by side; the default depends on the device.
    - `curves`: whether the loss at all saved times is kept, not only statistics; default up to
      4,096 trajectories.
    - `store`: a Zarr directory for the results; an interrupted study is resumed from it.
    - `title`: of the figure, before the sizes.
    - `progress`: as in `jf.run`.

    Judging runs a part of the sweep a second time with a 100 times smaller tolerance, to bound the
    integration error, and a few networks on which the bound is attained, to show that a rate 5%
    larger would have been refuted.

    **Returns:** a `WidthStudy` with `dataset`, `verdict`, `fit` (None where there is none, with the
    reason in `why`) and `figure`.

    **Raises:** `ValueError` for settings that cannot be run, or a store of another plan.

    **Source:** Min, Tarmoun, Vidal, Mallada (ICML 2021), theorems 1 and 2.
    """
    problem(data)
    seeds = integer("seeds", seeds)
    keep = len(widths) * seeds <= CURVES if curves is None else curves
    law = Gaussian(alpha) if scale is None else Gaussian(scale=scale)
    sweep = rate_sweep(
        data,
        law,
        widths=widths,
        measures=(*measures.standard(), *(measures.curves() if keep else ())),
        seeds=seeds,
        key=key,
        rtol=rtol,
        chunk=chunk,
    )
    with Stopwatch() as time, listening(progress) as listener:
        dataset = run(sweep, store=store, progress=listener)
        dataset["off_span_law"] = ("width", _law(sweep, law))
        dataset["off_span_law"].attrs["long_name"] = "wide-network law of the off-span distance"
        listener(JUDGING, 0, 0)
        verdict = _judge(sweep, dataset)
    fit, why = width_exponent(dataset, features=data.features, rank=data.rank)
    sizes = (
        f"{data.samples} samples, D = {data.features}, m = {data.outputs}, rank {data.rank}; "
        f"{seeds} seeds per width"
    )
    figure = sweep_figure(dataset, fit=fit, title=f"{title}: {sizes}" if title else sizes)
    return WidthStudy(sweep, dataset, verdict, fit, why, figure, time)


def _judge(sweep: Sweep, dataset: xr.Dataset) -> Verdict:
    """The verdict on the rate bound, on a sweep that was run; its preset is called "own"."""
    claim = rate_on(sweep)
    with claims.shared_runs():
        claims.give(sweep, dataset)
        return claims.judge(claim, claim.evaluate(sweep), "own")


def _law(sweep: Sweep, law: Gaussian) -> np.ndarray:
    """The root mean square off-span distance of wide networks, at every width."""
    options = {"alpha": law.alpha} if law.scale is None else {"scale": law.scale}
    (data,) = {id(cell.data): cell.data for cell in sweep.cells}.values()
    return np.asarray([float(theory.bias_law(data, w, **options)) for w in sweep.axes["width"]])
