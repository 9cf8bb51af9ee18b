"""The mirror map of the diagonal linear network: its flow is a mirror flow of the predictor."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float

from ..machine.arguments import numbers

ROUNDS = 256  # most steps of bisection; the brackets are logarithms, and start narrow


class MirrorMap(eqx.Module):
    r"""The mirror map of `beta = u^L - v^L + skip w` from `u(0) = v(0) = alpha`, `w(0) = 0`.

    Gradient flow in (u, v, w) is a mirror flow of beta: under any loss of the predictions `X beta`,
    `grad Phi(beta(t)) = q(t)` with a potential Phi and the dual variable `q = X^T nu`,
    `nu = -int dL/d(X beta) dt`. With `e = L - 2` and `x = L alpha^e q`

        `u = alpha (1 - e x)^(-1/e)`,  `v = alpha (1 + e x)^(-1/e)`,  `w = skip q`,

    which for L = 2 are `alpha exp(x)` and `alpha exp(-x)`. With the conjugate Phi* of Phi

        `d beta / d q = L^2 (u^(2 L - 2) + v^(2 L - 2)) + skip^2`,
        `Phi*(q) = (u^2 + v^2 - 2 alpha^2) / (2 L) + skip^2 q^2 / 2`.

    For L = 2, `beta = 2 alpha^2 sinh(4 q) + skip^2 q`, and Phi without skip is a quarter of the
    hypentropy. For L > 2, Phi is `alpha^2 / (L (L - 2))` times the `sum q_L(beta / alpha^L)` of the
    literature, and `|q| < 1 / (L (L - 2) alpha^(L-2))`: near that limit, where
    `alpha^(L-2) |beta|^(-(L-2)/L)` is 10^-k, beta has lost k digits. Everything is computed from
    logarithms, so that alpha may be 1e-200.

    **Arguments:** `alpha` > 0, shape (d,) or (), or its logarithm `log_alpha`; the `depth` L >= 2,
    any real number; `skip` >= 0, the lambda of Zhou and Ge. All three may be mapped by `jax.vmap`.

    **Source:** Woodworth et al. (COLT 2020), theorems 1 and 3; with `skip` the parametrization of
    Zhou and Ge (ICML 2023), its potential derived, as is the conjugate in u and v.
    """

    log_u: Float[Array, "*d"]  # log u(0) and log v(0); `inverse` and `slope` let them differ
    log_v: Float[Array, "*d"]
    depth: Float[Array, ""]
    skip: Float[Array, ""]

    def __init__(
        self,
        alpha: Any = None,
        depth: Any = 2.0,
        skip: Any = 0.0,
        *,
        log_alpha: Any = None,
        dtype: Any = None,
    ):
        if (alpha is None) == (log_alpha is None):
            raise ValueError("Give alpha or log_alpha, one of them.")
        for name, value in (("depth", depth), ("skip", skip)):
            numbers(name, value)
        numbers(*("log_alpha", log_alpha) if alpha is None else ("alpha", alpha))
        dtype = jnp.result_type(float) if dtype is None else dtype
        log_alpha = jnp.log(jnp.asarray(alpha, dtype)) if log_alpha is None else log_alpha
        self.log_u = self.log_v = jnp.asarray(log_alpha, dtype)
        self.depth, self.skip = jnp.asarray(depth, dtype), jnp.asarray(skip, dtype)

    @property
    def log_alpha(self) -> Float[Array, "*d"]:
        """`log alpha`, the logarithm of the initial weights."""
        return self.log_u

    def rises(self, q: Float[Array, " d"]) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """`log(u / u(0))` and `log(v / v(0))` at the dual variable q; nan out of its range."""
        L, e = self.depth, self.depth - 2
        u, v = (jnp.exp(jnp.where(e > 0, e * log, 0)) for log in (self.log_u, self.log_v))
        return _rise(L * u * q, e), _rise(-L * v * q, e)

    def inverse(self, q: Float[Array, " d"]) -> Float[Array, " d"]:
        """`beta = grad Phi*(q)`, the inverse of `gradient`; nan where q is out of range."""
        L = self.depth
        rise_u, rise_v = self.rises(q)
        log_u, log_v = L * (self.log_u + rise_u), L * (self.log_v + rise_v)
        # L (log u - log v), without the rounding of what log u(0) and log v(0) share.
        gap = L * (rise_u - rise_v + (self.log_u - self.log_v))
        up = gap >= 0
        # Both branches are evaluated everywhere, and must be finite where they are not chosen.
        plus = -jnp.exp(jnp.where(up, log_u, 0)) * jnp.expm1(jnp.where(up, -gap, 0))
        minus = jnp.exp(jnp.where(up, 0, log_v)) * jnp.expm1(jnp.where(up, 0, gap))
        return jnp.where(up, plus, minus) + self.skip**2 * q

    def slope(self, q: Float[Array, " d"]) -> Float[Array, " d"]:
        """`d beta / d q`: the tangent kernel is `X diag(slope) X^T`."""
        rise_u, rise_v = self.rises(q)
        power = 2 * self.depth - 2
        moving = jnp.exp(power * (self.log_u + rise_u)) + jnp.exp(power * (self.log_v + rise_v))
        return self.depth**2 * moving + self.skip**2

    def log_slope(self, q: Float[Array, " d"]) -> Float[Array, " d"]:
        """The logarithm of `slope`, finite also where `slope` underflows."""
        rise_u, rise_v = self.rises(q)
        power = 2 * self.depth - 2
        u, v = power * (self.log_u + rise_u), power * (self.log_v + rise_v)
        return jnp.logaddexp(2 * jnp.log(self.depth) + jnp.logaddexp(u, v), 2 * jnp.log(self.skip))

    def bend(self, q: Float[Array, " d"]) -> Float[Array, " d"]:
        """An upper bound on `|d log slope / d q|`: `2 L (L - 1) max(u, v)^(L-2)`."""
        rise_u, rise_v = self.rises(q)
        top = jnp.maximum(self.log_u + rise_u, self.log_v + rise_v)
        L, e = self.depth, self.depth - 2
        return 2 * L * (L - 1) * jnp.exp(jnp.where(e > 0, e * top, 0))

    def conjugate(self, q: Float[Array, " d"]) -> Float[Array, ""]:
        """The conjugate `Phi*(q)`, summed over the coordinates."""
        L, e = self.depth, self.depth - 2
        rise_u, rise_v = self.rises(q)
        # u^2 + v^2 - 2 alpha^2 = (u - v)^2 + 2 (u v - alpha^2): both keep their digits.
        gap = jnp.exp(rise_v) * jnp.expm1(rise_u - rise_v)
        both = e * (L * jnp.exp(e * self.log_alpha) * q) ** 2  # u v = alpha^2 at L = 2
        moved = (gap**2 + 2 * jnp.expm1(_rise(both, e))) / (2 * L)
        return jnp.sum(jnp.exp(2 * self.log_alpha) * moved + 0.5 * self.skip**2 * q**2)

    @eqx.filter_jit
    def gradient(self, beta: Float[Array, " d"]) -> Float[Array, " d"]:
        """`q = grad Phi(beta)`."""
        log_alpha = jnp.broadcast_to(self.log_alpha, beta.shape)
        nonzero = beta != 0
        log_size = jnp.log(jnp.where(nonzero, jnp.abs(beta), 1))
        q = jax.lax.stop_gradient(jax.vmap(self._solved)(log_alpha, log_size))
        q = jnp.where(nonzero, jnp.sign(beta) * q, 0)
        # One step of Newton's method polishes q, and gives it the derivatives of the inverse.
        step = (self.inverse(q) - beta) / self.slope(q)
        return jnp.where(jnp.isfinite(step), q - step, q)

    def potential(self, beta: Float[Array, " d"]) -> Float[Array, ""]:
        """The potential `Phi(beta)`, summed over the coordinates; its minimum is 0, at beta = 0."""
        q = self.gradient(beta)
        return jnp.sum(q * beta) - self.conjugate(q)

    def _solved(self, log_alpha: Float[Array, ""], log_size: Float[Array, ""]) -> Array:
        r"""The positive q at which `log beta = log_size`, in the coordinate `a = log(u / v) / 2`.

        `tanh(e a) = e x` and `beta = 2 alpha^L cosh(e a)^(L/e) sinh(L a) + skip^2 q` for any a > 0.
        """
        L, e = self.depth, self.depth - 2
        safe = jnp.where(e > 0, e, 1)
        h = log_size - L * log_alpha
        log_skip = 2 * jnp.log(self.skip) - jnp.log(L) - e * log_alpha

        def dual(a: Array) -> Array:
            return jnp.where(e > 0, jnp.tanh(safe * a) / safe, a)

        def height(log_a: Array, _: Any) -> Array:
            a = jnp.exp(log_a)
            log_cosh = safe * a + jnp.log1p(jnp.exp(-2 * safe * a)) - jnp.log(2.0)
            bent = jnp.where(e > 0, log_cosh / safe, 0)
            steep = a + jnp.log(-jnp.expm1(-2 * L * a)) / L
            return jnp.logaddexp(L * (bent + steep) - h, log_skip + jnp.log(dual(a)) - log_size)

        # `exp(2 L a) - 1` is above `beta / alpha^L` without the skip, `exp(L a) - 1` below it; and
        # with it one of the two terms is at least half of beta.
        high = jnp.log(jax.nn.softplus(h) / L)
        low = jnp.log(jax.nn.softplus(h - jnp.log(2.0)) / (2 * L))
        low = jnp.minimum(low, log_size - jnp.log(2.0) - log_skip)
        ends = {"lower": low - 0.1, "upper": high + 0.1}
        fine = 4 * float(jnp.finfo(h.dtype).eps)
        bisection: Any = optx.Bisection
        found: Any = optx.root_find(
            height,
            bisection(rtol=fine, atol=fine),
            0.5 * (low + high),
            options=ends,
            max_steps=ROUNDS,
            throw=False,
        )
        return dual(jnp.exp(found.value)) * jnp.exp(-e * log_alpha) / L


def _rise(x: Array, e: Array) -> Array:
    """`-log(1 - e x) / e`, and x where e is zero."""
    safe = jnp.where(e > 0, e, 1)
    return jnp.where(e > 0, -jnp.log1p(-safe * x) / safe, x)
