"""Central flows beside the methods that they model, and beside their stable flows.

A network of two hidden layers, random inputs, and random targets or soft random classes. Distances
of weights are between the flow and the mean of two midpoints of the method, late in training. The
loss of the method, averaged over windows of steps, is compared with the central flow's prediction.
"""

import dataclasses
import time
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import numpy as np
import record

import jaxflow as jf
from jaxflow.dynamics import Measure
from jaxflow.networks import trainable

WINDOWS = 8
SAVES = 200


@dataclasses.dataclass(frozen=True)
class Setting:
    """A method, its learning rate, the outputs of the network and what it learns."""

    name: str
    method: Any
    rate: float
    steps: int
    outputs: int = 1
    classes: bool = False
    samples: int = 128
    width: int = 16


class Weights(Measure):
    """All parameters as one vector, at every saved time."""

    name = "weights"
    dims = ("time", "entry")

    def update(self, t: Any, view: Any, fixed: Any) -> Any:
        return jax.flatten_util.ravel_pytree(eqx.filter(view.network, trainable(view.network)))[0]


class Oscillation(Measure):
    """The predicted average loss and the eigenvalues of the covariance, at every saved time."""

    name = "oscillation"
    dims = ("time",)

    def update(self, t: Any, view: Any, fixed: Any) -> Any:
        found = view.oscillation
        return {"loss": found.loss, "levels": jax.numpy.linalg.eigvalsh(found.X)}


def problem(setting: Setting) -> tuple[Any, jf.Regression, Any]:
    """A network, data and a loss."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(setting.samples, 8))
    m = setting.outputs
    if setting.classes:
        Y = 0.3 / m + 0.7 * np.eye(m)[rng.integers(0, m, size=setting.samples)]
    else:
        Y = rng.normal(size=(setting.samples, m))
    key = jax.random.key(0)
    network = eqx.nn.MLP(8, m, setting.width, 2, jax.nn.silu, key=key)
    return network, jf.Regression(X, Y), "cross_entropy" if setting.classes else None


def beside(setting: Setting) -> dict[str, Any]:
    """The method, its central flow and its stable flow, from the same network."""
    network, data, loss = problem(setting)
    every = max(setting.steps // SAVES, 1)
    saves = np.arange(1, setting.steps + 1, every)

    def go(rule: Any, saves: Any, *measures: Any, **more: Any) -> tuple[jf.Solution, float]:
        start = time.perf_counter()
        found = jf.gradient_descent(
            network,
            data,
            rule,
            learning_rate=setting.rate,
            steps=setting.steps,
            loss=loss,
            saves=[int(step) for step in saves],
            measures=measures,
            **more,
        )
        np.asarray(found.t1)
        return found, time.perf_counter() - start

    method, _ = go(setting.method, saves - 1, Weights(), midpoints=2)
    dense = np.asarray(go(setting.method, np.arange(setting.steps + 1))[0].excess)
    rule = jf.CentralFlow(setting.method, unstable=4)
    flow, seconds = go(rule, saves, Weights(), Oscillation())
    stable, stable_seconds = go(jf.StableFlow(setting.method), saves, Weights())
    late = len(saves) // 2

    def apart(other: jf.Solution) -> float:
        gaps = np.asarray(other.measures["weights"]) - np.asarray(method.measures["weights"])
        return float(np.median(np.linalg.norm(gaps[late:], axis=1)))

    found = {name: np.asarray(value) for name, value in flow.measures["oscillation"].items()}
    predicted, levels = found["loss"] - float(flow.optimal_loss), found["levels"]
    unstable = (levels > 1e-3 * levels.max()).sum(axis=1)
    rows = []
    for part in np.array_split(np.arange(len(saves)), WINDOWS):
        first = max(int(saves[part[0]]) - every // 2, 0)  # so that steps lie around the saves
        steps = slice(first, first + every * len(part))
        seen = dense[steps].mean()
        rows.append(
            {
                "steps": [steps.start, steps.stop],
                "unstable": float(unstable[part].mean()),
                "share_of_oscillation": float(1 - np.asarray(flow.excess)[part].mean() / seen),
                "error_of_excess": float(predicted[part].mean() / seen - 1),
                "error": float((predicted[part].mean() - seen) / (seen + float(flow.optimal_loss))),
            }
        )
    start = np.asarray(method.measures["weights"])
    return {
        "setting": setting.name,
        "rate": setting.rate,
        "steps": setting.steps,
        "ended": [each.result.name for each in (method, flow, stable)],
        "moved": float(np.linalg.norm(start[-1] - start[0])),
        "central": apart(flow),
        "stable": apart(stable),
        "seconds": [seconds, stable_seconds],
        "windows": rows,
    }


def settings(quick: bool) -> list[Setting]:
    """What is compared: gradient descent with several unstable directions, and other methods."""
    descent = jf.GradientDescent()
    scalar = jf.ScalarRMSProp(beta2=0.99, bias_correction=True)
    rms = jf.RMSProp(beta2=0.95, bias_correction=True)
    if quick:
        sizes: dict[str, Any] = {"samples": 16, "width": 4}
        return [Setting("RMSProp", rms, 0.005, 80, **sizes)]
    return [
        Setting("squared, three outputs", descent, 0.001, 2000, outputs=3),
        Setting("squared, three outputs", descent, 0.0016, 1200, outputs=3),
        Setting("cross-entropy, three classes", descent, 0.005, 3000, outputs=3, classes=True),
        Setting("scalar RMSProp", scalar, 0.02, 700),
        Setting("RMSProp", rms, 0.0006, 800),
        Setting("Adam", jf.Adam(beta2=0.99), 0.0005, 800),
    ]


def main() -> None:
    """Run, print and record."""
    chosen = record.options(__doc__ or "")
    rows = [beside(setting) for setting in settings(chosen.quick)]
    record.show(
        "late distance to the method",
        ["method", "rate", "moved", "central flow", "stable flow", "ratio", "s", "ended"],
        [
            [
                row["setting"],
                f"{row['rate']:g}",
                f"{row['moved']:.2f}",
                f"{row['central']:.2g}",
                f"{row['stable']:.2g}",
                f"{row['stable'] / row['central']:.1f}",
                ", ".join(f"{s:.0f}" for s in row["seconds"]),
                ", ".join(dict.fromkeys(row["ended"])),
            ]
            for row in rows
        ],
    )
    record.show(
        "average loss: prediction / seen - 1, per window",
        ["method", "rate", "steps", "unstable", "share of oscillation", "L", "L - L*"],
        [
            [
                row["setting"],
                f"{row['rate']:g}",
                f"{window['steps'][0]} ... {window['steps'][1]}",
                f"{window['unstable']:.1f}",
                f"{window['share_of_oscillation']:.0%}",
                f"{window['error']:+.2%}",
                f"{window['error_of_excess']:+.2%}",
            ]
            for row in rows
            for window in row["windows"]
        ],
    )
    record.write(chosen, "central_flows", {"rows": rows})


if __name__ == "__main__":
    main()
