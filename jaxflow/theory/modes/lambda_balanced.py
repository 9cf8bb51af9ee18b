"""The exact flow of a two-layer linear network of homogeneous imbalance on isotropic data."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ...data import Regression
from ...networks import TwoLayerLinear, span_factors, stack
from ..rates.imbalance import imbalance


class Gram(eqx.Module):
    """The Gram matrix of `Z = [V; U1]` along a flow, in blocks; leading axes are those of t.

    **Attributes:** `outputs`, `V V^T`, shape `(..., m, m)`; `inputs`, `U1 U1^T`, shape
    `(..., r, r)`; `product`, `U1 V^T`, shape `(..., r, m)`.
    """

    outputs: Float[Array, "*t m m"]
    inputs: Float[Array, "*t r r"]
    product: Float[Array, "*t r m"]


def lambda_balanced(network: TwoLayerLinear, data: Regression, t: ArrayLike) -> Gram:
    r"""The exact flow from `U1^T U1 - V^T V = lam I_h`, on data with equal singular values s.

    In the time `s^2 t`, with `T = S^-1 W^T Y`, `Z = [V; U1]` and
    `F = [[-lam/2 I_m, T^T], [T, lam/2 I_r]]`, the flow is `Z' = F Z - Z Z^T Z / 2`, so that

        `Z Z^T(t) = e^(F t) Z0 [I + Z0^T (int_0^t e^(2 F s) ds) Z0]^-1 Z0^T e^(F t)`.

    The formula is applied over successive intervals with `||F|| dt <= 1`, so that no exponential
    overflows and columns that grow at different rates keep their angles. The cost is one QR
    decomposition of size about 2 min(h, m + r) per interval, and there are `s^2 ||F|| t` intervals.

    **Arguments:**

    - `network`, `data`: the network at time 0, and what it learns. All m and r are allowed, and
      all h for which such a network exists: h <= r for lam > 0, h <= m for lam < 0, any h for
      lam = 0.
    - `t`: flow times >= 0, in any shape and order.

    **Returns:** a `Gram`. It determines Z up to a rotation of the hidden units, and hence the
    predictor on the span of the data, `data.right @ product`, but not its part `U2 V^T`.

    **Raises:** `ValueError` if the data are not isotropic or the imbalance is not homogeneous, to
    a relative 1e-9 (1e-5 in single precision); under `jit` and `vmap` this is not checked. Reverse
    mode differentiation is impossible, since the number of intervals depends on t.

    **Source:** Fukumizu (1998) and Braun et al. (2022) for lam = 0; Domine et al. (ICLR 2025),
    whose lambda is minus ours, with m = r; this form for any m and r is derived.
    """
    _check(network, data)
    return _lambda_balanced(network, data, jnp.asarray(t, network.V.dtype))


def _level(network: TwoLayerLinear, data: Regression) -> Float[Array, ""]:
    """The mean eigenvalue of the imbalance: lam, where the imbalance is homogeneous."""
    V, U1 = span_factors(network, data)
    return (jnp.sum(U1**2) - jnp.sum(V**2)) / V.shape[-1]


@eqx.filter_jit
def _lambda_balanced(network: TwoLayerLinear, data: Regression, t: Float[Array, "*t"]) -> Gram:
    V, U1 = span_factors(network, data)
    m, r, h = V.shape[-2], U1.shape[-2], V.shape[-1]
    lam = _level(network, data)
    # With more units than rows only lam = 0 exists: what is computed then is rounding.
    lam = jnp.where((lam > 0) & (h > r) | (lam < 0) & (h > m), 0, lam)
    Z = stack(V, U1)
    if h > m + r:
        Z = jnp.linalg.qr(Z.T, mode="r").T
    dtype = Z.dtype
    scale = jnp.mean(data.singular_values)
    T = data.targets / scale
    F = jnp.concatenate(
        [
            jnp.concatenate([-0.5 * lam * jnp.eye(m, dtype=dtype), T.T], axis=1),
            jnp.concatenate([T, 0.5 * lam * jnp.eye(r, dtype=dtype)], axis=1),
        ]
    )
    w, P = jnp.linalg.eigh(F)
    times = scale**2 * t
    order = jnp.argsort(times.ravel())
    path = _compose(w, P.T @ Z, times.ravel()[order])
    path = jnp.zeros_like(path).at[order].set(path).reshape(*times.shape, *Z.shape)
    path = jnp.einsum("ij,...jk->...ik", P, path)
    v, u = path[..., :m, :], path[..., m:, :]
    return Gram(
        outputs=jnp.einsum("...ik,...jk->...ij", v, v),
        inputs=jnp.einsum("...ik,...jk->...ij", u, u),
        product=jnp.einsum("...ik,...jk->...ij", u, v),
    )


def _compose(
    w: Float[Array, " k"], Q: Float[Array, "k h"], times: Float[Array, " t"]
) -> Float[Array, "t k h"]:
    """The factor Q of the Gram matrix at increasing times, in the eigenvectors of F."""
    identity = jnp.eye(Q.shape[-1], dtype=Q.dtype)
    norm = jnp.max(jnp.abs(w))

    def travel(start, time):
        then, Q = start
        # At least one interval if time passes, also for F = 0.
        stretches = jnp.maximum(jnp.ceil(norm * (time - then)), (time > then).astype(Q.dtype))
        dt = (time - then) / jnp.maximum(stretches, 1)
        x = 2 * w * dt
        gain = jnp.where(w == 0, dt, jnp.expm1(x) / jnp.where(w == 0, 1, 2 * w))
        grow, root = jnp.exp(0.5 * x)[:, None], jnp.sqrt(gain)[:, None]

        def stretch(_, Q):
            R = jnp.linalg.qr(jnp.concatenate([identity, root * Q]), mode="r")
            return jax.scipy.linalg.solve_triangular(R, (grow * Q).T, trans="T").T

        Q = jax.lax.fori_loop(0, stretches.astype(jnp.int32), stretch, Q)
        return (time, Q), Q

    return jax.lax.scan(travel, (jnp.zeros((), Q.dtype), Q), times)[1]


def _check(network: TwoLayerLinear, data: Regression) -> None:
    """Raise `ValueError` where the values are known and the closed form does not apply to them."""
    s, h = data.singular_values, network.width
    tolerance = max(1e-9, 64 * float(jnp.finfo(s.dtype).eps))
    # By NumPy, since inside jit even operations on constants are traced.
    if not isinstance(s, Tracer) and np.ptp(np.asarray(s)) > tolerance * np.max(np.asarray(s)):
        raise ValueError(
            f"The closed form needs equal singular values of X, got {np.asarray(s)}: "
            "whiten the data first (data.whitened)."
        )
    lam = _level(network, data)
    if isinstance(lam, Tracer):
        return
    values = imbalance(network, data).eigenvalues
    size = jnp.sum(network.V**2) + jnp.sum((data.right.T @ network.U) ** 2)
    away = jnp.max(jnp.abs(values - lam))
    if h > values.shape[-1]:
        away = jnp.maximum(away, jnp.abs(lam))
    if away > tolerance * size:
        raise ValueError(
            f"The closed form needs U1^T U1 - V^T V = lam I, but its eigenvalues differ from "
            f"{lam} by up to {away}: draw the network from init.LambdaBalanced."
        )
