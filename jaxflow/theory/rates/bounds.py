"""Lower bounds on the rate of convergence of two-layer linear networks, and the exact rates."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ...data import Regression
from ...networks import TwoLayerLinear, span_factors
from .imbalance import Imbalance, imbalance


class RateBound(eqx.Module):
    r"""An upper bound `L(t) - L* <= exp(-rate t) (L(0) - L*)`.

    **Attributes:**

    - `rate`: the exponent of `L - L*`, in 1 / flow time.
    - `level`: `rate / (2 s_r^2)`, s_r the least singular value of X: what the weights contribute
      to the rate. For theorem 1 it is c.
    - `log_excess`: `log(L(0) - L*)` of the network that the bound was computed from.

    The network that `rate_bound` was given stands at time 0. To restart the bound at a time t0,
    call `rate_bound` with the network at t0, and count t from there.
    """

    rate: Float[Array, ""]
    level: Float[Array, ""]
    log_excess: Float[Array, ""]

    def log_envelope(self, t: ArrayLike) -> Float[Array, "..."]:
        """`log(L(0) - L*) - rate t` at flow times t, of any shape."""
        return self.log_excess - self.rate * jnp.asarray(t, self.rate.dtype)

    def envelope(self, t: ArrayLike) -> Float[Array, "..."]:
        """`exp(-rate t) (L(0) - L*)` at flow times t, of any shape."""
        return jnp.exp(self.log_envelope(t))


def rate_bound(
    network: TwoLayerLinear,
    data: Regression,
    *,
    margin: bool = False,
    residual: Float[Array, "r m"] | None = None,
) -> RateBound:
    r"""The lower bound of Min et al. on the rate of gradient flow from a network.

    With `c = [lambda_r(Lambda)]_+ + [lambda_m(-Lambda)]_+` of the imbalance Lambda, and s_1 and s_r
    the largest and the least singular values of X,

        `L(t) - L* <= exp(-2 s_r^2 c t) (L(0) - L*)`,

    and with `margin=True`, with `d+ = [lambda_1(Lambda)]_+ - [lambda_r(Lambda)]_+`,
    `d- = [lambda_1(-Lambda)]_+ - [lambda_m(-Lambda)]_+`, `Ytil = W^T Y`, singular values
    `sigma_i` (0 for i > min(r, m)) and `mu_i = [sigma_i(Ytil) - ||E(0)||_F]_+ / s_1`,

        `L(t) - L* <= exp(-s_r^2 k t) (L(0) - L*)`,
        `k = -d+ + sqrt((d+ + c)^2 + 4 mu_m^2) - d- + sqrt((d- + c)^2 + 4 mu_r^2) >= 2 c`.

    A bound with rate 0 says nothing: a positive rate needs c > 0 or a positive margin. Nothing is
    assumed about n and D.

    **Arguments:**

    - `network`, `data`: the network at time 0, and what it learns.
    - `margin`: whether to use the distance to the target as well as the imbalance.
    - `residual`: `E = W^T Y - S U1 V^T`, shape `(r, m)`, if it is known more accurately than from
      the weights, which determine it up to rounding only.

    **Returns:** a `RateBound`.

    **Raises:** `ValueError` if the network does not fit the data.

    **Source:** Min et al. (ICML 2021), theorem 1; with `margin`, v2 (arXiv 2105.06351v2),
    theorem 3.

    **Example:** here c = 1 and s_r = 1.

    >>> import jax.numpy as jnp
    >>> import jaxflow as jf
    >>> data = jf.Regression([[2.0, 0.0], [0.0, 1.0]], [2.0, 3.0])
    >>> network = jf.TwoLayerLinear(U=jnp.diag(jnp.array([2.0, 1.0])), V=jnp.array([[1.0, 0.0]]))
    >>> round(float(jf.theory.rate_bound(network, data).rate), 6)
    2.0
    """
    spectrum = imbalance(network, data)
    E = span_residual(network, data) if residual is None else residual
    log_excess = log_half_square(E)
    if margin:
        top = jnp.max(jnp.abs(E))
        distance = top * jnp.sqrt(jnp.sum((E / jnp.where(top > 0, top, 1)) ** 2))
        targets = jnp.linalg.svdvals(data.targets)
        reach = jax.nn.relu(targets - distance) / data.singular_values[0]
        level = margin_level(spectrum, reach, data)
    else:
        level = spectrum.c
    return RateBound(2 * data.singular_values[-1] ** 2 * level, level, log_excess)


def instantaneous_bound(network: TwoLayerLinear, data: Regression) -> Float[Array, ""]:
    r"""A lower bound on the instantaneous rate, from the imbalance and the product alone.

        `-(d/dt) log(L - L*) >= s_r^2 { -d+ + sqrt((d+ + c)^2 + 4 sigma_m(U1 V^T)^2)
                                        - d- + sqrt((d- + c)^2 + 4 sigma_r(U1 V^T)^2) }`

    in the notation of `rate_bound`. For r != m no better bound depends on these two alone.

    **Arguments:** a `network` and the `data` that it learns from.

    **Returns:** the bound, in 1 / flow time.

    **Raises:** `ValueError` if the network does not fit the data.

    **Source:** Min et al., v2 (arXiv 2105.06351v2), proposition 1.
    """
    V, U1 = span_factors(network, data)
    product = jnp.linalg.svdvals(U1 @ V.T)
    level = margin_level(imbalance(network, data), product, data)
    return 2 * data.singular_values[-1] ** 2 * level


def instantaneous_rate(
    network: TwoLayerLinear, data: Regression, *, residual: Float[Array, "r m"] | None = None
) -> Float[Array, ""]:
    r"""The exact instantaneous rate.

        `-(d/dt) log(L - L*) = 2 (||U1^T S E||_F^2 + ||S E V||_F^2) / ||E||_F^2`

    **Arguments:** as in `rate_bound`.

    **Returns:** the rate, in 1 / flow time; nan at a minimum (E = 0), where `limit_rate` applies.

    **Raises:** `ValueError` if the network does not fit the data.

    **Source:** the flow `V' = E^T S U1`, `U1' = S E V` (Min et al., ICML 2021, eq. 7).
    """
    V, U1 = span_factors(network, data)
    E = span_residual(network, data) if residual is None else residual
    E = E / jnp.max(jnp.abs(E))
    SE = data.singular_values[:, None] * E
    return 2 * (jnp.sum((U1.T @ SE) ** 2) + jnp.sum((SE @ V) ** 2)) / jnp.sum(E**2)


def limit_rate(network: TwoLayerLinear, data: Regression) -> Float[Array, ""]:
    r"""The exact asymptotic rate of `L - L*` near a minimum.

    Near a minimum `E' = -S U1 U1^T S E - S^2 E V V^T`, a linear flow whose slowest rate gives

        `2 lambda_min(V V^T kron S^2 + I kron S U1 U1^T S)
            = 2 lambda_min(lambda_min(V V^T) S^2 + S U1 U1^T S)`:

    in the eigenvectors of `V V^T` the operator consists of m blocks of size r, which increase with
    the eigenvalue, so that only the least one is needed. Its least eigenvalue is computed as a
    squared singular value, accurate for condition numbers of X^T X up to about 1/eps.

    **Arguments:** a `network` at, or near, the limit of its flow, and the `data`.

    **Returns:** the rate, in 1 / flow time. It is the limit of `instantaneous_rate` for almost
    every start, and for any network the least `instantaneous_rate` over all residuals.

    **Raises:** `ValueError` if the network does not fit the data.

    **Source:** derived; on isotropic data it is v2's `2 s^2 (lambda_r(U1 U1^T) +
    lambda_m(V V^T))` (Min et al., arXiv 2105.06351v2, proof of proposition 1).
    """
    V, U1 = span_factors(network, data)
    m, r, h = V.shape[-2], U1.shape[-2], V.shape[-1]
    s = data.singular_values
    least = jnp.linalg.svdvals(V)[-1] if h >= m else jnp.zeros_like(s[0])
    # Rows for the hidden units, then r more; r columns, scaled by s.
    root = jnp.concatenate([U1.T * s[None, :], jnp.diag(least * s)], axis=0)
    return 2 * jnp.linalg.svdvals(jnp.linalg.qr(root, mode="r"))[r - 1] ** 2


def limit_bound(
    network: TwoLayerLinear, data: Regression, *, sharp: bool = False
) -> Float[Array, ""]:
    r"""The limit of the `margin` bound when it is restarted at ever later times.

    `s_r^2 { -d+ + sqrt((d+ + c)^2 + 4 mu_m^2) - d- + sqrt((d- + c)^2 + 4 mu_r^2) }` with
    `mu_i = sigma_i(W^T Y) / s_1`, in the notation of `rate_bound`; or with `sharp`,
    `mu_i = sigma_i(S^-1 W^T Y)`, the exact singular values of the product at a minimum.

    **Arguments:** any `network` of the trajectory (only its imbalance is used), the `data`, and
    `sharp`.

    **Returns:** a lower bound on `limit_rate`, in 1 / flow time.

    **Raises:** `ValueError` if the network does not fit the data.

    **Source:** Min et al., v2 (arXiv 2105.06351v2), corollary 6; `sharp` is proposition 1 at the
    minimum.
    """
    if sharp:
        product = jnp.linalg.svdvals(data.span_solution)
    else:
        product = jnp.linalg.svdvals(data.targets) / data.singular_values[0]
    level = margin_level(imbalance(network, data), product, data)
    return 2 * data.singular_values[-1] ** 2 * level


def span_residual(network: TwoLayerLinear, data: Regression) -> Float[Array, "r m"]:
    """The residual `E = W^T Y - S U1 V^T` on the span of the data."""
    V, U1 = span_factors(network, data)
    return data.targets - data.singular_values[:, None] * (U1 @ V.T)


def log_half_square(E: Float[Array, "r m"]) -> Float[Array, ""]:
    """`log(1/2 ||E||_F^2)` without underflow; -inf at E = 0."""
    size = jnp.max(jnp.abs(E))
    safe = jnp.where(size > 0, size, 1)
    total = jnp.sum((E / safe) ** 2)
    return 2 * jnp.log(size) + jnp.log(0.5 * jnp.where(size > 0, total, 1))


def margin_level(
    spectrum: Imbalance, product: Float[Array, " k"], data: Regression
) -> Float[Array, ""]:
    """Half the brace of `instantaneous_bound`, from the singular values of the product."""
    r, m = data.rank, data.outputs

    def one(spread, index):
        s = product[index - 1] if index <= min(r, m) else jnp.zeros_like(spread)
        # sqrt((d + c)^2 + 4 s^2) - d, rearranged: d can be far larger than c and s.
        total = jnp.hypot(spread + spectrum.c, 2 * s) + spread
        gained = spectrum.c * (spectrum.c + 2 * spread) + 4 * s**2
        return gained / jnp.where(total > 0, total, 1)

    return 0.5 * (one(spectrum.spread_plus, m) + one(spectrum.spread_minus, r))
