"""Stiff flows under other losses than the squared one, or of few parameters, beside SciPy's BDF.

Seconds are medians of warm runs, those of the first call (compiling) beside them. Distances are of
the weights at the end to those of a run with a far smaller tolerance, relative.
"""

import time
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import record
from scipy.integrate import solve_ivp
from sklearn.datasets import load_breast_cancer, load_digits

import jaxflow as jf


def flat(network: Any) -> np.ndarray:
    """The parameters as one vector."""
    return np.asarray(jax.flatten_util.ravel_pytree(eqx.filter(network, eqx.is_array))[0])


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """Relative, of two vectors."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def measured(name: str, solve: Any, wanted: Any = None, repeats: int = 1) -> tuple[Any, dict]:
    """The solution of `solve()`, and a row about it."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        solution = jax.block_until_ready(solve())
        seconds.append(time.perf_counter() - start)
    row = {
        "case": name,
        "result": solution.result.name,
        "implicit": bool(solution.stats["implicit"]),
        "steps": int(solution.stats["steps"]),
        "log_excess": float(solution.log_excess1),
        "first": seconds[0],
        "seconds": float(np.median(seconds[1:])),
        "distance": None if wanted is None else distance(flat(solution.network), wanted),
    }
    return solution, row


def polished(name: str, network: Any, data: jf.Regression, **options: Any) -> dict:
    """A row about Newton's method from this network."""
    start = time.perf_counter()
    found = jf.polish(network, data, **options)
    seconds = time.perf_counter() - start
    return {
        "case": name,
        "result": repr(found),
        "steps": found.steps,
        "log_excess": float(np.log(max(found.loss, 1e-300))),
        "gradient": found.gradient,
        "signature": found.signature,
        "seconds": seconds,
    }


def digits(quick: bool) -> list[dict]:
    """Three digits, 60 samples, 64 tanh units: to a loss of 1e-3, and on the clock to e^-1000."""
    X, y = load_digits(return_X_y=True)
    kept = np.isin(y, (3, 5, 8))
    data = jf.Classification(X[kept][:60] / 16, y[kept][:60])
    network = eqx.nn.MLP(64, 3, 64, 1, activation=jnp.tanh, key=jax.random.key(0))
    rule = {"loss": "cross_entropy", "until": jf.until.loss(1e-3)}
    exact = jf.gradient_flow(network, data, rtol=1e-11, solver="explicit", **rule)
    start, rows = float(exact.stats["initial_log_excess"]), []

    def clock(end: float, solver: str) -> Any:
        s = np.linspace(1e-6 - start, end, 9)
        return jf.log_loss_flow(
            network, data, s, loss="cross_entropy", rtol=1e-6, solver=solver, max_steps=10_000
        )

    def to(solver: str) -> Any:
        return jf.gradient_flow(network, data, rtol=1e-8, solver=solver, **rule)

    for solver in ("auto",) if quick else ("explicit", "implicit", "auto"):
        name, wanted = f"digits, L = 1e-3, {solver}", flat(exact.network)
        rows.append(measured(name, lambda s=solver: to(s), wanted, 1 if quick else 5)[1])
    for end in (20.0,) if quick else (1e3, 1e5):
        for solver in ("auto",) if quick or end > 1e3 else ("explicit", "implicit", "auto"):
            name = f"digits, L = e^-{end:.0f}, {solver}"
            rows.append(measured(name, lambda e=end, s=solver: clock(e, s))[1])
    return rows


def huber() -> list[dict]:
    """100 samples of 30 correlated features under Huber's loss, to a gradient of 1e-6."""
    X, y = load_breast_cancer(return_X_y=True)
    data = jf.Classification(X[:100] / X[:100].max(0), y[:100])
    network = eqx.nn.MLP(30, 1, 32, 1, activation=jnp.tanh, key=jax.random.key(0))
    rows = []
    for solver in ("auto", "explicit"):
        rows.append(
            measured(
                f"Huber, |grad| = 1e-6, {solver}",
                lambda s=solver: jf.gradient_flow(
                    network,
                    data,
                    loss="huber",
                    until=jf.until.gradient_norm(1e-6),
                    rtol=1e-6,
                    solver=s,
                    max_steps=50_000,
                ),
            )[1]
        )
    return rows


def softplus() -> list[dict]:
    """1,000 random targets, 21 parameters: the flow beside SciPy's BDF, then Newton's method."""
    rng = np.random.default_rng(0)
    data = jf.Regression(rng.normal(size=(1000, 2)), rng.normal(size=(1000, 1)))
    network = eqx.nn.MLP(2, 1, 5, 1, activation=jax.nn.softplus, key=jax.random.key(0))
    parameters, rest = eqx.partition(network, eqx.is_array)
    start, unravel = jax.flatten_util.ravel_pytree(parameters)

    def loss(theta: Any) -> Any:
        f = jax.vmap(eqx.combine(unravel(theta), rest))(data.X)
        return 0.5 * jnp.sum((f - data.Y) ** 2)

    field = jax.jit(lambda theta: -jax.grad(loss)(theta))
    jacobian = jax.jit(jax.jacfwd(field))

    def bdf(rtol: float) -> Any:
        return solve_ivp(
            lambda t, y: np.asarray(field(y)),
            (0, 1e4),
            np.asarray(start),
            method="BDF",
            rtol=rtol,
            atol=rtol / 100,
            jac=lambda t, y: np.asarray(jacobian(y)),
        )

    wanted, rows = bdf(1e-9).y[:, -1], []
    for rtol in (1e-6, 1e-7):
        begin = time.perf_counter()
        found = bdf(rtol)
        rows.append(
            {
                "case": f"softplus, t = 1e4, BDF at {rtol:.0e}",
                "steps": len(found.t),
                "seconds": time.perf_counter() - begin,
                "distance": distance(found.y[:, -1], wanted),
            }
        )
    for rtol in (1e-4, 1e-6):
        name = f"softplus, t = 1e4, implicit at {rtol:.0e}"
        solution, row = measured(
            name,
            lambda r=rtol: jf.gradient_flow(network, data, ts=[1e4], solver="implicit", rtol=r),
            wanted,
        )
        rows.append(row)
    return [*rows, polished("softplus, polished", solution.network, data, steps=200)]


def teacher() -> list[dict]:
    """Five sigmoids learn four: to a loss of 1e-31 by the flow and Newton's method."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(500, 2))
    inner, outer = 2 * rng.normal(size=(4, 2)), rng.normal(size=4)
    data = jf.Regression(X, (1 / (1 + np.exp(-X @ inner.T))) @ outer[:, None])
    network = eqx.nn.MLP(2, 1, 5, 1, activation=jax.nn.sigmoid, key=jax.random.key(3))
    solution, row = measured(
        "teacher and student, t = 1e6",
        lambda: jf.gradient_flow(network, data, ts=[1e6], solver="implicit"),
    )
    return [row, polished("teacher and student, polished", solution.network, data)]


def main() -> None:
    """Run everything."""
    chosen = record.options(__doc__)
    parts = [digits(chosen.quick)]
    if not chosen.quick:
        parts += [softplus(), teacher(), huber()]
    rows = [row for part in parts for row in part]
    columns = ["case", "result", "implicit", "steps", "log_excess", "first", "seconds", "distance"]
    shown = [
        [f"{v:.3g}" if isinstance(v := row.get(c, ""), float) else str(v) for c in columns]
        for row in rows
    ]
    record.show("Stiff flows under any loss", columns, shown)
    record.write(chosen, "any_loss", {"rows": rows})


if __name__ == "__main__":
    main()
