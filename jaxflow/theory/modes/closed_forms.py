"""Exact solutions of one mode of a two-layer linear network, balanced and with any imbalance."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def saxe(t: ArrayLike, s: ArrayLike, a0: ArrayLike) -> Float[Array, "..."]:
    r"""The trajectory of a balanced mode, `a' = 2 a (s - a)` with `a = u v = u^2`.

        `a(t) = s a0 / (a0 (1 - e^(-2 s t)) + s e^(-2 s t))`,  `a0 / (1 + 2 a0 t)` at s = 0,

    evaluated without overflow or cancellation for any t >= 0 and any s.

    **Arguments:** flow times `t >= 0` of any shape; the strengths `s` of the modes; their values
    `a0 >= 0` at time 0. `s` and `a0` broadcast together: scalars, or one entry per mode.

    **Returns:** `a`, of shape `t.shape + s.shape`. On data with singular values `s_x` all equal,
    use the time `s_x^2 t` and the strengths of `S^-1 W^T Y`.

    **Raises:** `ValueError` for a negative a0: a balanced mode has none.

    **Source:** Saxe, McClelland, Ganguli (2014).
    """
    if not isinstance(a0, Tracer) and np.any(np.asarray(a0) < 0):
        raise ValueError(
            f"a0 = u v = u^2 cannot be negative in a balanced mode, got {a0}: use theory.scalar."
        )
    t, (s, a0) = _times(t, s, a0)
    x = 2 * jnp.abs(s) * t
    decay = jnp.exp(-x)
    g = _gain(x, jnp.abs(s), 2 * t)
    rising = a0 / jnp.where(a0 > 0, decay + a0 * g, 1)
    falling = a0 * decay / (1 + a0 * g)
    return jnp.where(s >= 0, rising, falling)


def saxe_time(s: ArrayLike, a0: ArrayLike, af: ArrayLike) -> Float[Array, "..."]:
    r"""The time that the balanced mode takes from a0 to af,
    `t = log(af (s - a0) / (a0 (s - af))) / (2 s)`, and its limit at s = 0.

    **Arguments:** the strength `s`, and positive values `a0` and `af`; they broadcast together.

    **Returns:** the flow time: inf if af is only reached in the limit (af = s), negative if it
    lies in the past, nan if it is never met.

    **Source:** Saxe, McClelland, Ganguli (2014).
    """
    _, (s, a0, af) = _times(0.0, s, a0, af)
    step = (af - a0) / (a0 * (s - af))
    safe = jnp.where(s == 0, 1, s)
    return jnp.where(s == 0, 0.5 * step, jnp.log1p(safe * step) / (2 * safe))


def scalar(
    t: ArrayLike, y: ArrayLike, u0: ArrayLike, v0: ArrayLike
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    r"""The trajectory of the scalar network `f(x) = u v x`, for any imbalance.

    It obeys `u' = (y - u v) v`, `v' = (y - u v) u`.

    With `d = u^2 - v^2`, conserved, `q = sqrt(d^2 + 4 y^2)` and `F = [[d/2, y], [y, -d/2]]`
    (eigenvalues `+-q/2`), `Q = (u, v)` obeys `Q' = F Q - Q |Q|^2 / 2`, so that

        `Q(t) = e^(F t) Q0 / sqrt(1 + Q0^T (int_0^t e^(2 F s) ds) Q0)`.

    In the eigenvectors of F every term under the root is positive, and scaled by `e^(-q t / 2)`
    none overflows, for any t >= 0, target y and start.

    **Arguments:** flow times `t >= 0` of any shape; the target `y` and the start `u0`, `v0`,
    which broadcast together.

    **Returns:** `(u, v)`, each of shape `t.shape + y.shape`.

    **Source:** the h = m = r = 1 case of `lambda_balanced`; Min et al., v2 (arXiv
    2105.06351v2), has the conserved quantity and the rate.
    """
    t, (y, u0, v0) = _times(t, y, u0, v0)
    q, grow, shrink, (A, B), swap, falling, rising = _scalar_parts(t, y, u0, v0)
    log_root = jnp.logaddexp(falling - q * t, rising)
    # By logarithms: both quotients can be 0/0 on the stable manifold of the saddle.
    up = jnp.sign(grow) * jnp.exp(_log(jnp.abs(grow)) - 0.5 * log_root)
    down = shrink * jnp.exp(-q * t - 0.5 * log_root)
    large, small = A * up - B * down, B * up + A * down
    return jnp.where(swap, small, large), jnp.where(swap, large, small)


def scalar_residual(
    t: ArrayLike, y: ArrayLike, u0: ArrayLike, v0: ArrayLike
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    r"""The residual `E = y - u v` of the scalar network, to full relative accuracy at all times.

    In the notation of `scalar`, with p and n the coordinates of Q0 along the two eigenvectors,

        `E(t) = E(0) e^(-q t) / (e^(-q t) + (1 - e^(-q t)) (p^2 + e^(-q t) n^2) / q)`,

    which is returned as a logarithm, since E itself underflows.

    **Arguments:** as for `scalar`.

    **Returns:** `(log |E|, sign of E)`, each of shape `t.shape + y.shape`; `(-inf, 0)` at an
    equilibrium. The error of `log |E|` is a few eps times `max(1, q t)`, plus the relative error
    of `y - u0 v0` from rounding.

    **Source:** derived.
    """
    t, (y, u0, v0) = _times(t, y, u0, v0)
    q, _, _, _, _, falling, rising = _scalar_parts(t, y, u0, v0)
    # Scaled by e^(q t), unlike in `scalar`, so that q t cancels on the saddle's stable manifold.
    log_root = jnp.logaddexp(falling, rising + q * t)
    E = jnp.broadcast_to(y - u0 * v0, log_root.shape)
    return _log(jnp.abs(E)) - log_root, jnp.sign(E)


def _scalar_parts(t, y, u0, v0):
    """q, the coordinates, the eigenvectors, whether u and v are swapped, two logarithms.

    The sum under the root, times `e^(-q t)`, is `e^(-q t) exp(first) + exp(second)` with these.
    """
    d = (u0 - v0) * (u0 + v0)
    # The flow is symmetric under u <-> v, d <-> -d: take d >= 0.
    swap = d < 0
    a, b = jnp.where(swap, v0, u0), jnp.where(swap, u0, v0)
    d = jnp.abs(d)
    q = jnp.hypot(d, 2 * y)
    # F (A, y)^T = (q/2) (A, y)^T; the other eigenvector is (-y, A).
    A = 0.5 * (q + d)
    norm = jnp.hypot(A, y)
    still = norm == 0
    safe = jnp.where(still, 1, norm)
    A, B = jnp.where(still, 1, A / safe), y / safe
    plain, opposed = A * a + B * b, A * a - B * b
    # Where A a + B b cancels, from (A a)^2 - (B b)^2, written as a sum of positive terms.
    cancels = jnp.abs(plain) < jnp.abs(opposed)
    product = d * (A * a**2 + y * B) / safe
    grow = jnp.where(cancels, product / jnp.where(cancels, opposed, 1), plain)
    shrink = A * b - B * a
    g = _gain(q * t, q, t)
    falling, rising = jnp.log1p(g * shrink**2), _log(g) + 2 * _log(jnp.abs(grow))
    return q, grow, shrink, (A, B), swap, falling, rising


def _gain(x, rate, at_zero):
    """`(1 - e^-x) / rate`, with its limit where the rate is 0."""
    return jnp.where(rate == 0, at_zero, -jnp.expm1(-x) / jnp.where(rate == 0, 1, rate))


def _log(x):
    """`log x` for x >= 0, -inf at 0 and without a warning in gradients there."""
    return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1)), -jnp.inf)


def _times(t: ArrayLike, *parameters: ArrayLike) -> tuple[Array, tuple[Array, ...]]:
    """Times with trailing axes of length 1, and parameters with leading ones, in one dtype."""
    arrays = [jnp.asarray(x) for x in parameters]
    strong = [x.dtype for x in arrays if jnp.issubdtype(x.dtype, jnp.floating) and not x.weak_type]
    time = jnp.asarray(t)
    if not strong and jnp.issubdtype(time.dtype, jnp.floating) and not time.weak_type:
        strong = [time.dtype]
    dtype = jnp.result_type(*strong) if strong else jnp.result_type(float)
    time = jnp.asarray(time, dtype)
    shape = jnp.broadcast_shapes(*(x.shape for x in arrays))
    time = time.reshape(time.shape + (1,) * len(shape))
    full = tuple(
        jnp.broadcast_to(jnp.asarray(x, dtype), shape).reshape(
            (1,) * (time.ndim - len(shape)) + shape
        )
        for x in arrays
    )
    return time, full
