"""The imbalance, a conserved matrix whose spectrum bounds the rate of convergence."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...data import Regression
from ...networks import TwoLayerLinear, span_factors, stack


class Imbalance(eqx.Module):
    r"""The spectrum of the imbalance `Lambda = U1^T U1 - V^T V`, and constants that it determines.

    `lambda_i(A)` is the i-th largest eigenvalue of the h x h matrix A, and `[x]_+ = max(x, 0)`.

    **Attributes:**

    - `eigenvalues`: the k = min(h, m + r) eigenvalues of Lambda that can differ from 0,
      decreasing, shape `(k,)`; the other h - k are 0.
    - `lambda_r`: `[lambda_r(Lambda)]_+`, 0 if h < r.
    - `lambda_m`: `[lambda_m(-Lambda)]_+`, 0 if h < m.
    - `largest_plus`, `largest_minus`: `[lambda_1(Lambda)]_+` and `[lambda_1(-Lambda)]_+`.
    """

    eigenvalues: Float[Array, " k"]
    lambda_r: Float[Array, ""]
    lambda_m: Float[Array, ""]
    largest_plus: Float[Array, ""]
    largest_minus: Float[Array, ""]

    @property
    def c(self) -> Float[Array, ""]:
        """`c = [lambda_r(Lambda)]_+ + [lambda_m(-Lambda)]_+` (v2: `Delta_0`)."""
        return self.lambda_r + self.lambda_m

    @property
    def spread_plus(self) -> Float[Array, ""]:
        """`[lambda_1(Lambda)]_+ - [lambda_r(Lambda)]_+ >= 0` (v2: `Delta_+`)."""
        return self.largest_plus - self.lambda_r

    @property
    def spread_minus(self) -> Float[Array, ""]:
        """`[lambda_1(-Lambda)]_+ - [lambda_m(-Lambda)]_+ >= 0` (v2: `Delta_-`)."""
        return self.largest_minus - self.lambda_m


def imbalance(network: TwoLayerLinear, data: Regression) -> Imbalance:
    r"""The spectrum of the imbalance `Lambda = U1^T U1 - V^T V`, which the flow conserves.

    U1 is the part of the input weights on the span of the data, V (m, h) the output weights and r
    the rank of X. With `Z = [V; U1]` and `J = diag(I_m, -I_r)`, `Lambda = -Z^T J Z`. For h > m + r
    and `Z = L Q`, the rows of Q orthonormal, its spectrum is that of `-L^T J L`, of size m + r, and
    zeros, so that no h x h matrix is formed. Eigenvalues of modulus at most `eps k ||Z||_F^2`, the
    rounding of the product, are set to 0.

    **Arguments:** a `network`, and the `data` that it learns from.

    **Returns:** an `Imbalance`; its `c` is right for every width h.

    **Raises:** `ValueError` if the network does not fit the data.

    **Source:** Min et al. (ICML 2021), section 2.2 and theorem 1 (c); v2, proposition 1 (spreads).

    **Example:**

    >>> import jax.numpy as jnp
    >>> import jaxflow as jf
    >>> data = jf.Regression([[2.0, 0.0], [0.0, 1.0]], [2.0, 3.0])
    >>> network = jf.TwoLayerLinear(U=jnp.diag(jnp.array([2.0, 1.0])), V=jnp.array([[1.0, 0.0]]))
    >>> found = jf.theory.imbalance(network, data)
    >>> found.eigenvalues.round(6).tolist(), round(float(found.c), 6)
    ([3.0, 1.0], 1.0)
    """
    V, U1 = span_factors(network, data)
    m, r, h = V.shape[-2], U1.shape[-2], V.shape[-1]
    if h > m + r:
        L = jnp.linalg.qr(stack(V, U1).T, mode="r").T
        V, U1 = L[:m], L[m:]
    k = min(h, m + r)
    size = jnp.sum(V**2) + jnp.sum(U1**2)
    # By default GPUs would round single precision to ten bits here, far above `noise`.
    gram = functools.partial(jnp.matmul, precision="highest")
    values = jnp.linalg.eigvalsh(gram(U1.T, U1) - gram(V.T, V))[::-1]
    noise = k * float(jnp.finfo(values.dtype).eps) * size
    values = jnp.where(jnp.abs(values) <= noise, 0, values)
    plus, minus = jax.nn.relu(values), jax.nn.relu(-values[::-1])
    zero = jnp.zeros_like(size)
    # The h - k zeros left out do not matter: whatever they displace is clipped to 0.
    return Imbalance(
        eigenvalues=values,
        lambda_r=plus[r - 1] if k >= r else zero,
        lambda_m=minus[m - 1] if k >= m else zero,
        largest_plus=plus[0],
        largest_minus=minus[0],
    )
