"""Whole shallow networks, trained by the flow: time and error beside Diffrax and PyTorch by hand.

The five points of a line of Jin and Montufar (JMLR 2023), adjusted; ReLU units rounded off over
1e-3, all layers trained until the loss is 1e-8 of its start; tolerance 1e-6 for all. Peers
integrate the plain flow of all parameters, from the same networks. Compile time apart.
"""

import importlib
import time
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import record

import jaxflow as jf
from jaxflow import theory
from jaxflow.machine import Stopwatch
from jaxflow.papers.settings.wide_networks import line, points

WIDTHS, SEEDS, FEW = (80, 1280, 20480), 20, 4  # FEW for peers, and for errors
RTOL, ATOL, RATIO, ROUND = 1e-6, 1e-8, 1e-8, 1e-3
BEYOND = 1.05  # an event that never fires ends its run at this multiple of the reference's time
SCALE = 0.5**0.5  # of the units: f is the difference of two copies over sqrt(2)
DENSE = 1000  # parameters: beyond, the dense Jacobian of an implicit peer is not worth a trial
BUDGET = 90.0  # seconds a tool and width, after which no further seed is begun
DEFINITIONS = {
    "ms": "wall time per trajectory without compilation, on one device: the operations of XLA may "
    "use both cores, PyTorch has one thread",
    "error": "RMS over a grid of the predictions at the end, minus those of the reference (rtol "
    "1e-9), over the RMS of the targets; the largest over the seeds",
    "jaxflow": "jf.run of a Sweep over 20 seeds, drawing included; median of three",
    "diffrax": "Tsit5 or Kvaerno5, PID control, an event at the goal; the gradient by jax.grad",
    "torchdiffeq": "dopri5, to the reference's time; the gradient by hand",
    "PyTorch descent": "steps of 1 / lambda_max of the tangent kernel at the start, to the goal",
}


def value(z: Any, xp: Any) -> Any:
    """The ReLU, rounded off."""
    return xp.where(abs(z) < ROUND, (z + ROUND) ** 2 / (4 * ROUND), z * (z > 0))


def slope(z: Any, xp: Any) -> Any:
    """Its derivative."""
    return xp.clip((z + ROUND) / (2 * ROUND), 0, 1)


def minus_gradient(theta: Any, x: Any, y: Any, xp: Any) -> Any:
    """By hand, in NumPy or PyTorch."""
    w, b, v = theta
    z = x[:, None] * w + b
    phi = SCALE * value(z, xp)
    r = y - phi @ v
    back = SCALE * r[:, None] * slope(z, xp) * v
    return x @ back, back.sum(0), r @ phi


@eqx.filter_jit
def _diffrax(solver: Any, theta: Any, x: Any, y: Any, end: Any, goal: Any) -> Any:
    def loss(theta: Any) -> Any:
        w, b, v = theta
        return 0.5 * jnp.sum((SCALE * value(x[:, None] * w + b, jnp) @ v - y) ** 2)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, p, args: jax.tree.map(jnp.negative, jax.grad(loss)(p))),
        solver,
        t0=0.0,
        t1=BEYOND * end,
        dt0=None,
        y0=theta,
        stepsize_controller=diffrax.PIDController(RTOL, ATOL),
        event=diffrax.Event(lambda t, p, args, **_: loss(p) <= goal),
        max_steps=200_000,
        throw=False,
    )
    return jax.tree.map(lambda a: a[-1], solution.ys), solution.stats["num_steps"]


def tsit5(*job: Any) -> Any:
    """Diffrax's explicit default."""
    return _diffrax(diffrax.Tsit5(), *job)


def kvaerno5(*job: Any) -> Any:
    """Diffrax's implicit default; its Jacobian is dense."""
    if 3 * len(job[0][0]) > DENSE:
        raise MemoryError(f"a dense Jacobian of {8 * (3 * len(job[0][0])) ** 2 / 1e9:.2g} GB")
    return _diffrax(diffrax.Kvaerno5(), *job)


def torchdiffeq(theta: Any, x: Any, y: Any, end: float, goal: float) -> Any:
    """Its explicit default."""
    import torch
    from torchdiffeq import odeint

    torch.set_num_threads(1)
    X, Y, count = torch.tensor(x), torch.tensor(y), [0]

    def field(t: Any, theta: Any) -> Any:
        count[0] += 1
        return minus_gradient(theta, X, Y, torch)

    with torch.inference_mode():
        ts = torch.tensor([0.0, float(end)], dtype=torch.float64)
        start = tuple(torch.tensor(np.asarray(a)) for a in theta)
        out = odeint(field, start, ts, rtol=RTOL, atol=ATOL, method="dopri5")
    return [a[-1].numpy() for a in out], count[0] // 6


def descent(theta: Any, x: Any, y: Any, end: float, goal: float) -> Any:
    """Gradient descent in PyTorch."""
    import torch

    torch.set_num_threads(1)
    w, b, v = map(np.asarray, theta)
    z = x[:, None] * w + b
    phi, back = SCALE * value(z, np), SCALE * slope(z, np) * v
    step = 1 / np.linalg.eigvalsh(phi @ phi.T + (1 + np.outer(x, x)) * (back @ back.T))[-1]
    X, Y = torch.tensor(x), torch.tensor(y)
    with torch.inference_mode():
        at = [torch.tensor(a) for a in (w, b, v)]
        for k in range(int(2 * end / step)):
            if k % 50 == 0:
                r = SCALE * value(X[:, None] * at[0] + at[1], torch) @ at[2] - Y
                if 0.5 * float(r @ r) <= goal:
                    break
            for a, d in zip(at, minus_gradient(at, X, Y, torch), strict=True):
                a.add_(d, alpha=step)
    return [a.numpy() for a in at], k


PEERS = {
    "diffrax, Tsit5": (tsit5, ()),
    "diffrax, Kvaerno5": (kvaerno5, ()),
    "torchdiffeq": (torchdiffeq, ("torch", "torchdiffeq")),
    "PyTorch descent": (descent, ("torch",)),
}


def case(h: int, seeds: int, few: int) -> dict[str, Any]:
    """All tools at one width."""
    law = jf.init.Shallow(weights=jf.init.Sphere())
    data = theory.adjusted(law, line())
    at, stop = points(data), jf.until.loss_ratio(RATIO)
    x, y = np.asarray(data.X)[:, 0], np.asarray(data.Y)[:, 0]
    size = np.sqrt(np.mean(y**2))

    @eqx.filter_jit
    def flow(network: Any, rtol: Any) -> Any:
        end = jf.gradient_flow(
            network, data, until=stop, formulation="residual", solver="implicit", rtol=rtol
        )
        return jax.vmap(end.network)(jnp.asarray(at))[:, 0], end.t1

    networks = [law(key, data, width=h) for key in jr.split(jr.key(5), few)]
    exact, ends = zip(*(flow(network, 1e-9) for network in networks), strict=True)

    def error(i: int, found: Any) -> float:
        return float(np.sqrt(np.mean((np.asarray(found) - np.asarray(exact[i])) ** 2)) / size)

    plan = jf.Sweep(data, law, widths=[h], seeds=seeds, until=stop, rtol=RTOL)
    runs = [jf.run(plan) for _ in range(3)]
    seconds = float(np.median([ds.attrs["seconds_run"] for ds in runs]))
    tools: dict[str, Any] = {
        "jaxflow": {
            "seeds": seeds,
            "ms": 1e3 * seconds / seeds,
            "seconds_compile": runs[0].attrs["seconds_compile"],
            "error": max(error(i, flow(n, RTOL)[0]) for i, n in enumerate(networks)),
            "steps": float(runs[0]["steps"].median()),
            "failed": int((runs[0]["status"].values != 1).sum()),
        }
    }
    for name, (solve, modules) in PEERS.items():
        try:
            for module in modules:
                importlib.import_module(module)
            tools[name] = peer(solve, networks, x, y, at[:, 0], ends, error)
        except (ImportError, MemoryError) as reason:
            tools[name] = {"not_run": str(reason)}
    return {"h": h, "tools": tools}


def peer(solve: Any, networks: Any, x: Any, y: Any, at: Any, ends: Any, error: Any) -> Any:
    """One tool on networks, one after another, while the budget lasts; the first one twice."""
    seconds, errors, steps, compiling = [], [], [], 0.0
    begin = time.perf_counter()
    for i, network in enumerate(networks):
        theta = network.W[:, 0], network.b, network.V[0]
        goal = RATIO * 0.5 * float(np.sum(y**2))  # the networks are zero at the start
        for _ in range(1 if i else 2):
            with Stopwatch() as clock:
                out, count = jax.block_until_ready(solve(theta, x, y, ends[i], goal))
            compiling = max(compiling, clock.compile)
            if time.perf_counter() - begin > BUDGET:
                break
        w, b, v = map(np.asarray, out)
        seconds.append(clock.run)
        errors.append(error(i, SCALE * value(at[:, None] * w + b, np) @ v))
        steps.append(int(count))
        if time.perf_counter() - begin > BUDGET:
            break
    ms = 1e3 * float(np.median(seconds))
    return {
        "seeds": len(seconds),
        "ms": ms,
        "seconds_compile": compiling,
        "error": max(errors),
        "steps": float(np.median(steps)),
        "failed": int(np.sum(~np.isfinite(errors))),
    }


def main() -> None:
    """Run every width with every tool."""
    chosen = record.options(__doc__)
    widths, seeds, few = ((80,), 2, 1) if chosen.quick else (WIDTHS, SEEDS, FEW)
    cases = [case(h, seeds, few) for h in widths]
    rows = []
    for one in cases:
        for name, tool in one["tools"].items():
            if "not_run" in tool:
                rows.append([f"{one['h']:,}", name, f"not run: {tool['not_run']}"])
                continue
            rows.append(
                [
                    f"{one['h']:,}",
                    name,
                    f"{tool['ms']:.3g}",
                    f"{tool['seconds_compile']:.1f}",
                    f"{tool['error']:.1e}",
                    f"{tool['steps']:.0f}",
                    f"{tool['seeds']}",
                    f"{tool['failed']}",
                ]
            )
    headings = ["h", "tool", "ms each", "s compile", "error", "steps", "seeds"]
    record.show("Whole shallow networks, by the flow", [*headings, "failed"], rows)
    record.write(chosen, "shallow_peers", {"definitions": DEFINITIONS, "cases": cases})


if __name__ == "__main__":
    main()
