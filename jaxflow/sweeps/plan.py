"""The plan of a sweep: a grid of settings, a number of seeds, and measures of each trajectory."""

import dataclasses
import hashlib
import inspect
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from ..data import Regression
from ..dynamics.descent import DescentSettings, descent_settings
from ..dynamics.measure import Measure
from ..dynamics.settings import FlowSettings, flow_settings, keywords, takes, times


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of the grid, and the law, arguments and data that its coordinates stand for."""

    index: tuple[int, ...]
    coordinates: dict[str, Any]
    law: Any
    arguments: dict[str, Any]  # of the call of the law
    data: Regression
    descent: dict[str, Any] | None = None  # arguments of `gradient_descent`; None for the flow

    def keys(self, key: PRNGKeyArray, seeds: int | np.ndarray) -> Any:
        """The keys of the first `seeds` seeds, or of the given ones.

        A key depends on coordinates and seed alone, and not on the coordinates of the descent: runs
        with different learning rates start from the same networks.
        """
        drawn = {n: v for n, v in self.coordinates.items() if n not in (self.descent or {})}
        text = json.dumps(drawn, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).digest()
        cell_key = jr.fold_in(key, int.from_bytes(digest[:4], "little"))
        which = np.arange(seeds) if isinstance(seeds, int) else seeds
        return _fold(cell_key, which.astype(np.uint32))


_fold = jax.jit(jax.vmap(jr.fold_in, in_axes=(None, 0)))


# The arguments of `gradient_descent` that can be an axis: they do not change the saved steps.
STEPPED = ("learning_rate", "momentum", "nesterov", "batch", "label_noise", "optimizer")


class Sweep:
    r"""A plan: train random networks of a law, by flow or descent, over a grid of settings.

    The key of a trajectory depends on its coordinates in the grid and its seed alone. So no draw
    depends on chunks, order or devices, and a sweep can be extended by widths or by seeds.

    **Arguments:**

    - `data`: a `Regression`, or, with an axis "data", a mapping from label to `Regression`.
    - `init`: a law, such as `jf.init.Gaussian()`.
    - `over`: mapping from axis to values. An axis names a field of the law ("alpha", "scale"), an
      argument of its call ("width"), an argument of `gradient_descent` ("learning_rate"), or
      "data" (values are labels of the mapping). `widths=[...]` is shorthand for
      `over={"width": [...]}`.
    - `seeds`: trajectories per point of the grid.
    - `key`: a JAX key; default `jax.random.key(0)`.
    - `ts`: saved times, or a module `(network, data) -> times` that gives each trajectory its own;
      default as in `gradient_flow`. With `t1` they are logarithmically spaced up to t1.
    - `descent`: arguments of `gradient_descent`, such as `{"optimizer": optax.sgd, "steps": 5000}`,
      for descent instead of the flow. It ends after its steps, takes no `ts` or `t1`, and saves at
      the same steps for all trajectories. Batches and label noise follow from the trajectory's key;
      points of the grid that differ only in arguments of the descent share networks, batches and
      noise.
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
        over: Mapping[str, Sequence[Any]] | None = None,
        seeds: int = 64,
        key: PRNGKeyArray | None = None,
        ts: Any = None,
        t1: float | None = None,
        descent: Mapping[str, Any] | None = None,
        chunk: int | None = None,
        block: int | None = None,
        compress: bool = True,
        **settings: Any,
    ):
        axes = dict(over or {})
        if widths is not None:
            if "width" in axes:
                raise ValueError("Give widths= or over={'width': ...}, not both.")
            axes = {"width": widths, **axes}
        self.axes: dict[str, tuple[Any, ...]] = {n: tuple(_plain(v)) for n, v in axes.items()}
        for name, values in self.axes.items():
            if not values:
                raise ValueError(f"The axis {name!r} has no values.")
            if len({str(v) for v in values}) < len(values):
                raise ValueError(f"The axis {name!r} has a value twice: {list(values)}.")
        if seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {seeds}.")
        for name, value in (("chunk", chunk), ("block", block)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
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
        self.data, self.init, self.seeds = data, init, int(seeds)
        self.key = jr.key(0) if key is None else key
        self.ts, self.t1 = ts if ts is None or callable(ts) else np.asarray(ts, float), t1
        self.options: dict[str, Any] = {
            name: settings.get(name, p.default)
            for name, p in keywords(flow_settings).items()
            if name != "adjoint"
        }
        self.options["measures"] = tuple(self.options["measures"])
        self.chunk, self.block, self.compress = chunk, block, compress
        self.cells = list(self._cells())
        for cell in self.cells:  # errors now, not in the middle of the night
            self.settings(cell.data.X.dtype)
            self.descends(cell)
            if not callable(self.ts):
                times(self.ts, t1, cell.data.X.dtype)

    def __repr__(self) -> str:
        axes = "".join(f"{name} {_range(values)} x " for name, values in self.axes.items())
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds:,} seeds"
        how = "gradient flow" if self.descent is None else "gradient descent"
        names = ", ".join(measure.name for measure in self.measures) or "none"
        return (
            f"Sweep: {self.trajectories:,} trajectories of {how}\n"
            f"  grid      {axes}{seeds}\n"
            f"  law       {self.init}\n"
            f"  measures  {names}"
        )

    def replace(self, **changes: Any) -> "Sweep":
        """The same plan with some arguments changed."""
        arguments = {
            "data": self.data,
            "init": self.init,
            "over": self.axes,
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

    def settings(self, dtype: Any) -> FlowSettings:
        """The settings of every solve."""
        return flow_settings(dtype, **self.options)

    def descends(self, cell: Cell) -> DescentSettings | None:
        """The settings of the descent at a point of the grid; None for the flow."""
        if cell.descent is None:
            return None
        shared = {name: self.options[name] for name in ("until", "measures", "loss")}
        return descent_settings(cell.data, **shared, **cell.descent)

    def coordinates(self) -> dict[str, Any]:
        """The coordinates by axis: numbers if all values are numbers, else their texts."""
        out: dict[str, Any] = {}
        for name, values in self.axes.items():
            numeric = all(isinstance(v, (int, float)) for v in values)
            out[name] = np.asarray(values) if numeric else np.asarray([_text(v) for v in values])
        return out

    def describe(self) -> dict[str, Any]:
        """The plan in plain values, for the attributes of a dataset."""
        options = {k: v for k, v in self.options.items() if v is not None and k != "measures"}
        return {
            "law": str(self.init),
            "axes": {name: [_text(v) for v in values] for name, values in self.axes.items()},
            "seeds": self.seeds,
            "key": np.asarray(jr.key_data(self.key)).tolist(),
            "times": str(self.t1 if self.ts is None else self.ts),
            "measures": [measure.name for measure in self.measures],
            "compress": self.compress,
            **(
                {}
                if self.descent is None
                else {"descent": {n: _text(v) for n, v in self.descent.items()}}
            ),
            **{name: str(value) for name, value in options.items()},
        }

    def _cells(self) -> Iterator[Cell]:
        names, grids = list(self.axes), [list(enumerate(v)) for v in self.axes.values()]
        sets: Mapping[str, Regression] = self.data if isinstance(self.data, Mapping) else {}
        if bool(sets) != ("data" in self.axes):
            raise ValueError(
                "A mapping of data sets and an axis 'data' with its labels need each other: "
                "Sweep({'a': first, 'b': second}, ..., over={'data': ['a', 'b']})."
            )
        for point in itertools.product(*grids):
            law, arguments, data = self.init, {}, self.data
            descent = None if self.descent is None else dict(self.descent)
            coordinates = {n: value for n, (_, value) in zip(names, point, strict=True)}
            for name, value in coordinates.items():
                if name == "data":
                    if value not in sets:
                        known = ", ".join(map(repr, sets))
                        raise ValueError(f"No data set is called {value!r}: there are {known}.")
                    data = sets[value]
                elif name in inspect.signature(type(law).__call__).parameters:
                    arguments[name] = value
                elif descent is not None and name in STEPPED:
                    descent[name] = value
                else:
                    law = vary(law, name, value)
            assert isinstance(data, Regression)
            # Shapes and hypotheses are checked without drawing anything.
            eqx.filter_eval_shape(law, self.key, data, **arguments)
            yield Cell(tuple(i for i, _ in point), coordinates, law, arguments, data, descent)


def vary(law: Any, name: str, value: Any) -> Any:
    """The law with one field replaced, its own or one of the law that it is built on."""
    fields = {f.name: getattr(law, f.name) for f in dataclasses.fields(law)}
    if name in fields:
        return type(law)(**{**fields, name: value})
    if "law" in fields:
        inner = vary(fields["law"], name, value)
        return eqx.tree_at(lambda outer: outer.law, law, inner)
    known = ", ".join(repr(f) for f in fields)
    raise ValueError(
        f"The axis {name!r} names neither an argument of {type(law).__name__}'s call, nor 'data', "
        f"nor one of its fields: {known or 'none'}."
    )


def _plain(values: Any) -> list[Any]:
    """Values as plain Python ones, so that 64 and NumPy's 64 are the same coordinate."""
    return [v.item() if isinstance(v, np.generic) or hasattr(v, "item") else v for v in values]


def _range(values: tuple[Any, ...]) -> str:
    """All values if there are few, else the first and the last."""
    if len(values) <= 4:
        return f"[{', '.join(map(_text, values))}]"
    return f"[{_text(values[0])} ... {_text(values[-1])}] ({len(values)})"


def _text(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return getattr(value, "__qualname__", str(value))


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
