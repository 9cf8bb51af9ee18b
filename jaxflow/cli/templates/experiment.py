"""An experiment of my own: where gradient flow and gradient descent end, by width and step.

Run it: jaxflow run my_experiment.py --figure out.png --json out.json
Change it: jaxflow run my_experiment.py:by_width --set width=64:1048576:5 --seeds 500
Keep it, to resume after an interruption: --store runs/my_experiment.zarr
"""

import jax
import optax

import jaxflow as jf

data = jf.data.gaussian(jax.random.key(1), samples=5, features=20)  # or jf.Regression(X, Y)
law = jf.init.Gaussian(alpha=0.5)  # entries N(0, 1/width); or a function of your own

# Every sweep at top level is an experiment.
by_width = jf.Sweep(
    data,
    law,
    over={"width": [64, 1024, 16384]},
    seeds=100,
    until=jf.until.loss_ratio(1e-10),
    measures=[jf.measures.OffSpanDistance(), *jf.measures.curves()],
)

by_step = jf.Sweep(
    data,
    law,
    over={"learning_rate": [0.003, 0.01, 0.03], "width": [64, 1024]},
    seeds=20,
    descent={"optimizer": optax.sgd, "steps": 2000},
    measures=[jf.measures.OffSpanDistance()],
)


# So is a function that is annotated to return a Sweep or a Solution; --set changes its arguments.
def one_flow(width: int = 500, t1: float = 10.0) -> jf.Solution:
    """A single trajectory."""
    network = law(jax.random.key(0), data, width=width)
    return jf.gradient_flow(network, data, t1=t1)
