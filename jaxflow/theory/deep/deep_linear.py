"""Deep linear networks: conserved quantities, end-to-end dynamics, rates of balanced networks."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from scipy.special import hyp2f1

from ...machine.arguments import integer
from ...networks import DeepLinear


def layer_imbalances(network: DeepLinear) -> Float[Array, "pairs h h"]:
    r"""The imbalances `D_l = W_(l+1)^T W_(l+1) - W_l W_l^T` of all pairs of neighbouring layers.

    The gradient flow of any loss conserves them.

    **Source:** Arora, Cohen, Hazan (ICML 2018), as quoted in Arora et al. (ICLR 2019), section 3.2.
    """
    rows = jnp.concatenate([network.first @ network.first.T, *_squares(network.hidden, False)])
    columns = jnp.concatenate([*_squares(network.hidden, True), network.last.T @ network.last])
    h = network.width
    return columns.reshape(-1, h, h) - rows.reshape(-1, h, h)


def _squares(hidden: Array, columns: bool) -> list[Array]:
    which = "lij,lik->ljk" if columns else "lji,lki->ljk"
    return list(jnp.einsum(which, hidden, hidden))


def end_to_end_velocity(
    product: Float[Array, "m n"], gradient: Float[Array, "m n"], depth: int
) -> Float[Array, "m n"]:
    r"""The velocity of the product of a balanced network of L layers under gradient flow.

    `W' = -sum_(j=1)^L [W W^T]^((j-1)/L) (dL/dW) [W^T W]^((L-j)/L)`.

    **Arguments:** the `product` W, shape (outputs, inputs); the `gradient` dL/dW of the loss there;
    the `depth` L.

    **Source:** Arora, Cohen, Hazan (ICML 2018), as quoted in Arora et al. (ICLR 2019), section 3.2.
    """
    left, s, right = jnp.linalg.svd(product)
    m, n, k = *product.shape, len(s)
    rows = jnp.concatenate([s, jnp.zeros(m - k, s.dtype)])
    columns = jnp.concatenate([s, jnp.zeros(n - k, s.dtype)])
    turned = left.T @ gradient @ right.T
    total = jnp.zeros_like(turned)
    for j in range(1, depth + 1):
        # A power of exponent 0 is the identity, also of the eigenvalue 0.
        a = rows ** (2 * (j - 1) / depth) if j > 1 else jnp.ones_like(rows)
        b = columns ** (2 * (depth - j) / depth) if j < depth else jnp.ones_like(columns)
        total = total + a[:, None] * turned * b[None]
    return -left @ total @ right


def balanced_level(product: Float[Array, "n m"], depth: int, *, square: bool) -> Float[Array, ""]:
    r"""The least eigenvalue of the tangent kernel of a balanced network on whitened data.

    `L s_min^(2 - 2/L)` if the product is square (`square=True`), L the depth and s_min its least
    singular value; else `s_min^(2 - 2/L)`, since some directions are learned by one layer only.

    **Source:** Min, Vidal, Mallada (ICML 2023), (19), which prints the factor L for every shape.
    """
    least = jnp.linalg.svdvals(product)[-1] ** (2 - 2 / depth)
    return depth * least if square else least


def deficiency_margin(product: Float[Array, "n m"], target: Float[Array, "n m"]) -> Array:
    r"""The largest c with `||W - Phi||_F <= s_min(Phi) - c`; negative if there is no c >= 0.

    W is the product of the layers and Phi the target. Every W' with `s_min(W') <= c` has at least
    the loss of W, so that the flow keeps `s_min(W(t)) >= c`.

    **Source:** Arora, Cohen, Golowich, Hu (ICLR 2019), definition 2, for the whitened squared loss.
    """
    return jnp.linalg.svdvals(target)[-1] - jnp.linalg.norm(product - target)


def deep_mode_time(a: ArrayLike, s: float, a0: float, depth: int) -> np.ndarray:
    r"""The time that the balanced mode `a' = L a^(2 - 2/L) (s - a)` takes from a0 to a.

    `integral da / (L a^p (s - a))` with `p = 2 - 2/L`, whose antiderivative is
    `a^(1-p) 2F1(1, 1-p; 2-p; a/s) / (L s (1-p))`.

    **Arguments:** values `a`, the strength s > 0, the start a0, with 0 < a0 <= a < s, and L >= 3;
    for two layers see `saxe_time`.

    **Source:** Saxe, McClelland, Ganguli (2014), for the equation.
    """
    p = 2 - 2 / integer("depth", depth, 3)

    def antiderivative(x: Any) -> Any:
        x = np.asarray(x, float)
        return x ** (1 - p) * hyp2f1(1, 1 - p, 2 - p, x / s) / (depth * s * (1 - p))

    return np.asarray(antiderivative(a) - antiderivative(a0))
