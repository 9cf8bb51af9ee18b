"""Closed forms of the flow from balanced weights, as three papers print them.

These papers write `W1` (h, n), `W2` (m, h) and a target S (m, n) on whitened inputs, with the flow
`W1' = W2^T (S - W2 W1)`, `W2' = (S - W2 W1) W1^T`, and give `Q Q^T(t)` for `Q = [W1^T; W2]`.
In this package `W1 = U1^T`, `W2 = V` and `S = (W^T Y)^T`, on data whose singular values are 1.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def braun(
    W1: Float[Array, "h n"], W2: Float[Array, "m h"], S: Float[Array, "m n"], t: ArrayLike
) -> Float[Array, "n+m n+m"]:
    r"""The closed form of Braun et al. for `Q Q^T(t)`, from weights with `W2^T W2 = W1 W1^T`.

    With the economy decompositions `S = U~ diag(s) V~^T` and `W2 W1(0) = U A V^T`, it is written in
    `B = U^T U~ + V^T V~` and `C = U^T U~ - V^T V~`. No exponential grows with t.

    **Arguments:** the weights at time 0, the target S of full rank k = min(m, n), and one flow
    time t >= 0. B must be invertible; h >= k.

    **Source:** Braun, Domine, Fitzgerald, Saxe (NeurIPS 2022), as quoted in the thesis of
    N. Anguita.
    """
    k, dtype = min(S.shape), S.dtype
    Ut, s, Vtt = jnp.linalg.svd(S, full_matrices=False)
    U, a, Vt = jnp.linalg.svd(W2 @ W1, full_matrices=False)
    V, Vs = Vt.T, Vtt.T
    B, C = U.T @ Ut + V.T @ Vs, U.T @ Ut - V.T @ Vs
    inverse = jnp.linalg.inv(B)
    t = jnp.asarray(t, dtype)
    e, eye = jnp.diag(jnp.exp(-s * t)), jnp.eye(k, dtype=dtype)
    perp_v, perp_u = V - Vs @ (Vs.T @ V), U - Ut @ (Ut.T @ U)
    flip = e @ C.T @ inverse.T @ e
    Z = jnp.concatenate(
        [
            Vs @ (eye - flip) + 2 * perp_v @ inverse.T @ e,
            Ut @ (eye + flip) + 2 * perp_u @ inverse.T @ e,
        ]
    )
    e2, least = jnp.diag(jnp.exp(-2 * s * t)), jnp.diag(1 / s)
    M = (
        4 * e @ inverse @ jnp.diag(1 / a) @ inverse.T @ e
        + (eye - e2) @ least
        - e @ inverse @ C @ (e2 - eye) @ least @ C.T @ inverse.T @ e
        + 4 * t * e @ inverse @ (perp_v.T @ perp_v + perp_u.T @ perp_u) @ inverse.T @ e
    )
    return Z @ jnp.linalg.solve(M, Z.T)


def domine(
    W1: Float[Array, "h n"],
    W2: Float[Array, "m h"],
    S: Float[Array, "m n"],
    lam: ArrayLike,
    t: ArrayLike,
) -> Float[Array, "n+m n+m"]:
    r"""The closed form of Domine et al. for `Q Q^T(t)`, for m = n, from lambda-balanced weights.

    These have `W2^T W2 - W1 W1^T = lam I`, lam != 0.

    With `S = U~ diag(s) V~^T`, `X = (sqrt(lam^2 + 4 s^2) - 2 s) / lam`, `A = (1 + X^2)^(-1/2)`.

    **Source:** Domine et al. (ICLR 2025), as in the thesis of N. Anguita, a co-author (lam is
    minus ours).
    """
    dtype = S.dtype
    lam, t = jnp.asarray(lam, dtype), jnp.asarray(t, dtype)
    Ut, s, Vtt = jnp.linalg.svd(S)
    Vs = Vtt.T
    x = (jnp.sqrt(lam**2 + 4 * s**2) - 2 * s) / lam
    a = (1 + x**2) ** -0.5
    level = jnp.sqrt(s**2 + lam**2 / 4)
    plus, minus = jnp.diag(a + x * a), jnp.diag(a - x * a)
    B = W2.T @ Ut @ plus + W1 @ Vs @ minus
    C = W2.T @ Ut @ minus - W1 @ Vs @ plus
    inverse, eye = jnp.linalg.inv(B), jnp.eye(len(s), dtype=dtype)
    e, e2 = jnp.diag(jnp.exp(-level * t)), jnp.diag(jnp.exp(-2 * level * t))
    flip = e @ C.T @ inverse.T @ e
    Z = jnp.concatenate([Vs @ (minus - plus @ flip), Ut @ (plus + minus @ flip)])
    least = jnp.diag(1 / level)
    M = (
        4 * e @ inverse @ inverse.T @ e
        + (eye - e2) @ least
        - e @ inverse @ C @ (e2 - eye) @ least @ C.T @ inverse.T @ e
    )
    return Z @ jnp.linalg.solve(M, Z.T)


def kunin(
    a: ArrayLike, w: Float[Array, " n"], b: Float[Array, " n"], t: ArrayLike
) -> Float[Array, ""]:
    r"""The closed form of Kunin et al. for `nu = w . b / a` of one linear neuron `f(x) = a w . x`.

    The neuron obeys `a' = w . (b - a w)`, `w' = a (b - a w)`, b the target. With
    `delta = a^2 - |w|^2` and `q = sqrt(delta^2 + 4 |b|^2)`, `nu' = |b|^2 - delta nu - nu^2`:

        `nu(t) = (-delta + q tanh(q t / 2 + artanh((delta + 2 nu(0)) / q))) / 2`,

    with arcoth for artanh where its argument exceeds 1.

    **Source:** Kunin et al. (NeurIPS 2024), as in the authors' notebook.
    """
    w, b = jnp.asarray(w), jnp.asarray(b)
    a, t = jnp.asarray(a, w.dtype), jnp.asarray(t, w.dtype)
    delta = a**2 - w @ w
    q = jnp.sqrt(delta**2 + 4 * b @ b)
    x = (delta + 2 * (w @ b) / a) / q
    # tanh(y + artanh x) by the addition theorem, for every x.
    y = jnp.tanh(q * t / 2)
    return 0.5 * (-delta + q * (y + x) / (1 + x * y))


def kunin_weights(
    a: ArrayLike, w: Float[Array, " n"], b: Float[Array, " n"], t: ArrayLike
) -> tuple[Float[Array, ""], Float[Array, " n"]]:
    r"""The weights a(t) and w(t) of the linear neuron of `kunin`, for any a(0), 0 included.

    Let `x = (delta a + 2 w . b) / q` at time 0, `c = a cosh(q t / 2) + x sinh(q t / 2)` and
    `s = a sinh(q t / 2) + x cosh(q t / 2)`. With

        `N^2 = 1 + 2 int_0^t e^(delta tau) c(tau)^2 dtau`

    it is `a(t) = e^(delta t / 2) c / N`, `w . b = e^(delta t / 2) (q s - delta c) / (2 N)`, and the
    part of w orthogonal to b is divided by N.

    **Arguments:** a(0); w(0) and b, which is not zero, shape `(n,)`; the time t >= 0.

    **Returns:** a(t), and w(t) of shape `(n,)`.

    **Source:** derived: `(log a)' = nu + delta - a^2` is a Bernoulli equation, with nu as there.
    """
    w, b = jnp.asarray(w), jnp.asarray(b)
    a, t = jnp.asarray(a, w.dtype), jnp.asarray(t, w.dtype)
    delta, square = a**2 - w @ w, b @ b
    q = jnp.sqrt(delta**2 + 4 * square)
    x = (delta * a + 2 * (w @ b)) / q

    def grown(k: Array) -> Array:
        """`int_0^t e^(k tau) dtau`, times `e^(-(delta + q) t)`."""
        flat = k * t == 0
        up = jnp.exp((k - (delta + q)) * t) * -jnp.expm1(-jnp.maximum(k * t, 0))
        down = jnp.exp(-(delta + q) * t) * jnp.expm1(jnp.minimum(k * t, 0))
        none = t * jnp.exp(-(delta + q) * t)
        return jnp.where(flat, none, jnp.where(k > 0, up, down) / jnp.where(flat, 1, k))

    # Everything times exp(-(delta + q) t / 2), so that nothing overflows.
    one, fade = jnp.exp(-(delta + q) * t), jnp.exp(-q * t)
    both = (a + x) ** 2 * grown(delta + q) + (a - x) ** 2 * grown(delta - q)
    N = jnp.sqrt(one + 0.5 * (both + 2 * (a**2 - x**2) * grown(delta)))
    c, s = 0.5 * (a + x + fade * (a - x)), 0.5 * (a + x - fade * (a - x))
    along = b / square
    rest = w - along * (w @ b)
    return c / N, along * (q * s - delta * c) / (2 * N) + rest * jnp.sqrt(one) / N
