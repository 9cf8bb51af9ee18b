"""The interpolators that mirror flows end at, as solutions of convex programs."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int
from scipy import sparse
from scipy.optimize import linprog

from ...data import Regression
from ...networks import MirrorMap

SATURATED = 1e-8  # below this `alpha^(L-2) |beta|^(-(L-2)/L)` the dual variable has few digits


class Interpolator(eqx.Module):
    r"""The solution of `min Phi(beta) s.t. X beta = y`.

    **Attributes:** `beta` (d,); `nu` (r,), with `grad Phi(beta) = (W^T X)^T nu`; `residual`,
    `||X beta - y|| / ||y||`; `steps` of Newton's method.
    """

    beta: Float[Array, " d"]
    nu: Float[Array, " r"]
    residual: Float[Array, ""]
    steps: Int[Array, ""]


def least_potential(mirror: MirrorMap, data: Regression, *, max_steps: int = 1000) -> Interpolator:
    r"""The interpolator of least potential, where the mirror flow from beta = 0 ends.

    It is the same for every loss of `X beta` whose minimum is at y. It is found by Newton's method
    on the dual problem, `X beta(X^T nu) = y`; a step changes no slope of the mirror map by more
    than about a factor e. `vmap` over mirror maps and data of one shape is fine.

    **Arguments:** the `mirror` map, and `data` with one output, which some beta fits exactly.

    **Raises:** `ValueError` if there is more than one output, or no beta fits.

    **Source:** Woodworth et al. (COLT 2020), theorems 1 and 3.
    """
    interpolable(data)
    return _least_potential(mirror, data, max_steps)


@eqx.filter_jit
def _least_potential(mirror: MirrorMap, data: Regression, max_steps: int) -> Interpolator:
    X = data.span_rows
    y = data.targets[:, 0]
    size = jnp.linalg.norm(y)
    size = jnp.where(size > 0, size, 1)

    def newton(carry: Any) -> Any:
        nu, error, best, steps, _ = carry
        q = X.T @ nu
        # In units of the largest slope, since slopes may underflow.
        log_slope = mirror.log_slope(q)
        top = jnp.max(log_slope)
        root = jnp.exp(0.5 * (log_slope - top))[:, None] * X.T
        scale = jnp.linalg.norm(root, axis=0)
        R = jnp.linalg.qr(root / scale[None], mode="r")
        step = solve_triangular(R, solve_triangular(R.T, error / scale, lower=True)) / scale
        change = jnp.max(mirror.bend(q) * jnp.abs(X.T @ step))
        nu = nu + step / jnp.maximum(jnp.exp(top), change)
        change = change * jnp.exp(-top)
        error = y - X @ mirror.inverse(X.T @ nu)
        now = jnp.linalg.norm(error) / size
        # Full steps reduce the error fast, until it is rounding only.
        stuck = (change < 1e-2) & (now >= 0.5 * best)
        done = stuck | (now <= 1e-15) | ~jnp.isfinite(now)
        return nu, error, jnp.minimum(best, now), steps + 1, done

    def going(carry: Any) -> Array:
        return ~carry[-1] & (carry[-2] < max_steps)

    nu = jnp.zeros_like(y)
    start = nu, y, jnp.ones((), y.dtype), jnp.zeros((), jnp.int32), jnp.linalg.norm(y) == 0
    nu, error, _, steps, _ = jax.lax.while_loop(going, newton, start)
    return Interpolator(mirror.inverse(X.T @ nu), nu, jnp.linalg.norm(error) / size, steps)


def interpolable(data: Regression) -> None:
    """Raise `ValueError` unless the data have one output, which some `X beta` equals."""
    if data.outputs != 1:
        raise ValueError(f"The targets must be a single output, got {data.outputs}.")
    if isinstance(data.Y, Tracer):
        return
    # By NumPy, since inside jit even operations on constants are traced.
    Y, left = np.asarray(data.Y), np.asarray(data.left)
    missed = float(np.linalg.norm(Y - left @ (left.T @ Y)))
    if missed > 1e4 * float(np.finfo(Y.dtype).eps) * float(np.linalg.norm(Y)):
        raise ValueError(
            f"No beta solves X beta = y: the least residual is {missed:.2e}. Use fewer samples "
            "than features, or targets X beta."
        )


def flow_limit(mirror: MirrorMap, data: Regression) -> np.ndarray:
    """Where the flow ends, shape (d,): `least_potential`, or for tiny alpha `least_l1`.

    If `alpha^(L-2) |beta|^(-(L-2)/L) < 1e-8` the dual variable has lost half its digits. The limit
    alpha -> 0 is then nearer, at a distance of the order of `alpha^L`.

    **Raises:** `ValueError` as `least_potential`.
    """
    power = float(mirror.depth) - 2
    size = max(float(jnp.max(jnp.abs(data.min_norm))), np.finfo(float).tiny)
    digits = power * (float(jnp.max(mirror.log_alpha)) - np.log(size) / float(mirror.depth))
    if digits < np.log(SATURATED) and float(mirror.skip) == 0:
        return least_l1(data, depth=float(mirror.depth))
    return np.asarray(least_potential(mirror, data).beta)


def least_l1(data: Regression, *, depth: float | None = None) -> np.ndarray:
    r"""The interpolator of least l1 norm; of several, the limit of the flow as alpha -> 0.

    It is found by linear programming (HiGHS, through SciPy). If there are several solutions, they
    form a face, on which the limit for depth L minimizes

        `sum |b| log(|b| / e)` for L = 2,   `-(L / 2) sum |b|^(2/L)` for L > 2.

    **Arguments:** `data` with one output, which some beta fits exactly; the `depth`, or None for
    any of the solutions.

    **Returns:** beta, shape (d,).

    **Raises:** `ValueError` if there is more than one output, or no beta fits.

    **Source:** Wind, Antun, Hansen (2023), as in their code.
    """
    interpolable(data)
    X = np.asarray(data.span_rows, float)
    y = np.asarray(data.targets[:, 0], float)
    d = X.shape[1]
    both = np.hstack([X, -X])
    vertex = _linear_program(np.ones(2 * d), both, y)
    beta = vertex[:d] - vertex[d:]
    if depth is None:
        return beta
    # A point inside the face: as many entries as possible are at least a tiny threshold.
    least = np.abs(beta).sum()
    if least == 0:
        return beta
    tiny = 1e-6 * least / d
    eye = sparse.eye_array(2 * d)
    equal = sparse.block_array([[both, np.zeros_like(both)], [np.ones((1, 2 * d)), None]])
    gain = np.r_[np.zeros(2 * d), -np.ones(2 * d)]
    ends = [(0, None)] * 2 * d + [(0, tiny)] * 2 * d
    inner = _linear_program(
        gain, equal, np.r_[y, least], upper=sparse.hstack([-eye, eye]), bounds=ends
    )[: 2 * d]
    support = inner > 0.5 * tiny
    a, start = both[:, support], inner[support]
    _, s, right = np.linalg.svd(a)
    free = right[np.sum(s > 1e-10 * s[0]) :].T
    if free.shape[1]:
        start = _selected(start, free, float(depth))
    x = np.zeros(2 * d)
    x[support] = start
    return x[:d] - x[d:]


def _linear_program(
    cost: np.ndarray,
    equal: Any,
    value: np.ndarray,
    *,
    upper: Any = None,
    bounds: Any = (0, None),
) -> np.ndarray:
    limit = None if upper is None else np.zeros(upper.shape[0])
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    found = linprog(cost, upper, limit, equal, value, bounds=bounds, method="highs", options=tight)
    if not found.success:
        raise ValueError(f"The linear program has no solution: {found.message}")
    return found.x


def _selected(start: np.ndarray, free: np.ndarray, depth: float) -> np.ndarray:
    """The point of `start + free t`, all positive, that the flow selects.

    The sum of the entries is the same everywhere, so that `g_L` may be scaled and a multiple of x
    be added: with `q = 1 - 2/L` to `x (1 - x^-q) / q`, which is as precise near L = 2.
    """
    q = 1 - 2 / depth

    def goal(t: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        x = start + free @ t
        if np.min(x) <= 0:
            return np.inf, np.zeros(len(t)), np.eye(len(t))
        part = np.log(x) if q == 0 else np.expm1(-q * np.log(x)) / -q
        bend = (1 - q) * x ** (-1 - q)
        return float(np.sum(x * part)), free.T @ ((1 - q) * part), (free.T * bend) @ free

    t = np.zeros(free.shape[1])
    for _ in range(200):
        value, slope, bend = goal(t)
        step = -np.linalg.solve(bend, slope)
        size, rounding = 1.0, 1e-15 * max(1.0, abs(value))
        enough = value + rounding
        while size > 1e-12 and not goal(t + size * step)[0] <= enough + 0.25 * size * slope @ step:
            size /= 2
        t = t + size * step
        if abs(slope @ step) <= 1e-28 * max(1.0, abs(value)) or size <= 1e-12:
            break
    return start + free @ t
