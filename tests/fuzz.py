"""Random calls of the public functions and of the command line, each reproduced by one integer.

A call takes valid arguments and, most of the time, spoils one or two of them. It is accepted if it
returns; what it returns is then checked against NumPy, the loss of the returned network, or a
single flow. It is refused if it raises a sentence of this package's own. Anything else is a
finding: another exception, a call that takes more than a minute, a wrong number.

    python tests/fuzz.py --calls 10000 --seed 0
    python tests/fuzz.py --only 4711
"""

import argparse
import collections
import contextlib
import functools
import inspect
import io
import linecache
import os
import random
import re
import signal
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
import pandas as pd
from typer.testing import CliRunner

import jaxflow as jf
from jaxflow import cli
from jaxflow.sweeps.drawing import draw_mode
from jaxflow.sweeps.run import draw

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_traceback_filtering", "off")
matplotlib.use("Agg")

ROOM, FOLDER = str(Path(jf.__file__).parent), Path(tempfile.mkdtemp(prefix="fuzz"))
KEY = jax.random.key(0)
CASES = {}  # name: (weight, share of spoiled calls, function of a random generator)


class Wrong(Exception):
    """A number that is not what it should be."""


class Refused(Exception):
    """The command line refused, in one sentence."""


class TooLong(BaseException):
    """A call that does not come back."""


def case(weight, spoiled):
    """Register `case(r) -> (function, arguments, check)`; the check may be None."""
    return lambda make: CASES.setdefault(make.__name__, (weight, spoiled, make)) and make


def near(name, got, want, tolerance, size=0.0):
    """Raise `Wrong` unless two arrays agree, relative to the wanted one, or to `size`."""
    got, want = np.asarray(got, float), np.asarray(want, float)
    size = max(np.max(np.abs(want), initial=1e-300), size)
    if got.shape != want.shape or not np.max(np.abs(got - want), initial=0) <= tolerance * size:
        raise Wrong(f"{name} is {got.ravel()[:3]} of {got.shape}, not {want.ravel()[:3]}")


# fmt: off
def odd(r):
    """A value that hardly any argument takes."""
    return r.choice([
        None, True, False, 0, -1, 3, 1.5, np.nan, np.inf, 1e308, 1e-320, 10**30, -(10**30), 1j, "x",
        "", "auto", b"x", [], [1.0], [1, 2], ["x"], [None], [np.nan], (), (1.0, -1.0), {}, {"a": 1},
        set(), range(3), object(), sum, int, jf, np.float64(2.0), np.float16(0.5), np.array(3),
        np.array([1.0, 2.0]), np.ones((2, 2)), np.array(["a"]), np.array([None]), jnp.ones(3), KEY,
        np.datetime64("2020-01-01"), jnp.array(2.0), pd.Series([1.0, 2.0]), lambda *_: None,
        Path("no/such"), lambda network: network, optax.sgd, jf.until.excess(1.0),
        jf.measures.LogExcess, jf.measures.LogExcess(), jf.init.Gaussian(), jf.SquaredLoss(),
    ])


BAD = {  # what these arguments are given nearly right
    "loss": ["mse", lambda p: 0.0, lambda p, y: p - y, lambda p, y: "x", lambda p, y: {}["a"],
             lambda p, y: 1j * jnp.sum(p), lambda p, y: jnp.sum(p) * jnp.nan, lambda p, y: None,
             lambda p, y: jnp.sum(p > y), lambda p, y: float(jnp.sum(p)), lambda p, y: jnp.sum(p),
             lambda p, y: jnp.sum(p, dtype=np.float16), jf.LogisticLoss(), jnp.sum],
    "network": [jnp.sum, eqx.nn.Linear(7, 1, key=KEY), eqx.nn.Dropout(0.5), eqx.nn.Identity(),
                jf.module(lambda p, x: {}["a"], 1.0), jf.module(lambda p: p, jnp.ones(4)),
                jf.module(lambda p, x: "x", jnp.ones(1)), jf.module(lambda p, x: p, jnp.ones(7)),
                jf.module(lambda p, x: (p @ x > 0)[None], jnp.ones(4))],
    "where": [lambda n: n.nothing, lambda n: None, lambda n: 1.0, 3],
    "until": [lambda *_: 1.0, 1e-3], "ts": [[1.0, 0.5], [-1.0], np.ones((2, 2)), [0.0]],
    "solver": [diffrax.Euler(), diffrax.Tsit5], "formulation": ["mirror"], "rtol": [1e-20, 2.0],
    "measures": [jf.measures.Times(), ["x"], [jf.measures.Level()], 2 * [jf.measures.Times()],
                 [jf.measures.along("f", lambda n, d: "x")], [jf.measures.Product],
                 [jf.measures.Predictions(np.ones((2, 9)))]],
    "optimizer": ["sgd", lambda rate: None, optax.lbfgs, jf.CentralFlow, optax.sgd(0.1)],
    "learning_rate": [lambda: 0.1, lambda step: "x", lambda step: jnp.ones(2), 1e30],
    "saves": [[3, 2], [], [0.5, 1.5], [[0, 1]]], "batch": [99, 2.5], "momentum": [1.0, 0.5],
    "over": [[1], {"width": 3}, {"width": [3, 3]}, {"width": []}, {"no": [1]}, {3: [1]},
             {"width": ["x"]}, {"width": [10**30]}, {"loss": ["mse"]}, {"until": [3]},
             {"rtol": [2.0]}, {"t1": [1.0]}, {"seed": [1]}, {"solver": ["fast"]}, {"key": [1]}],
    "init": [lambda key: None, lambda key, data: 3, lambda key, data: {}["a"], jf.init.Gaussian,
             jf.init.DeepGaussian(), eqx.nn.Identity()], "data": [{}, {"a": 3}],
    "descent": [{}, 3, {"optimizer": optax.sgd}, {"steps": 3, "optimizer": 3, "learning_rate": 1}],
    "store": [FOLDER, 3, "", FOLDER / "no" / "x"], "samples": [0, 10**9], "key": [-1],
    "targets": [7, "z", ["y", "y"], []], "separator": ["", ";;", "\n"], "decimal": [",", ";"],
    "encoding": ["no such", "utf-16"], "classes": [["a"], ["a", "b"], "ab", [1, 2]],
}
# fmt: on


def spoil(r, arguments):
    """The arguments with one or two of them odd, missing, or unknown."""
    arguments = dict(arguments)
    for _ in range(r.choice([1, 1, 1, 2])):
        name = r.choice([*arguments] or ["unknown"]) if r.random() < 0.97 else "unknown"
        bad = name in BAD and r.random() < 0.4
        arguments[name] = r.choice(BAD[name]) if bad else odd(r)
        if r.random() < 0.05:
            del arguments[name]
    return arguments


# Data


def matrix(r, n, D):
    """A matrix whose entries are short numbers."""
    return np.asarray([[r.randint(-20, 20) / 8 for _ in range(D)] for _ in range(n)], float)


def problem(r, n=5, D=4, m=1, dtype=float):
    """A problem of full rank."""
    X = matrix(r, n, D) + 2 * np.eye(n, D)
    while np.linalg.matrix_rank(X) < min(n, D):
        X = X + np.eye(n, D)
    return jf.Regression(X.astype(dtype), matrix(r, n, m).astype(dtype))


def form(r, v):
    """The same numbers in another form, or what is no matrix of numbers."""
    bad = [v[None], v[:0], v[0, 0], v.astype(str), v + 1j, v * np.nan, v / 0, v > 0, v * 1e200]
    bad += [np.r_[v, v], v[:, 0], 10**16 * v.astype(int), pd.DataFrame(v > 0)]
    good = [v, v, v.tolist(), v.astype(np.float32), v.astype(np.float16), v.astype(int)]
    return r.choice(bad if r.random() < 0.25 else [*good, jnp.asarray(v), pd.DataFrame(v)])


@case(2000, 0.15)
def regression(r):
    n, D, m = r.choice([1, 3, 5]), r.choice([1, 4]), r.choice([1, 2])
    x, y = matrix(r, n, D) * r.choice([1, 1, 1, 1e-160, 1e-30, 1e-9, 1e9, 1e30]), matrix(r, n, m)
    x[:, 0] = r.choice([x[:, 0], x[:, 0], 0.0, 1.0])
    x[-1] = x[r.choice([0, -1, -1])]

    def check(data, given):
        X, Y = (np.asarray(given[name], float) for name in "XY")
        X, Y = (v[:, None] if v.ndim == 1 else v for v in (X, Y))
        tight = 1e-12 if data.X.dtype == np.float64 else 1e-5
        near("X", data.X, X, tight)
        near("Y", data.Y, Y, tight)
        s = np.abs(X).max() * np.linalg.svd(X / np.abs(X).max(), compute_uv=False)
        near("singular values", data.singular_values, s[: data.rank], 1e3 * tight)
        gap = 0.5 * np.sum((np.asarray(data.best_fit, float) - Y) ** 2)
        near("L*", data.optimal_loss, gap, 1e3 * tight, 0.5 * np.sum(Y**2))

    tolerance = r.choice([None] * 9 + [0.0, 1e-6, 0.5, -1.0, 1.0])
    return jf.Regression, {"X": form(r, x), "Y": form(r, y), "rank_tolerance": tolerance}, check


@case(1100, 0.5)
def load(r):
    between, rows = r.choice(",,;\t| "), [["1", "2.5", "3"], ["2", "4,5", "1e3"], ["0", "1", "a"]]
    rows = [r.choice([["a", "b", "y"], ["a", "a", "y"], ["1", "b"]]), *rows[: r.choice([0, 2, 3])]]
    rows[-1][r.randrange(2)] = r.choice(["1", "2", "", "?", "x", "inf", '"', "1e999", "é"])
    text = "\n".join(between.join(row) for row in rows) + r.choice(["", "\n\n", "1", "\0"])
    (FOLDER / "a.csv").write_bytes(text.encode(r.choice(["utf-8", "latin-1", "utf-16"])))
    Y = r.choice([matrix(r, 3, 1), matrix(r, 5, 1), np.array(["a", "b", "a"]), np.array({}), 1j])
    np.savez(FOLDER / "a.npz", X=matrix(r, 3, 4), Y=Y)
    raw = (FOLDER / "a.npz").read_bytes()
    (FOLDER / "a.npz").write_bytes(raw[: r.choice([len(raw), len(raw), r.randrange(len(raw))])])
    source = r.choice([FOLDER / "a.csv"] * 4 + [FOLDER / "a.npz", "iris", "no.csv", "", FOLDER])
    few = {"samples": [1, 3], "key": [0], "center": [True, "X"], "standardize": [True, False, "X"]}
    if str(source).endswith("csv"):
        few |= {"decimal": [".", ","], "separator": [",", ";"], "header": [True, False]}
        few |= {"missing": ["refuse", "drop"], "encoding": ["utf-8"]}
    given = {name: r.choice(few[name]) for name in few if r.random() < 0.3} | {"source": source}
    if str(source).endswith("csv"):
        given["targets"] = r.choice(["y", "y", ["y"], -1, ["a", "y"]])
    return jf.data.load, given, None


# Networks and how they are trained


def mlp(key, data, *, width=3, act=jnp.tanh):
    return eqx.nn.MLP(data.features, data.outputs, width, 1, activation=act, key=key)


def apply(p, x):
    return jnp.sin(p["w"] @ x)


def quartic(prediction, target):
    return jnp.sum((prediction - target) ** 4)


def last_layer(network):
    return network.layers[-1]


def plain(key, data):
    return jf.module(apply, {"w": jax.random.normal(key, (data.outputs, data.features), "float32")})


LAWS = {
    "mlp": mlp,
    "plain": plain,
    "net": lambda key, data: jf.init.Gaussian(scale=(0.5, 0.5))(key, data, width=3),
    "deep": lambda key, data: jf.init.DeepGaussian()(key, data, width=3, depth=3),
    "diagonal": lambda key, data: jf.init.Diagonal(alpha=0.5)(key, data),
    "shallow": lambda key, data: jf.init.Shallow(intercept=True)(key, data, width=3),
}
SIZES = [(5, 4, 1, float), (3, 4, 2, float), (5, 1, 1, np.float32), (5, 4, 1, np.float32)]


def told(network, data, loss):
    """The loss of a network, computed once more."""
    out = jax.vmap(network)(data.X).reshape(data.Y.shape)
    return float(0.5 * jnp.sum((out - data.Y) ** 2) if loss is None else loss(out, data.Y))


@case(1500, 0.45)
def training(r):
    p = random.Random(r.randrange(8))  # decides all that is compiled
    (n, D, m, dtype), law, t1 = p.choice(SIZES), p.choice(list(LAWS)), 10 ** r.uniform(-2, 1)
    data = problem(r, n, D, 1 if law == "diagonal" else m, dtype)
    rule = p.choice([None, "loss_ratio", "excess", "gradient_norm", "stagnation"])
    given = {"network": LAWS[law](jax.random.key(r.randrange(1000)), data), "data": data}
    given |= {"until": rule and getattr(jf.until, rule)(10 ** r.uniform(-3, -0.1))}
    given |= {"measures": p.choice([(), [jf.measures.Times()]]), "loss": p.choice([None, quartic])}
    given |= {"where": last_layer if law == "mlp" and p.random() < 0.3 else None}
    function = p.choice([jf.gradient_flow, jf.gradient_descent])
    if function is jf.gradient_flow:
        given |= {"rtol": r.choice([None, 1e-5]), "max_steps": 4096, "solver": "auto"}
        given |= {"formulation": p.choice(["auto", "parameters"])}
        if rule is None or p.random() < 0.5:
            given |= {"ts": [0.1 * t1, t1]} if p.random() < 0.5 else {"t1": t1}
    else:
        given |= {"optimizer": p.choice([optax.sgd, optax.adam]), "steps": 20}
        given |= {"learning_rate": 10 ** r.uniform(-4, -1), "saves": p.choice([5, [0, 7, 20]])}
        given |= p.choice([{}, {"batch": 3, "key": r.choice([0, KEY])}])

    def check(sol, given):
        if sol.status > 1:
            return
        data, loss, until = given["data"], given.get("loss"), given.get("until")
        rtol = max(1e-5 if data.X.dtype == np.float64 else 1e-3, 1e2 * (given.get("rtol") or 0))
        ends = jax.tree.leaves((sol.ts, sol.t1, eqx.filter(sol.network, eqx.is_inexact_array)))
        finite = all(np.isfinite(leaf).all() for leaf in ends)
        if not finite or np.isnan(sol.log_excess).any() or (np.diff(sol.ts) < 0).any():
            raise Wrong(f"{sol.result.name}, and not all is finite, or times decrease")
        start, end = (told(n, data, loss) for n in (given["network"], sol.network))
        near("the loss", sol.optimal_loss + np.exp(sol.log_excess1), end, rtol, abs(start))
        excess = np.exp(np.asarray(sol.log_excess, float))
        rises = np.diff(excess) > rtol * (excess[:-1] + 1e-3 * excess[0])
        if function is jf.gradient_flow and rises.any():
            raise Wrong("the excess increases along the flow")
        fall = float(sol.log_excess1 - sol.stats["initial_log_excess"])
        late = {
            "_LossRatio": lambda: fall > until.log_ratio + 1e-4,
            "_Excess": lambda: sol.log_excess1 > until.log_excess + 1e-4,
        }
        stopped = sol.result == jf.Result.stopped
        if stopped and late.get(type(until).__name__, lambda: False)():
            raise Wrong(f"stopped at an excess of exp({sol.log_excess1})")

    return function, given, check


def plans(r):
    """Arguments of a sweep."""
    p = random.Random(r.randrange(4))  # decides all that is compiled
    law, over = p.choice([mlp, jf.init.Gaussian()]), {"width": p.choice([np.array([6]), [6, 9]])}
    given = {"data": problem(r), "init": law, "seeds": 2, "key": r.choice([0, 7]), "over": over}
    if law is mlp:
        over |= p.choice(
            [{"act": [jnp.tanh, jax.nn.softplus]}, {"loss": {"a": None, "b": quartic}}]
        )
    if p.random() < 0.4:
        over |= {"learning_rate": [0.001, 0.01]}
        return given | {"descent": {"optimizer": optax.sgd, "steps": 20}}
    over |= p.choice([{}, {"rtol": [1e-6, 1e-5]}])
    until = p.choice([None, jf.until.excess(1e-3)])
    return given | {"t1": 10 ** r.uniform(-2, 0), "until": until, "compress": p.random() < 0.5}


@case(1500, 0.7)
def plan(r):
    return jf.Sweep, plans(r), None


@case(40, 0.4)
def sweep(r):
    arguments = plans(r)

    def check(found, options):
        sweep = jf.Sweep(**arguments)
        cell = r.choice(sweep.cells)
        rotated = draw_mode(sweep) == "rotated" and isinstance(cell.law, jf.init.Initialization)
        data = cell.data.rotated() if rotated else cell.data
        here = found.isel(**dict(zip(sweep.axes, cell.index, strict=True)), seed=0)
        drawn = draw(sweep, cell)
        network = jax.tree.map(lambda x: x[0] if eqx.is_array_like(x) and np.ndim(x) else x, drawn)
        options = {k: v for k, v in cell.options.items() if k != "measures"}
        if cell.descent is None:
            alone = jf.gradient_flow(network, data, t1=sweep.t1, **options)
        else:
            alone = jf.gradient_descent(network, data, loss=options["loss"], **cell.descent)
        near("the excess", np.exp(here.log_excess_end), np.exp(alone.log_excess1), 1e-4)
        near("the status", here.status, alone.status, 0)

    options = {"store": None, "progress": None, "version": None, "max_bytes": 2**30}
    return lambda **options: jf.run(jf.Sweep(**arguments), **options), options, check


# Everything else that has a name, with arguments by their names


@functools.cache
def known():
    """Arguments by name; those of some functions; and the functions by room."""
    r, f, law = random.Random(0), lambda *_: 1.0, jf.init.Shallow()
    data, two, W = problem(r), problem(r, 3, 4, 2), matrix(r, 3, 3)
    signs = jf.Regression([[1.0], [2.0], [-1.0]], [1.0, 1.0, -1.0])
    line = jf.Regression([[-1.0], [0.0], [1.0]], [1.0, 0.0, 1.0])
    net, bent = LAWS["net"](KEY, data), {"network": LAWS["shallow"](KEY, line), "data": line}
    # fmt: off
    names = {
        **dict.fromkeys(["learning_rate", "delta", "a0", "u0", "x0", "eta", "ratio", "value"], 0.1),
        **dict.fromkeys(["t", "x", "y", "af", "v0", "noise", "scale", "gain", "size"], 0.4),
        **dict.fromkeys(["beta", "a", "s", "lam", "su", "std"], 1.0), "alpha": 0.4,
        "log_ratio": -1.0,
        **{n: W for n in ("W1", "W2", "product", "gradient", "points", "first", "last", "S")},
        **{n: f for n in ("f", "bound", "smaller", "larger")}, "square": True, "log_alpha": -1.0,
        **dict.fromkeys(["k", "targets"], 1), "samples": 3, "features": 4, "rows": 4, "columns": 2,
        "network": net, "data": data, "init": law, "mirror": jf.theory.MirrorMap(0.1, 3.0),
        "key": 0, "width": 6, "target": np.eye(3), "w": np.ones(3), "b": np.ones(3), "u": [1.0],
        "v": [1.0], "V": np.ones((1, 3)), "U": np.ones((4, 3)), "kernel": lambda a, b: a @ b.T,
        "xi": [0.0], "mu": [0.1], "units": [0], "direction": jnp.ones(15), "X": [[0.0]],
        "name": "f", "condition": 10.0,
        "apply": apply, "params": {}, "hidden": W[None], "layers": [W, W], "claim": "x", "count": 3,
        "preset": "quick", "sweep": 3, "path": FOLDER / "a", "record": {}, "verdicts": [],
        "sizes": [], "statement": "a", "inequality": jf.Inequality("a", f, f), "depth": 3,
        "solution": jf.gradient_flow(net, data, t1=0.1),
        "dataset": jf.run(jf.Sweep(data, jf.init.Gaussian(), widths=[6, 9], seeds=2, t1=0.1)),
    }
    some = {
        "layer_imbalances": {"network": LAWS["deep"](KEY, data)}, "width": {"data": 3},
        "lambda_balanced": {"network": LAWS["net"](KEY, two), "data": two},
        "stationarity": {"beta": [1.0], "data": signs}, "entropic_limit": {"a": W[:1], "y": [1.0]},
        "log_loss_flow": {"data": signs, "s": [0.0, 5.0], "network": LAWS["diagonal"](KEY, signs)},
        **{n: {"scale": (0.5, 0.5), "alpha": None} for n in ("Gaussian", "Orthogonal", "Spectral")},
        **{f"max_margin_{kind}": {"data": signs} for kind in ("l1", "l2", "potential")},
        **{n: {"data": line} for n in ("spline", "network_limit", "adjusted", "adjustment")},
        **{n: bent for n in ("polyharmonic", "interpolant", "roughness", "breakpoints")},
        **{n: bent for n in ("delta_slope_velocity", "flat_directions")},
    }
    tops = [jf.compress, jf.module, jf.TwoLayerLinear, jf.DeepLinear, jf.DeepLinear.of, jf.verify,
            jf.DiagonalLinear, jf.ShallowNetwork, jf.CentralFlow, jf.run, jf.log_loss_flow,
            jf.Inequality, jf.falsify, jf.claims.find, jf.studies.width]
    # fmt: on
    rooms = {"tops": tops}
    for room in ("theory", "until", "measures", "init", "activations", "data", "plotting"):
        inside = [f for n, f in vars(getattr(jf, room)).items() if n[0] != "_" and callable(f)]
        inside = [f for f in inside if room.replace("plotting", "report") in f.__module__]
        # Neither what is abstract, or in here already, nor what theory returns.
        made = (
            "Until",
            "View",
            "asked",
            "rule",
            "load",
            "Initialization",
            "Law",
            "Measure",
            "style",
        )
        plain = inspect.isfunction if room == "theory" else lambda _: True
        rooms[room] = [f for f in inside if f.__name__ not in (*made, "rounded") and plain(f)]
    return names, some, rooms


@case(3000, 0.8)
def named(r):
    names, some, rooms = known()
    room = r.choice(["theory"] * 4 + ["init"] * 3 + ["tops"] * 2 + list(rooms))
    function = r.choice(rooms[room])
    here, given = names | some.get(function.__name__, {}), {}
    for name, p in inspect.signature(function).parameters.items():
        if p.default is p.empty or (name in here and r.random() < 0.5):
            given[name] = here.get(name)
    if room == "init" and r.random() < 0.6:
        with contextlib.suppress(ValueError):  # then the law that it makes is called
            law = function(**given)
            takes = inspect.signature(law).parameters if callable(law) else ()
            more = {"width": r.choice([1, 3, 6]), "depth": r.choice([2, 3, 1])}
            if "data" in takes:
                given = {"key": 0, "data": problem(r, *r.choice(SIZES[:3]))}
                function, given = law, given | {n: more[n] for n in more if n in takes}
    if function is jf.falsify:
        given["seconds"] = 0.1
    if "data" in given and r.random() < 0.1:
        given["data"] = problem(r, *r.choice(SIZES))
    if "network" in given and r.random() < 0.2:
        given["network"] = r.choice(list(LAWS.values()))(KEY, problem(r))
    return function, given, None


# The command line

MINE = """
import jaxflow as jf
data = jf.Regression([[1.0, 0.5], [0.0, 1.0]], [1.0, 2.0])
def flow(t1: float = 0.1, width: int = 3) -> jf.Solution:
    network = jf.init.Gaussian(scale=(0.5, 0.5))(0, data, width=width)
    return jf.gradient_flow(network, data, t1=t1)
def plan(width: int = 3):
    return jf.Sweep(data, jf.init.Gaussian(), widths=[width], seeds=1, t1=0.1)
def broken():
    return {}["a"]
"""


def invoked(argv):
    """Run the command line in a folder of its own; it raises what the command raises."""
    with contextlib.chdir(tempfile.mkdtemp(dir=FOLDER)):
        result = CliRunner().invoke(cli.app, argv)
    jax.config.update("jax_enable_x64", True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    said = result.stderr.strip()
    if result.exit_code == 2 and (said.startswith("Usage") or re.fullmatch("error: .*[.]", said)):
        raise Refused(said)
    if result.exit_code not in (0, 1):
        raise Wrong(f"exit code {result.exit_code}: {said[:200]!r}")


@case(900, 0.0)
def command(r):
    file = FOLDER / "mine.py"
    file.write_text(MINE)
    words = ["", "x", "0", "-1", "1.5", "nan", "inf", "1e400", "10**9", "a,b", "1,2", "64:1", ":"]
    words += [
        "1:2:3:4",
        ",",
        "=",
        "é",
        "--",
        "None",
        str(FOLDER),
        f"{FOLDER}/no/a",
        "2:8:2",
        "True",
    ]
    words += [f"{FOLDER}/a.npz", 30 * "9", str(file), *(f"{file}:{n}" for n in ("no", "broken"))]
    options = {
        "sweep": "data samples targets x y missing widths seeds alpha scale key rtol chunk store",
        "run": "store seeds set set figure json",
        "verify": "preset json report figures",
    }
    name = r.choice(
        ["sweep"] * 4 + ["run"] * 4 + ["new", "verify", "info", "completion", "nothing"]
    )
    experiments = [f"{file}:flow", f"{file}:flow", f"{file}:plan"]
    first = {"sweep": "--widths", "run": r.choice([*words, *experiments]), "completion": "bash"}
    argv = [name, first.get(name, r.choice([*words, "law", "claim"])), r.choice(words)]
    argv = argv[: 3 if name == "sweep" or r.random() < 0.1 else 2]
    for option in r.choices(options.get(name, "no").split(), k=r.choice([0, 1, 1, 2])):
        change = r.choice(["seeds", "width", "t1", "loss", "chunk", "solver", "x"])
        argv += [f"--{option}", (option == "set") * f"{change}=" + r.choice(words)]
    if name == "sweep":  # one that runs takes half a minute
        argv += r.choice([["--rtol", "9"], ["--alpha", "9"], ["--seeds", "0"], ["--key", "-1"]])
    return invoked, {"argv": argv}, None


# The loop


def own_sentence(error):
    """Whether this package raised an error on purpose, in a line that ends as a sentence does."""
    last, said = traceback.extract_tb(error.__traceback__)[-1], str(error)
    meant = linecache.getline(last.filename, last.lineno).strip().startswith("raise")
    clear = re.fullmatch(r".{1,4000}[.!?]", said) and " at 0x" not in said
    signature = re.search(r"unexpected keyword|requires at least|missing \d+ required", said)
    own = ROOM in last.filename and meant and clear
    return isinstance(error, (ValueError, TypeError)) and (own or signature)


def late(*_):
    raise TooLong


def chosen(number):
    """The case of a call."""
    return random.Random(number).choices(list(CASES), [weight for weight, *_ in CASES.values()])[0]


def attempt(number, seconds=60):
    """Make a call: the function, its end, the kind of the finding, the error, the call."""
    name, r = chosen(number), random.Random(number + 1)
    function, given, check = CASES[name][2](r)
    given = spoil(r, given) if r.random() < CASES[name][1] else given
    called = getattr(function, "__name__", type(function).__name__)
    said = f"{called}({', '.join(f'{k}={v!r}' for k, v in given.items())})"
    name = getattr(function, "__module__", "").split(".")[1] if name == "named" else name
    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            value = function(**given)
            if check is not None:
                check(value, given)
        return name, "accepted", None, None, said
    except (Wrong, TooLong) as error:
        return name, "faulty", (type(error).__name__, str(error)[:30]), error, said
    except Exception as error:
        if isinstance(error, Refused) or own_sentence(error):
            return name, "refused", None, error, said
        places = [f for f in traceback.extract_tb(error.__traceback__) if ROOM in f.filename]
        place = f"{places[-1].filename[len(ROOM) + 1 :]}:{places[-1].lineno}" if places else called
        return name, "faulty", (type(error).__name__, place), error, said
    finally:
        signal.alarm(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="make this call alone, and show its traceback")
    parser.add_argument("--case", choices=CASES, help="make the calls of this case only")
    parser.add_argument("--seconds", type=int, default=60, help="a call that takes longer hangs")
    parser.add_argument("--said", default=os.devnull, help="write every call to this file")
    options = parser.parse_args()
    if options.only is not None:
        name, end, _, error, said = attempt(options.only)
        print(f"{name}: {said[:2000]}\n{end}: {error!r}")
        traceback.print_exception(error) if error else None
        return
    counts, findings = collections.defaultdict(collections.Counter), collections.defaultdict(list)
    first = options.seed * 10**6
    with open(options.said, "w", buffering=1) as file, contextlib.suppress(KeyboardInterrupt):
        for number in range(first, first + options.calls):
            if options.case in (None, chosen(number)):
                begun = time.time()
                name, end, kind, error, said = attempt(number, options.seconds)
                counts[name][end] += 1
                findings[kind].append(number)
                print(number, f"{time.time() - begun:.1f}", end, said[:500], "->", error, file=file)
                if end == "faulty" and len(findings[kind]) == 1:
                    print(f"{number} {kind} {str(error)[:200]!r}\n    {said[:300]}", flush=True)
    print(f"{'function':12}{'calls':>8}{'accepted':>10}{'refused':>10}{'faulty':>10}")
    for name, count in sorted(counts.items()):
        row = (count.total(), count["accepted"], count["refused"], count["faulty"])
        print(f"{name:12}{row[0]:8}{row[1]:10}{row[2]:10}{row[3]:10}")
    for kind, numbers in findings.items():
        if kind is not None:
            print(f"{len(numbers):5} {kind}: --only {' '.join(map(str, numbers[:4]))}")


if __name__ == "__main__":
    main()
