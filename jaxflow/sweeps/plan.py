"""The plan of a sweep: a grid of settings, a number of seeds, and measures of each trajectory."""

import dataclasses
import hashlib
import inspect
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from ..data import Regression
from ..data.regression import problem
from ..dynamics.descent import DescentSettings, descent_settings, makes_steps
from ..dynamics.measure import Measure, named
from ..dynamics.settings import (
    FlowSettings,
    flow_settings,
    keywords,
    plain_times,
    takes,
    times,
)
from ..machine.arguments import flag, function, instance, integer
from ..machine.keys import Key, as_key
from ..machine.user_files import sentence
from ..networks.adopt import Where
from ..networks.losses import usable
from .axes import axis, coordinate, few, text


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of the grid: its labels, and the law, arguments and data that they stand for."""

    index: tuple[int, ...]
    coordinates: dict[str, Any]
    law: Any
    arguments: dict[str, Any]  # of the call of the law
    data: Regression
    options: dict[str, Any]  # the settings of the flow, of which a descent uses some
    descent: dict[str, Any] | None = None  # arguments of `gradient_descent`; None for the flow

    def keys(self, key: PRNGKeyArray, seeds: int | np.ndarray) -> Any:
        """The keys of the first `seeds` seeds, or of the given ones.

        A key depends on coordinates and seed alone, and not on how the networks are trained: runs
        with different losses or learning rates start from the same networks.
        """
        trained = {*self.options, *(self.descent or {})}
        drawn = {n: v for n, v in self.coordinates.items() if n not in trained}
        text = json.dumps(drawn, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).digest()
        cell_key = jr.fold_in(key, int.from_bytes(digest[:4], "little"))
        which = np.arange(seeds) if isinstance(seeds, int) else seeds
        return _fold(cell_key, which.astype(np.uint32))


_fold = jax.jit(jax.vmap(jr.fold_in, in_axes=(None, 0)))


# The arguments of `gradient_descent` that can be an axis: they do not change the saved steps.
SOLVED = ("loss", "until", "formulation", "solver", "rtol", "max_steps")  # those of the flow
STEPPED = ("learning_rate", "momentum", "nesterov", "batch", "label_noise", "optimizer")


class Sweep:
    r"""A plan: train random networks of a law, by flow or descent, over a grid of settings.

    The key of a trajectory depends on its coordinates in the grid and its seed alone. So no draw
    depends on chunks, order or devices, and a sweep can be extended by widths or by seeds.

    **Arguments:**

    - `data`: a `Regression`, or a mapping from label to `Regression` for an axis "data".
    - `init`: a law: a function or module `law(key, data, **arguments) -> network`, such as
      `jf.init.Gaussian()`. The network is any that `gradient_flow` takes.
    - `over`: mapping from axis to values, or to a mapping from label to value. An axis names an
      argument of the law's call ("width", "activation"), a field of the law ("alpha", "scale"), a
      setting of the flow ("loss", "rtol"), an argument of `gradient_descent` ("learning_rate"), or
      "data" (values are labels of the mapping). `widths=[...]` is shorthand for
      `over={"width": [...]}`.
    - `seeds`: trajectories per point of the grid.
    - `key`: a JAX key, or an integer for `jax.random.key(integer)`; default 0.
    - `ts`: saved times, or a module `(network, data) -> times` that gives each trajectory its own;
      default as in `gradient_flow`. With `t1` they are logarithmically spaced up to t1.
    - `descent`: arguments of `gradient_descent`, such as `{"optimizer": optax.sgd, "steps": 5000}`,
      for descent instead of the flow. It ends after its steps, takes no `ts` or `t1`, and saves at
      the same steps for all trajectories. Batches and label noise follow from the trajectory's key;
      points of the grid that differ only in arguments of the descent share networks, batches and
      noise.
    - `where`: the parameters to train, as in `gradient_flow`.
    - `until`, `measures`, `loss`, `formulation`, `solver`, `rtol`, `max_steps`: as in
      `gradient_flow`. Solver "auto" is chosen by a sample of the networks of each block.
    - `chunk`: trajectories solved side by side on a device. By default up to 64 on CPU, where so
      many stay in cache, and up to 32,768 elsewhere.
    - `block`: trajectories that are solved and stored together, by default up to 16,384. An
      interrupted sweep loses one or two blocks.
    - `compress`: reduce networks exactly to a smaller width where possible, and sample them
      directly in this reduced form where their law allows it: width 10^9 then costs what m + r
      costs (m outputs, r the rank of X). Descent is reduced under `optax.sgd`, also with momentum
      and batches, and runs at full width under other optimizers.

    **Raises:** `ValueError` for an axis that names nothing, an empty axis, or settings that no
    trajectory could use.
    """

    @takes(flow_settings, without=["adjoint"])
    def __init__(
        self,
        data: Regression | Mapping[str, Regression],
        init: Any,
        *,
        widths: Sequence[int] | None = None,
        over: Mapping[str, Sequence[Any] | Mapping[Any, Any]] | None = None,
        seeds: int = 64,
        key: Key | None = None,
        ts: Any = None,
        t1: float | None = None,
        descent: Mapping[str, Any] | None = None,
        where: Where | None = None,
        chunk: int | None = None,
        block: int | None = None,
        compress: bool = True,
        **settings: Any,
    ):
        said = "a mapping of axes to values, such as {'width': [64, 256]}"
        instance("over", over, Mapping | None, said)
        function("init", init, "init(key, data, ...), such as jf.init.Gaussian()")
        axes = dict(over or {})
        if widths is not None:
            if "width" in axes:
                raise ValueError("Give widths= or over={'width': ...}, not both.")
            axes = {"width": widths, **axes}
        if isinstance(data, Mapping) and "data" not in axes:
            axes["data"] = list(data)
        found = {name: axis(name, values) for name, values in axes.items()}
        self.axes: dict[str, tuple[Any, ...]] = {name: v for name, (v, _) in found.items()}
        self.labels: dict[str, tuple[Any, ...]] = {name: v for name, (_, v) in found.items()}
        seeds = integer("seeds", seeds)
        chunk = None if chunk is None else integer("chunk", chunk)
        block = None if block is None else integer("block", block)
        said = "arguments of gradient_descent, such as {'optimizer': optax.sgd, 'steps': 100}"
        instance("descent", descent, Mapping | None, said)
        self.descent = None if descent is None else dict(descent)
        if self.descent is not None:
            flows = {"ts": ts, "t1": t1} | {n: settings.get(n) for n in ("solver", "rtol")}
            given = [name for name, value in flows.items() if value is not None]
            if settings.get("formulation", "auto") != "auto" or given:
                name = given[0] if given else "formulation"
                raise ValueError(f"{name} is about the flow: a sweep of descent takes none.")
            _check(self.descent, self.axes)
        elif ts is None and t1 is None and settings.get("until") is None:
            raise ValueError("Say how far to train: give ts, t1 or until.")
        if ts is not None and t1 is not None:
            raise ValueError("Give ts or t1, not both: the flow ends at the last of ts.")
        self.data, self.init, self.seeds, self.where = data, init, seeds, where
        self.key = as_key(0 if key is None else key)
        self.ts, self.t1 = ts if ts is None or callable(ts) else plain_times(ts), t1
        self.options: dict[str, Any] = {
            name: settings.get(name, p.default)
            for name, p in keywords(flow_settings).items()
            if name != "adjoint"
        }
        self.options["measures"] = named(self.options["measures"])
        self.chunk, self.block, self.compress = chunk, block, flag("compress", compress)
        self.cells = list(self._cells())
        tried: set[Any] = set()
        for cell in self.cells:  # errors now, not in the middle of the night
            if (id(cell.options["loss"]), id(cell.data)) not in tried:
                usable(cell.options["loss"], cell.data)
                tried.add((id(cell.options["loss"]), id(cell.data)))
            self.settings(cell)
            steps = self.descends(cell)
            if steps is not None:
                makes_steps(steps)
            if not callable(self.ts):
                times(self.ts, t1, cell.data.X.dtype)

    def __repr__(self) -> str:
        axes = "".join(f"{name} {few(labels)} x " for name, labels in self.labels.items())
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds:,} seeds"
        how = "gradient flow" if self.descent is None else "gradient descent"
        names = ", ".join(measure.name for measure in self.measures) or "none"
        return (
            f"Sweep: {self.trajectories:,} trajectories of {how}\n"
            f"  grid      {axes}{seeds}\n"
            f"  law       {text(self.init)}\n"
            f"  measures  {names}"
        )

    def replace(self, **changes: Any) -> "Sweep":
        """The same plan with some arguments changed."""
        arguments = {
            "data": self.data,
            "init": self.init,
            "over": {n: dict(zip(self.labels[n], v, strict=True)) for n, v in self.axes.items()},
            "where": self.where,
            "seeds": self.seeds,
            "key": self.key,
            "ts": self.ts,
            "t1": self.t1,
            "descent": self.descent,
            "chunk": self.chunk,
            "block": self.block,
            "compress": self.compress,
            **self.options,
        }
        return Sweep(**{**arguments, **changes})

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values along each axis, then the number of seeds."""
        return (*(len(values) for values in self.axes.values()), self.seeds)

    @property
    def trajectories(self) -> int:
        """The number of trajectories."""
        return int(np.prod(self.shape))

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The measures of each trajectory."""
        return self.options["measures"]

    def settings(self, cell: Cell) -> FlowSettings:
        """The settings of the flow at a point of the grid."""
        # Nothing is differentiated through a sweep: this adjoint is traced the fastest.
        adjoint = diffrax.ForwardMode()
        return flow_settings(cell.data.X.dtype, adjoint=adjoint, **cell.options)

    def descends(self, cell: Cell) -> DescentSettings | None:
        """The settings of the descent at a point of the grid; None for the flow."""
        if cell.descent is None:
            return None
        shared = {name: cell.options[name] for name in ("until", "measures", "loss")}
        return descent_settings(cell.data, **shared, **cell.descent)

    def coordinates(self) -> dict[str, Any]:
        """The coordinates by axis: numbers if all labels are numbers, else their texts."""
        return {name: coordinate(labels) for name, labels in self.labels.items()}

    def describe(self) -> dict[str, Any]:
        """The plan in plain values, for the attributes of a dataset."""
        options = {k: v for k, v in self.options.items() if v is not None and k != "measures"}
        return {
            "law": text(self.init),
            "axes": {name: list(map(text, labels)) for name, labels in self.labels.items()},
            "seeds": self.seeds,
            "key": np.asarray(jr.key_data(self.key)).tolist(),
            "times": text(self.t1 if self.ts is None else self.ts),
            "measures": [measure.name for measure in self.measures],
            "compress": self.compress,
            **(
                {}
                if self.descent is None
                else {"descent": {n: text(v) for n, v in self.descent.items()}}
            ),
            **{name: text(value) for name, value in options.items()},
        }

    def _cells(self) -> Iterator[Cell]:
        names, grids = list(self.axes), [list(enumerate(v)) for v in self.axes.values()]
        sets: Mapping[str, Regression] = self.data if isinstance(self.data, Mapping) else {}
        if "data" in self.axes and not sets:
            raise ValueError(
                "An axis 'data' names the data sets of a mapping: "
                "Sweep({'a': first, 'b': second}, ..., over={'data': ['a', 'b']})."
            )
        takes = _arguments(self.init)
        for point in itertools.product(*grids):
            law, arguments, data, options = self.init, {}, self.data, self.options
            descent = None if self.descent is None else dict(self.descent)
            for name, (_, value) in zip(names, point, strict=True):
                if name == "data":
                    if value not in sets:
                        known = ", ".join(map(repr, sets))
                        raise ValueError(f"No data set is called {value!r}: there are {known}.")
                    data = sets[value]
                elif name in takes:
                    arguments[name] = value
                elif descent is not None and name in STEPPED:
                    descent[name] = value
                elif name in (SOLVED if descent is None else ("loss", "until")):
                    options = {**options, name: value}
                else:
                    law = vary(law, name, value, takes)
            data = problem(data)
            self._drawable(law, data, arguments)
            index = tuple(i for i, _ in point)
            labels = {n: self.labels[n][i] for n, i in zip(names, index, strict=True)}
            yield Cell(index, labels, law, arguments, data, options, descent)

    def _drawable(self, law: Any, data: Regression, arguments: dict[str, Any]) -> None:
        """Check shapes and hypotheses without drawing anything."""
        missing = [
            n
            for n, p in _arguments(law).items()
            if p is inspect.Parameter.empty and n not in arguments
        ]
        if missing:
            raise ValueError(
                f"{text(law)} needs {missing[0]!r}: give over={{{missing[0]!r}: [...]}}."
            )
        try:
            network = eqx.filter_eval_shape(law, self.key, data, **arguments)
        except ValueError:  # of a law of this package, which says what is wrong
            raise
        except Exception as error:
            raise ValueError(f"{text(law)} draws no network: {sentence(error)}") from error
        if not callable(network):
            raise ValueError(
                f"A law returns a network, and {text(law)} returned a {type(network).__name__}."
            )


def _arguments(law: Any) -> dict[str, Any]:
    """The arguments of a law beside key and data, by name, with their defaults."""
    try:
        found = list(inspect.signature(law).parameters.values())
    except ValueError:  # of some functions written in C
        found = []
    named = [p for p in found[2:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: p.default for p in named}


def vary(
    law: Any, name: str, value: Any, arguments: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """The law with one field replaced, its own or one of the law that it is built on."""
    of = dataclasses.fields(law) if dataclasses.is_dataclass(law) else ()
    fields = {f.name: getattr(law, f.name) for f in of}
    if name in fields:
        return type(law)(**{**fields, name: value})
    if "law" in fields:
        inner = vary(fields["law"], name, value)
        return eqx.tree_at(lambda outer: outer.law, law, inner)
    known = ", ".join(map(repr, [*arguments, *fields])) or "it has none"
    raise ValueError(
        f"The axis {name!r} names neither 'data', nor an argument of the call of {text(law)} or "
        f"one of its fields ({known}), nor a setting of the flow or descent."
    )


def _check(descent: dict[str, Any], axes: Mapping[str, Any]) -> None:
    known = keywords(descent_settings).keys() - {"dt"}
    for name in descent:
        if name in ("until", "measures", "loss", "key"):
            raise ValueError(f"Give {name} to the sweep, not inside descent.")
        if name not in known:
            raise ValueError(f"descent takes arguments of gradient_descent, not {name!r}.")
    for name in ("optimizer", "learning_rate", "steps"):
        if name not in {**descent, **axes}:
            where = "in descent" if name == "steps" else "in descent or as an axis"
            raise ValueError(f"descent needs {name!r}: give it {where}.")
