import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxflow as jf


def test_what_is_left_to_learn_is_read_off_the_residual_at_any_depth():
    data = jf.data.spectrum(jr.key(0), 4, 6, 1, singular_values=[1.3, 0.9, 0.7])
    network = jf.init.Gaussian()(jr.key(1), data, width=12)
    solution = jf.gradient_flow(
        network,
        data,
        until=jf.until.loss_ratio(1e-200),
        measures=[jf.measures.InSpanDistance()],
    ).check()
    size = jnp.exp(0.5 * (solution.log_excess1 + np.log(2.0)))  # ||E||_F
    distance = solution.measures["in_span_distance"]
    s = data.singular_values
    assert size / s[0] * (1 - 1e-9) <= distance <= size / s[-1] * (1 + 1e-9)
    assert distance < 1e-98
