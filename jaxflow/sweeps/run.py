"""Run a sweep: draw, compress, sort by predicted stiffness, solve in chunks, label the results."""

import json
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, PyTree

from ..data import Regression
from ..dynamics.flow import FlowSettings, as_arrays, solve, times
from ..dynamics.formulations import choose
from ..dynamics.solution import RESULT_NAMES, Solution, result_code
from ..networks import compress
from .clock import Clock
from .files import whole
from .plan import Cell, Sweep
from .versions import environment

Progress = Callable[[int, int], None]  # (trajectories done, trajectories in all)

# Of flow state in a chunk. On CPU it has to stay in cache: 64 states of 80 kB side by side were
# measured 8 times slower than 16.
CACHE_BYTES, DEVICE_BYTES = 3 * 2**19, 2**31
DRAW_BATCH, DRAW_BYTES = 32, 2**28  # networks drawn side by side, and bytes of them, at most

STANDARD = {
    "status": "how the trajectory ended",
    "t_end": "flow time at the end",
    "log_excess_start": "log(L - L*) at time 0",
    "log_excess_end": "log(L - L*) at the end",
    "steps": "solver steps, rejected ones included",
    "discrepancy": "gap between residual and weights at the end, relative to the targets",
}


def run(
    sweep: Sweep, *, store: str | os.PathLike[str] | None = None, progress: Progress | None = None
) -> xr.Dataset:
    """Run every trajectory of a sweep.

    **Arguments:**

    - `sweep`: the plan.
    - `store`: where to keep the dataset as a Zarr directory (`xarray.open_zarr` reads it). It
      appears whole or not at all.
    - `progress`: called as `progress(done, total)` after every chunk.

    **Returns:** an `xarray.Dataset` with the sweep's axes and "seed" as dimensions: for every
    trajectory `status` (a code of `Result`, -1 if it was not run), `t_end`, `log_excess_start`,
    `log_excess_end`, `steps`, `discrepancy`, and one variable a measure. Settings, versions,
    seconds (compilation apart) and waste are in its attributes. A trajectory that failed has a
    status that says so; none is dropped.

    **Raises:** `ValueError` if the store exists already.
    """
    path = None if store is None else _free(store)
    with Clock() as clock:
        blocks, chunking = _solve_all(sweep, progress)
    dataset = _label(sweep, blocks)
    dataset.attrs.update(
        {
            "settings": json.dumps(sweep.describe()),
            "environment": json.dumps(environment()),
            "seconds_run": clock.run,
            "seconds_compile": clock.compile,
            **chunking,
        }
    )
    if path is not None:
        save(dataset, path)
    return dataset


def save(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a dataset as a Zarr directory that appears whole or not at all."""
    with whole(_free(path)) as partial:
        dataset.to_zarr(partial, mode="w", zarr_format=2)


def _free(store: str | os.PathLike[str]) -> Path:
    path = Path(store)
    if path.exists():
        raise ValueError(f"{path} exists already: choose another path, or move it away first.")
    return path


def _solve_all(
    sweep: Sweep, progress: Progress | None
) -> tuple[list[tuple[Cell, dict[str, np.ndarray]]], dict[str, Any]]:
    """Results by cell; the chunk size, and the waste of chunks that wait for their slowest."""
    groups: dict[Any, list[tuple[Cell, PyTree]]] = defaultdict(list)
    for cell in sweep.cells:
        networks = draw(sweep, cell)
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(networks))
        groups[id(cell.data), jax.tree.structure(networks), shapes].append((cell, networks))
    done, steps, lockstep, blocks, chunk = 0, 0, 0, [], 0
    for members in groups.values():
        data = members[0][0].data
        settings, ts = sweep.settings(data.X.dtype), as_arrays(sweep.ts, data.X.dtype)
        networks = jax.tree.map(lambda *leaves: np.concatenate(leaves), *[n for _, n in members])
        count = len(members) * sweep.seeds
        chunk = chunk_size(sweep, networks, data, settings)
        predicted = np.asarray(_stiffness(networks, data, ts, sweep.t1, settings))
        order = np.argsort(predicted, kind="stable")
        out: dict[str, np.ndarray] = {}
        for start in range(0, count, chunk):
            rows = order[start : start + chunk]
            # The last chunk is filled up with its own last row: one shape, one program.
            filled = np.concatenate([rows, np.repeat(rows[-1:], chunk - len(rows))])
            batch = jax.tree.map(lambda leaf, i=filled: leaf[i], networks)
            values = jax.device_get(_chunk(batch, data, ts, sweep.t1, settings))
            for name, value in values.items():
                kept = value[: len(rows)]
                if name not in out:
                    out[name] = np.empty((count, *kept.shape[1:]), kept.dtype)
                out[name][rows] = kept
            steps += int(values["steps"][: len(rows)].sum())
            lockstep += chunk * int(values["steps"].max())
            done += len(rows)
            if progress is not None:
                progress(done, sweep.trajectories)
        for i, (cell, _) in enumerate(members):
            here = slice(i * sweep.seeds, (i + 1) * sweep.seeds)
            blocks.append((cell, {name: value[here] for name, value in out.items()}))
    return blocks, {"chunk": chunk, "waste": lockstep / max(steps, 1)}


def chunk_size(sweep: Sweep, networks: PyTree, data: Regression, settings: FlowSettings) -> int:
    """Trajectories solved side by side: as asked, else what suits the device and the sweep."""
    if sweep.chunk:
        return sweep.chunk

    def state(network: Any) -> Any:
        return choose(settings.formulation, network, data, settings.loss).start(network)

    first = jax.tree.map(lambda leaf: leaf[0], networks)
    leaves = jax.tree.leaves(eqx.filter_eval_shape(state, first))
    bytes_each = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    on_cpu = jax.default_backend() == "cpu"
    fitting = (CACHE_BYTES if on_cpu else DEVICE_BYTES) // bytes_each
    least, most = (4, 64) if on_cpu else (64, 4096)
    suits = int(np.clip(2 ** int(np.log2(max(fitting, 1))), least, most))
    return min(suits, sweep.trajectories)


def draw(sweep: Sweep, cell: Cell) -> PyTree:
    """The networks of a cell, one a seed, compressed where that is possible."""
    keys = cell.keys(sweep.key, sweep.seeds)
    law = as_arrays(cell.law, cell.data.X.dtype)
    shapes = eqx.filter_eval_shape(cell.law, sweep.key, cell.data, **cell.arguments)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    # Of one size whatever the number of seeds: more seeds are not another program.
    batch = max(1, min(DRAW_BATCH, DRAW_BYTES // size))
    arguments = tuple(sorted(cell.arguments.items()))
    drawn = []
    for start in range(0, sweep.seeds, batch):
        rows = np.minimum(np.arange(start, start + batch), sweep.seeds - 1)
        networks = _draw(law, keys[rows], cell.data, arguments, sweep.compress)
        keep = min(batch, sweep.seeds - start)
        drawn.append(jax.tree.map(lambda leaf, n=keep: leaf[:n], jax.device_get(networks)))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *drawn)


@eqx.filter_jit
def _draw(
    law: Any,
    keys: Array,
    data: Regression,
    arguments: tuple[tuple[str, Any], ...],
    reduce: bool,
) -> PyTree:
    def one(key: Array) -> Any:
        network = law(key, data, **dict(arguments))
        return compress(network, data) if reduce else network

    return jax.vmap(one)(keys)


def _times(ts: Any, t1: Any, network: Any, data: Regression) -> Array | None:
    if callable(ts):
        return ts(network, data)
    return times(ts, t1, data.X.dtype)


@eqx.filter_jit
def _stiffness(networks: PyTree, data: Regression, ts: Any, t1: Any, settings: Any) -> Array:
    """Predicted number of fastest time scales in each trajectory: explicit steps go with it."""

    def one(network: Any) -> Array:
        form = choose(settings.formulation, network, data, settings.loss)
        rate = form.fastest_rate(form.start(network))
        grid = _times(ts, t1, network, data)
        return rate if grid is None else rate * grid[-1]

    return jax.lax.map(one, networks, batch_size=64)


@eqx.filter_jit
def _chunk(
    networks: PyTree, data: Regression, ts: Any, t1: Any, settings: FlowSettings
) -> dict[str, Array]:
    def one(network: Any) -> dict[str, Array]:
        return summary(solve(network, data, _times(ts, t1, network, data), settings))

    return jax.vmap(one)(networks)


def summary(solution: Solution) -> dict[str, Array]:
    """What a sweep keeps of a trajectory."""
    return {
        "status": result_code(solution.result).astype(jnp.int8),
        "t_end": solution.t1,
        "log_excess_start": solution.stats["initial_log_excess"],
        "log_excess_end": solution.log_excess1,
        "steps": solution.stats["steps"].astype(jnp.int32),
        "discrepancy": solution.stats["discrepancy"],
        **solution.measures,
    }


def _label(sweep: Sweep, blocks: list[tuple[Cell, dict[str, np.ndarray]]]) -> xr.Dataset:
    dims: dict[str, tuple[str, ...]] = {name: ("seed",) for name in STANDARD}
    dims |= {measure.name: ("seed", *measure.dims) for measure in sweep.measures}
    arrays: dict[str, np.ndarray] = {}
    for cell, values in blocks:
        for name, value in values.items():
            if name not in arrays:
                arrays[name] = np.empty((*sweep.shape[:-1], *value.shape), value.dtype)
            arrays[name][cell.index] = value
    variables = {n: ((*sweep.axes, *dims[n]), array) for n, array in arrays.items()}
    coordinates = {**sweep.coordinates(), "seed": np.arange(sweep.seeds)}
    dataset = xr.Dataset(variables, coordinates)
    for name, text in STANDARD.items():
        dataset[name].attrs["long_name"] = text
    dataset["status"].attrs.update(
        flag_values=[-1, *range(len(RESULT_NAMES))],
        flag_meanings=" ".join(["not_run", *RESULT_NAMES]),
    )
    for measure in sweep.measures:
        text = (type(measure).__doc__ or "").strip().split("\n")[0]
        dataset[measure.name].attrs["long_name"] = text
    return dataset
