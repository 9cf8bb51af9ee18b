"""A claim of my own: wide two-layer linear networks end near the min-norm solution.

Judge it: jaxflow verify my_claim.py
"""

import jax

import jaxflow as jf
from jaxflow.claims import Evidence, Moves, Paper, power, presets

mine = Paper("mine", "a conjecture", provenance="derived")


def plan(seeds):
    """What each preset runs; the number of seeds is theirs."""
    return jf.Sweep(
        jf.data.gaussian(jax.random.key(1), samples=5, features=20),
        jf.init.Gaussian(alpha=0.5),
        widths=[10**5, 10**6, 10**7, 10**8, 10**9],
        seeds=seeds,
        until=jf.until.loss_ratio(1e-20),
        measures=[jf.measures.OffSpanDistance()],
    )


@mine.claim(
    "||U(inf) V(inf)^T - Theta_hat||_F ~ h^({exponent:g})",
    hypotheses="h units, weights drawn from N(0, 1/h); Theta_hat: the min-norm solution",
    settings=presets(plan, quick=64, paper=256, large=1024),
    moves=Moves("exponent", "exponent", by="difference"),
)
def distance(dataset, exponent=-0.5) -> Evidence:
    """How the dataset of the sweep is judged."""
    off = dataset.off_span_distance.transpose("width", "seed")
    return power("exponent", dataset.width, off, exponent, 0.03, dataset=dataset)
