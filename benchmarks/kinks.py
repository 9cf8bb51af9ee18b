"""Flows along kinks: the exact flow beside rounded kinks, descent, and solvers that stall.

Networks of one hidden layer of ReLUs: `eqx.nn.MLP` with its default activation; wide shallow
networks on the five points of Jin and Montufar (JMLR 2023); and small balanced networks on the
three points of Boursier and Flammarion (JMLR 2025), where all of them end at the least-squares
line.
"""

import dataclasses
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import record

import jaxflow as jf
from jaxflow import theory
from jaxflow.networks.activations import ReLU
from jaxflow.papers.settings.wide_networks import line, points

AT = np.random.default_rng(5).normal(size=(200, 3))
WIDE = jf.init.Shallow(weights=jf.init.Sphere(), activation=ReLU())
END = 20.0  # of the flows that are compared


def sine() -> jf.Regression:
    """Twelve samples of a sine of a linear function, in three dimensions."""
    x = np.random.default_rng(0).normal(size=(12, 3))
    return jf.Regression(x, np.sin(x @ np.random.default_rng(1).normal(size=(3, 1))))


def three() -> jf.Regression:
    """The three points of Boursier and Flammarion."""
    return jf.Regression(np.array([[-0.75], [-0.5], [0.125]]), np.array([1.1, 0.1, 0.8]))


def mlp(key: Any, data: jf.Regression) -> Any:
    """The network of Equinox with its default activation."""
    return eqx.nn.MLP(data.features, data.outputs, 16, 1, key=key)


def gap(a: Any, b: Any) -> float:
    """The largest distance of two functions over the inputs AT."""
    f, g = (jax.vmap(network)(jnp.asarray(AT)) for network in (a, b))
    return float(jnp.max(jnp.abs(f - g)))


def references(seeds: int, roundings: Any, rates: Any) -> list[dict[str, Any]]:
    """The exact flow against itself at other tolerances, rounded kinks, and descent."""
    rows: list[dict[str, Any]] = []
    data = sine()
    for seed in range(seeds):
        network = mlp(jr.key(seed), data)

        def flow(network: Any = network, **options: Any) -> Any:
            return jf.gradient_flow(network, data, t1=END, **options)

        exact = flow(formulation="filippov", rtol=1e-10).check()

        def add(what: str, size: float, found: Any, exact: Any = exact, seed: int = seed) -> None:
            steps = int(found.stats["steps"])
            distance = gap(found.network, exact.network)
            result = found.result.name
            rows.append(
                dict(seed=seed, what=what, size=size, gap=distance, steps=steps, result=result)
            )

        for rtol in (1e-6, 1e-8):
            add("exact, rtol", rtol, flow(formulation="filippov", rtol=rtol))
        for smoothing in roundings:
            add("rounded", smoothing, flow(jf.smoothed(network, smoothing), solver="implicit"))
        for rate in rates:
            steps = round(END / rate)
            found = jf.gradient_descent(network, data, optax.sgd, learning_rate=rate, steps=steps)
            add("descent", rate, found)
        add("explicit", 0.0, flow(formulation="residual", solver="explicit"))
    return rows


def swept(
    law: Any, data: jf.Regression, seeds: int, ratio: float, **options: Any
) -> dict[str, Any]:
    """A sweep twice, with and without compilation."""
    sweep = jf.Sweep(data, law, seeds=seeds, until=jf.until.loss_ratio(ratio), **options)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        found = jf.run(sweep)
        seconds.append(time.perf_counter() - start)
    status = found.status.values.ravel()
    return {
        "trajectories": int(sweep.trajectories),
        "stopped": int((status == jf.Result.stopped).sum()),
        "steps_median": float(np.median(found.steps)),
        "steps_most": int(found.steps.max()),
        "seconds_cold": seconds[0],
        "seconds_warm": seconds[1],
    }


def sweeps(mlps: int, wide: Any) -> list[dict[str, Any]]:
    """The exact flow of many networks."""
    rows = [{"name": "eqx.nn.MLP, h = 16, to 1e-6", **swept(mlp, sine(), mlps, 1e-6)}]
    data = theory.adjusted(WIDE, line())
    for h, seeds in wide:
        facts = swept(WIDE, data, seeds, 1e-8, widths=[h], rtol=1e-6)
        rows.append({"name": f"shallow, h = {h:,}, to 1e-8", **facts})
    return rows


def wide_roundings(h: int, seeds: int, roundings: Any) -> list[dict[str, Any]]:
    """Ends of wide networks with rounded kinks, against the exact flow: RMS on a grid."""
    at, data = points(line()), theory.adjusted(WIDE, line())
    measures = [jf.measures.Predictions(at)]

    def ends(smoothing: float) -> np.ndarray:
        law = dataclasses.replace(WIDE, activation=ReLU(smoothing=smoothing))
        until = jf.until.loss_ratio(1e-8)
        sweep = jf.Sweep(
            data, law, widths=[h], seeds=seeds, until=until, rtol=1e-7, measures=measures
        )
        found = jf.run(sweep)
        return found.predictions.transpose("seed", ...).values.reshape(seeds, -1)

    exact = ends(0.0)
    rows = []
    for d in roundings:
        rms = np.sqrt(np.mean((ends(d) - exact) ** 2, axis=1))
        rows.append(
            {"h": h, "smoothing": d, "median": float(np.median(rms)), "most": float(rms.max())}
        )
    return rows


def early(widths: Any, scale: float) -> list[dict[str, Any]]:
    """Balanced networks of small size: the loss at the end, as a mean over samples."""
    rows, data = [], three()
    for h in widths:
        a, b = jr.split(jr.key(h))
        W = scale / np.sqrt(h) * jr.normal(a, (h, 2))
        V = jnp.linalg.norm(W, axis=1)[None] * jr.rademacher(b, (1, h), W.dtype)
        network = jf.ShallowNetwork(W[:, :1], W[:, 1], V)
        end = jf.gradient_flow(network, data, until=jf.until.gradient_norm(1e-5))
        rows.append(
            {
                "h": h,
                "result": end.result.name,
                "mean_square": float(2 / 3 * end.loss[-1]),
                "steps": int(end.stats["steps"]),
            }
        )
    return rows


def main() -> None:
    """Run all of it."""
    chosen = record.options(__doc__)
    quick = chosen.quick
    roundings = (1e-2, 1e-3) if quick else (1e-3, 1e-4, 1e-5)
    data = three()
    residual = np.linalg.lstsq(np.c_[data.X, np.ones(3)], np.asarray(data.Y), rcond=None)[1]
    result = {
        "references": references(1 if quick else 2, roundings, (1e-3,) if quick else (1e-3, 1e-4)),
        "sweeps": sweeps(4 if quick else 16, [(20, 4)] if quick else [(640, 64), (5000, 16)]),
        "wide_roundings": wide_roundings(40, 4 if quick else 8, roundings[:2]),
        "early": early((8,) if quick else (8, 64, 512), 1e-3),
        "least_squares": float(residual[0] / 3),
    }
    record.show(
        f"The exact flow of eqx.nn.MLP at t = {END:g}: largest distance to others",
        ["seed", "", "", "distance", "steps", "result"],
        [
            [
                *(str(r["seed"]), r["what"], f"{r['size']:g}", f"{r['gap']:.1e}"),
                *(str(r["steps"]), r["result"]),
            ]
            for r in result["references"]
        ],
    )
    record.show(
        "The exact flow of many networks",
        ["", "networks", "stopped", "steps, median", "most", "s, cold", "s, warm"],
        [
            [
                *(r["name"], str(r["trajectories"]), str(r["stopped"]), f"{r['steps_median']:g}"),
                *(str(r["steps_most"]), f"{r['seconds_cold']:.1f}", f"{r['seconds_warm']:.1f}"),
            ]
            for r in result["sweeps"]
        ],
    )
    record.show(
        "Rounded kinks of wide networks, at the end: RMS distance to the exact flow",
        ["h", "smoothing", "median", "most"],
        [
            [str(r["h"]), f"{r['smoothing']:g}", f"{r['median']:.1e}", f"{r['most']:.1e}"]
            for r in result["wide_roundings"]
        ],
    )
    record.show(
        f"Early alignment: mean square at the end; the least-squares line: "
        f"{result['least_squares']:.9f}",
        ["h", "mean square", "steps", "result"],
        [
            [str(r["h"]), f"{r['mean_square']:.9f}", str(r["steps"]), r["result"]]
            for r in result["early"]
        ],
    )
    record.write(chosen, "kinks", result)


if __name__ == "__main__":
    main()
