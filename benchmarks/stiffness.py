"""Work against precision on stiff data: this library beside explicit and implicit solvers.

One trajectory of the two-layer linear network at a time, compressed, from the same initialization
and to the same loss; peers without a stopping rule go to the time at which the exact flow stops.
Errors are of `V V^T` at the end, relative, against an implicit run at rtol 1e-11. Compilation is
apart. What ran into its cap of steps (explicit solvers on digits need a million) is extrapolated at
its own pace: at the limit of stability steps stop growing.
"""

import time
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np
import record
import scipy.integrate

import jaxflow as jf

RATIO = 1e-20


def spectrum(condition: float, r: int, m: int) -> jf.Regression:
    """Geometric spectrum of X^T X, targets of a linear teacher with N(0, 1/r) entries."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(r, r)))[0] for _ in range(2))
    X = (left * np.geomspace(1, condition**-0.5, r)) @ right
    return jf.Regression(X, X @ rng.normal(size=(r, m)) / np.sqrt(r))


def end(V: Any) -> np.ndarray:
    """What is compared at the end: `A = V V^T`."""
    return np.asarray(V @ V.T)


def error(V: Any, best: np.ndarray) -> float:
    """Relative distance of `V V^T` to the best one known."""
    return float(np.linalg.norm(end(V) - best) / np.linalg.norm(best))


def timed(solve: Any, repeats: int) -> tuple[float, float, Any]:
    """Seconds of a short first call, median seconds of whole ones, and the answer.

    `solve(ratio)`: to this share of the initial excess loss, by one and the same program.
    """
    start = time.perf_counter()
    jax.block_until_ready(solve(0.9))
    first, seconds = time.perf_counter() - start, []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = jax.block_until_ready(solve(None))
        seconds.append(time.perf_counter() - start)
    return first, float(np.median(seconds)), answer


def ours(network: Any, data: Any, solver: Any, rtol: float, cap: int, repeats: int = 1) -> dict:
    """The flow of this library, by any of its solvers."""

    def solve(ratio: float | None) -> Any:
        rule = jf.until.loss_ratio(ratio or RATIO)
        return jf.gradient_flow(network, data, until=rule, solver=solver, rtol=rtol, max_steps=cap)

    first, seconds, flow = timed(solve, repeats)
    return {
        "seconds": seconds,
        "first": first,
        "steps": int(flow.stats["steps"]),
        "t": float(flow.t1),
        "log_ratio": float(flow.log_excess1 - flow.stats["initial_log_excess"]),
        "V": np.asarray(flow.network.V),
        "drift": drift(network, flow.network, data),
        "status": "stopped" if flow.result == jf.Result.stopped else "step cap",
    }


def drift(before: Any, after: Any, data: Any) -> float:
    """Change of the imbalance, relative to the weights."""

    def imbalance(network: Any) -> Any:
        U1 = data.right.T @ network.U
        return U1.T @ U1 - network.V.T @ network.V

    U1 = data.right.T @ before.U
    size = jnp.sum(U1**2) + jnp.sum(before.V**2)
    return float(jnp.linalg.norm(imbalance(after) - imbalance(before)) / size)


def scipy_peer(network: Any, data: Any, method: str, rtol: float, limit: float) -> dict:
    """`solve_ivp` on the weights (V, U1), to the time at which the exact flow stops."""
    V0, U1 = np.asarray(network.V), np.asarray(data.right.T @ network.U)
    m, k = V0.shape
    s, targets = np.asarray(data.singular_values), np.asarray(data.targets)
    started = time.perf_counter()

    class OutOfTime(Exception):
        pass

    def field(t: float, y: np.ndarray) -> np.ndarray:
        if time.perf_counter() - started > limit:
            raise OutOfTime
        V, U = y[: m * k].reshape(m, k), y[m * k :].reshape(-1, k)
        E = s[:, None] * (targets - s[:, None] * (U @ V.T))
        return np.concatenate([(E.T @ U).ravel(), (E @ V).ravel()])

    y0 = np.concatenate([V0.ravel(), U1.ravel()])
    try:
        out = scipy.integrate.solve_ivp(
            field, (0, network.t_stop), y0, method=method, rtol=rtol, atol=rtol * 1e-3
        )
    except OutOfTime:
        return {"seconds": limit, "steps": None, "status": "out of time", "V": None}
    V = out.y[: m * k, -1].reshape(m, k)
    status = "finished" if out.success else "failed"
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "steps": int(out.nfev), "status": status, "V": V}


class Stopped(eqx.Module):
    """A network, and when its flow stops: what peers without a stopping rule are told."""

    U: Any
    V: Any
    t_stop: float = eqx.field(static=True)


def dense_kvaerno(network: Any, data: Any, rtol: float, cap: int) -> dict:
    """Diffrax's Kvaerno5 with its own dense Newton, on the same coordinates and controller."""
    return ours(network, data, diffrax.Kvaerno5(), rtol, cap)


def problem(name: str, data: Any, quick: bool, *, caps: tuple[int, int], limit: float) -> dict:
    """Everything about one data set."""
    network = jf.init.Gaussian().compressed(jr.key(0), data, width=1000)
    best = ours(network, data, "implicit", 1e-11, 10**6)
    goal, rows = end(best["V"]), []

    def add(solver: str, rtol: float, found: dict) -> None:
        V = found.pop("V")
        found["error"] = None if V is None else error(V, goal)
        if "t" in found:
            found["t_error"] = abs(found["t"] / best["t"] - 1)
        rows.append({"solver": solver, "rtol": rtol, **found})
        e = "-" if V is None else f"{rows[-1]['error']:.1e}"
        print(
            f"{name:>16} {solver:>16} {rtol:.0e} {found['seconds']:9.3f} s  error {e}  "
            f"steps {found['steps']}  {found['status']}",
            flush=True,
        )

    for rtol in (1e-4, 1e-6, 1e-8, 1e-10):
        add("implicit", rtol, ours(network, data, "implicit", rtol, 10**5, 1 if quick else 5))
    explicit = zip((diffrax.Tsit5(), diffrax.Dopri8()), (1e-6, 1e-8), caps, strict=True)
    for solver, rtol, cap in explicit:
        found = ours(network, data, solver, rtol, cap)
        if found["status"] == "step cap":
            found["seconds_extrapolated"] = found["seconds"] * best["t"] / found["t"]
        add(type(solver).__name__, rtol, found)
    stopped = Stopped(network.U, network.V, best["t"])
    for method in () if quick else ("LSODA", "Radau", "BDF"):
        add(f"SciPy {method}", 1e-6, scipy_peer(stopped, data, method, 1e-6, limit))
    if not quick:
        add("Kvaerno5 dense", 1e-6, dense_kvaerno(network, data, 1e-6, 40))
    s = np.asarray(data.singular_values)
    return {
        "name": name,
        "condition": float((s[0] / s[-1]) ** 2),
        "rank": data.rank,
        "outputs": data.outputs,
        "t_stop": best["t"],
        "rows": rows,
    }


def tanh_network(quick: bool) -> dict:
    """500 tanh units on 100 samples of diabetes, to a gradient norm of 1e-8."""
    raw = jf.data.load("diabetes", samples=100)
    X, y = (np.asarray(a) for a in (raw.X, raw.Y))
    X, y = ((a - a.mean(0)) / a.std(0) for a in (X, y))
    data = jf.Regression(X, y)
    h = 50 if quick else 500
    network = eqx.nn.MLP(10, 1, h, 1, activation=jnp.tanh, key=jr.key(0))

    def flat(flow: Any) -> np.ndarray:
        leaves = jax.tree.leaves(eqx.filter(flow.network, eqx.is_array))
        return np.concatenate([np.ravel(leaf) for leaf in leaves])

    least = 1e-2 if quick else 1e-8
    rows: list[dict[str, Any]] = []
    ends = {}

    def run(solver: Any, rtol: float, cap: int) -> dict[str, Any]:
        def solve(ratio: float | None) -> Any:
            rule = jf.until.gradient_norm(1e2 if ratio else least)
            return jf.gradient_flow(
                network, data, until=rule, solver=solver, rtol=rtol, max_steps=cap
            )

        first, seconds, flow = timed(solve, 1)
        ends[len(rows)] = flat(flow)
        name = solver if isinstance(solver, str) else type(solver).__name__
        row = {"solver": name, "rtol": rtol, "seconds": seconds, "first": first}
        row["steps"], row["t"] = int(flow.stats["steps"]), float(flow.t1)
        rows.append(row)
        return row

    for rtol in (1e-9, 1e-7, 1e-5):
        row = run("implicit", rtol, 10**4)
        row["error"] = float(
            np.linalg.norm(ends[len(rows) - 1] - ends[0]) / np.linalg.norm(ends[0])
        )
    for solver in (diffrax.Tsit5(), diffrax.Dopri8()):
        row = run(solver, 1e-6, 500 if quick else 20_000)
        row["seconds_extrapolated"] = row["seconds"] * max(rows[0]["t"] / row["t"], 1.0)
    for row in rows:
        print("tanh", row, flush=True)
    out: dict[str, Any] = {"width": h, "rows": rows}
    if not quick:
        ts = jnp.linspace(0, 10, 201)
        exact = jf.gradient_flow(network, data, ts=ts, solver="explicit", rtol=1e-11)
        curve = jf.gradient_flow(network, data, ts=ts, solver="implicit", rtol=1e-7)
        gap = jnp.abs(curve.loss - exact.loss) / exact.loss
        out["curve"] = {
            "rtol": 1e-7,
            "largest_relative_error": float(gap.max()),
            "explicit_steps": int(exact.stats["steps"]),
            "implicit_steps": int(curve.stats["steps"]),
        }
        print("tanh curve", out["curve"], flush=True)
    return out


def draw(found: dict) -> Any:
    """Seconds against error, one panel a problem; steps against the condition number."""
    shown = [p for p in found["problems"] if p["name"] in ("digits", "diabetes")]
    figure, axes = plt.subplots(1, len(shown) + 1, figsize=(4.6 * len(shown) + 4.6, 4.2))
    for ax, one in zip(axes, shown, strict=False):
        for solver in dict.fromkeys(row["solver"] for row in one["rows"]):
            rows = [r for r in one["rows"] if r["solver"] == solver]
            done = [r for r in rows if r["status"] in ("stopped", "finished") and r["error"]]
            if done:
                x, y = zip(*[(r["error"], r["seconds"]) for r in done], strict=True)
                ax.loglog(x, y, "o-", label=solver)
            for r in rows:
                if r["status"] == "step cap" and "seconds_extrapolated" in r:
                    y1 = r["seconds_extrapolated"]
                    ax.axhline(y1, color="0.5", lw=0.8, ls=":")
                    at = {"ha": "right", "va": "bottom", "transform": ax.get_yaxis_transform()}
                    ax.text(0.98, y1, f"{solver}, extrapolated", fontsize=7, color="0.4", **at)
        ax.set(title=f"{one['name']}, condition {one['condition']:.0e}")
        ax.set(xlabel="relative error of $V V^T$ at the end", ylabel="seconds, compiled")
        ax.legend(fontsize=7, frameon=False)
    rest = [p for p in found["problems"] if p["name"].startswith("geometric")]
    for rtol in (1e-6, 1e-8):
        points = [
            (p["condition"], r["steps"])
            for p in rest
            for r in p["rows"]
            if r["solver"] == "implicit" and r["rtol"] == rtol
        ]
        axes[-1].semilogx(*zip(*points, strict=True), "o-", label=f"implicit, rtol {rtol:.0e}")
    axes[-1].set(ylim=(0, None), xlabel="condition number of $X^T X$", ylabel="steps to 1e-20")
    axes[-1].set(title=f"geometric spectra, r = {rest[0]['rank']}")
    axes[-1].legend(frameon=False)
    figure.tight_layout()
    return figure


def main() -> None:
    """Run everything, and draw it."""
    chosen = record.options(__doc__)
    quick = chosen.quick
    limit, few = 1.0 if quick else 30.0, (300, 300)
    names = ["digits"] if quick else ["digits", "diabetes"]
    problems = []
    for name in names:
        data = jf.data.load(name, samples=(12 if quick else 50) if name == "digits" else None)
        caps = few if quick else (50_000, 50_000)
        problems.append(problem(name, data, quick, caps=caps, limit=limit))
    r, m = (8, 2) if quick else (50, 10)
    for condition in (1e12,) if quick else (1e2, 1e4, 1e6, 1e8, 1e10, 1e12):
        data = spectrum(condition, r, m)
        problems.append(problem(f"geometric {condition:.0e}", data, True, caps=few, limit=limit))
    found = {"ratio": RATIO, "problems": problems, "tanh": tanh_network(quick)}
    figure = draw(found)
    record.write(chosen, "stiffness", found)
    if not quick:
        figure.savefig(chosen.out / "stiffness.png", dpi=130)


if __name__ == "__main__":
    main()
