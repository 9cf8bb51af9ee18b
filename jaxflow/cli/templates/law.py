"""A law of initialization of my own, beside one that jaxflow has.

Run it: jaxflow run my_law.py --figure law.png
"""

import jax

import jaxflow as jf

data = jf.data.gaussian(jax.random.key(1), samples=5, features=20)


def heavy_tails(key, data, *, width, freedom=4.0):
    """Entries of U (D, width) and V (m, width): Student's t, scaled to variance 1/width."""
    one, two = jax.random.split(key)
    scale = ((freedom - 2) / freedom / width) ** 0.5
    U = scale * jax.random.t(one, freedom, (data.features, width))
    V = scale * jax.random.t(two, freedom, (data.outputs, width))
    return jf.TwoLayerLinear(U, V)


plan = {
    "data": data,
    "widths": [16, 256],
    "seeds": 64,
    "until": jf.until.loss_ratio(1e-10),
    "measures": [jf.measures.OffSpanDistance()],
}
heavy = jf.Sweep(init=heavy_tails, **plan)
gaussian = jf.Sweep(init=jf.init.Gaussian(alpha=0.5), **plan)
