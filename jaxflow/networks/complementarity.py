"""The semidefinite complementarity problem that sets the size of oscillations at the edge."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

TINY = 1e-14  # what is added to a scaled M, so that there is one solution


def complementary(
    B: Float[Array, "k k"], M: Float[Array, "k k k k"], *, steps: int = 60
) -> Float[Array, "k k"]:
    r"""The symmetric X with `X >= 0, A = B + M[X] >= 0, <X, A> = 0`, where `>= 0` is semidefinite.

    Equivalently, X minimizes `<B, X> + <X, M[X]> / 2` over X >= 0. Where B >= 0, X = 0; else X is
    found by an interior-point method: with X and A positive definite, Newton steps in the
    symmetrized equation `X A = mu`, scaled by Nesterov and Todd, for mu that falls to rounding.

    **Arguments:** a symmetric `B`; a positive semidefinite operator `M` on symmetric matrices,
    `M[X]_ij = sum_kl M_ijkl X_kl`, of which the symmetric part is used; the most `steps`.

    **Source:** the problem is that of the authors' code of central flows (Cohen et al., ICLR 2025).
    """
    k = len(B)
    # Scaled as X = D Y D with D diagonal: M has ones on its diagonal, and no diagonal entry of B is
    # much larger than its negative part.
    level = jnp.einsum("iiii->i", M)
    top = jnp.max(level)
    D = jnp.where(level > 1e-8 * top, level, jnp.where(top > 0, top, 1)) ** -0.25
    low = jnp.linalg.eigvalsh(D[:, None] * B * D[None])[0]
    idle = (low >= 0) | (top <= 0)  # without M nothing is to be done
    rest = -jnp.minimum(low, 0) / jnp.maximum(D**2 * jnp.diag(B), jnp.finfo(B.dtype).tiny)
    D = jnp.where(idle, 1, D * jnp.sqrt(jnp.minimum(1, rest)))
    DD = D[:, None] * D[None]
    b, m = DD * B, jnp.einsum("ij,ijkl,kl->ijkl", DD, M, DD)
    if k == 1:
        return jnp.where(idle, 0, -DD * b / jnp.where(idle, 1, m[0, 0]))
    size = jnp.where(idle, 1, -jnp.linalg.eigvalsh(b)[0])
    m = m.reshape(k * k, k * k)
    one = jnp.eye(k * k, dtype=B.dtype)
    m, b = 0.5 * (m + m.T) + TINY * one, b / size

    def dual(X: Array) -> Array:
        return b + (m @ X.reshape(-1)).reshape(k, k)

    def improve(carry: Any) -> Any:
        X, A, count = carry
        # In the basis G both are the same diagonal matrix: G^T A G = G^-1 X G^-T = diag(v).
        values, Q = jnp.linalg.eigh(X)
        half = (Q * jnp.sqrt(values)[None]) @ Q.T
        inner, R = jnp.linalg.eigh(half @ A @ half)
        G = half @ R * (inner**-0.25)[None]
        v, mu = jnp.sqrt(inner), jnp.mean(inner)
        T = jnp.kron(G, G)  # what is diagonal, to X

        def solve(rhs: Array, miss: Array) -> tuple[Array, Array]:
            """The steps of X and A, scaled: dx + da = rhs, da = G^T (M[G dx G^T] + miss) G."""
            r = rhs.reshape(-1)
            dx = jnp.linalg.solve(one + T.T @ m @ T, r - T.T @ miss.reshape(-1))
            return dx.reshape(k, k), (r - dx).reshape(k, k)

        miss = dual(X) - A

        def length(dx: Array, da: Array) -> Array:
            root = v**-0.5
            low = [jnp.linalg.eigvalsh(root[:, None] * d * root[None])[0] for d in (dx, da)]
            return jnp.minimum(1, -0.98 / jnp.minimum(jnp.minimum(*low), -0.98))

        dx, da = solve(-jnp.diag(v), miss)
        s = length(dx, da)
        share = jnp.trace((jnp.diag(v) + s * dx) @ (jnp.diag(v) + s * da)) / (k * mu)
        sigma = jnp.clip(share, 0, 1) ** 3
        second = (dx @ da + da @ dx) / (v[:, None] + v[None])
        dx, da = solve(jnp.diag(sigma * mu / v - v) - second, miss)
        s = length(dx, da)
        back = jnp.linalg.inv(G)
        new = [X + s * (G @ dx @ G.T), A + s * (back.T @ da @ back)]
        new = [0.5 * (Y + Y.T) for Y in new]
        fine = jnp.all(jnp.isfinite(new[0] + new[1]))  # else rounding has taken over
        X, A = jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, [X, A])
        return X, A, jnp.where(fine, count + 1, steps)

    def unsolved(carry: Any) -> Array:
        X, A, count = carry
        small = 100 * jnp.finfo(B.dtype).eps * (1 + jnp.linalg.norm(X))
        open_ = (jnp.sum(X * A) > small) | (jnp.linalg.norm(dual(X) - A) > small)
        return (count < steps) & open_

    eye = jnp.eye(k, dtype=B.dtype)
    X, _, _ = jax.lax.while_loop(unsolved, improve, (eye, eye, jnp.where(idle, steps, 0)))
    return jnp.where(idle, 0, size * DD * X)
