"""Run a sweep: block by block, on every device of this process, into memory or into a store."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray as xr
from filelock import BaseFileLock

from ..dynamics.status import retryable
from ..machine.arguments import function, instance, integer
from ..machine.cores import devices
from ..machine.progress import Progress, listening
from ..machine.stopwatch import Stopwatch
from ..machine.versions import environment
from .axes import text
from .drawing import Group, groups, still
from .fingerprint import fingerprint
from .layout import Block, blocks, extents, label, variables
from .plan import Cell, Sweep
from .program import (
    Pending,
    SavedTimes,
    Workers,
    draw as draw_rows,
    saved_times,
    second_try,
    shapes,
    slots_that_suit,
    submit,
)
from .store import Store

BLOCK, BLOCK_BYTES = 2**14, 2**27  # trajectories of a block, and bytes they need, at most
MAX_BYTES = 2**33  # of a result, unless told otherwise
RETRY_SLOTS = 8  # slots per device for the second try of failed trajectories
WAIT = 0.2  # seconds between two looks at blocks that other processes work on


def run(
    sweep: Sweep,
    *,
    store: str | os.PathLike[str] | None = None,
    version: str | None = None,
    progress: Progress | bool = False,
    max_bytes: int = MAX_BYTES,
) -> xr.Dataset:
    """Run every trajectory of a sweep.

    All devices of this process share the work. Trajectories that fail are solved a second time, by
    another solver and with a ten times smaller tolerance, and reported as failed if that fails too.

    **Arguments:**

    - `sweep`: the plan.
    - `store`: the Zarr directory for the results, readable by `xarray.open_zarr` also while it
      grows (entries that are not there yet have status -1). If it holds results of the same plan,
      the run is resumed; damaged blocks are detected and computed again. Several processes may
      work on one store: each block is computed by one of them. Under `jax.distributed` a store is
      required. The same plan means the same data and the same code: functions and modules are
      compared by what they compute (`machine.identity`), and a store of another program is refused.
    - `version`: for a plan with something in it that cannot be compared: your own name for it, to
      be changed whenever it changes.
    - `progress`: called as `progress(doing, done, total)`, with what is being done in words and
      numbers of trajectories, before the first block, before each program that is compiled, and
      after every block. True shows a bar, if standard error is a terminal.
    - `max_bytes`: a larger result is refused.

    **Returns:** an `xarray.Dataset` with the sweep's axes and "seed" as dimensions. It has, for
    every trajectory, `status` (a code of `Result`, -1 if it was not run), `t_end`,
    `log_excess_start`, `log_excess_end`, `steps`, `discrepancy`, `retried`, and one variable per
    measure. Its attributes hold the settings, the versions, the seconds spent (compilation
    separately) and the waste. No failed trajectory is dropped: its status says what happened. With
    a store, arrays are read from disk when they are used.

    **Raises:** `ValueError`, before any work, if `store` is something else or the store of another
    plan, or if the result would be too large.
    """
    instance("sweep", sweep, Sweep, "a jf.Sweep")
    instance("store", store, str | os.PathLike | None, "a path")
    instance("version", version, str | None, "a text")
    if not isinstance(progress, bool):
        function("progress", progress, "progress(doing, done, total)")
    max_bytes = integer("max_bytes", max_bytes)
    with Stopwatch() as watch, listening(progress) as listener:
        engine = Engine(sweep, max_bytes, listener)
        if store is None:
            arrays = engine.in_memory()
            dataset = label(sweep, arrays, engine.known)
        else:
            dataset = engine.into(Path(store).expanduser(), version)
    dataset.attrs.update(
        {
            "settings": json.dumps(sweep.describe()),
            "environment": json.dumps(environment()),
            "seconds_run": watch.run,
            "seconds_compile": watch.compile,
            "chunk": engine.chunk,
            "block": engine.block,
            "waste": engine.lockstep / max(engine.steps, 1),
            "seconds_solving": engine.solving,
            "seconds_storing": engine.storing,
        }
    )
    return dataset


def draw(sweep: Sweep, cell: Cell) -> Any:
    """The networks of a cell, one per seed, as the sweep integrates them."""
    (group,) = groups(sweep, [cell], np.arange(sweep.seeds))
    one = tuple(jax.local_devices()[:1])
    count = np.asarray([sweep.seeds], np.int32)
    arrays = jax.device_get(draw_rows(group.drawing, one, group.data, group.rows, count))
    return eqx.combine(arrays, still(group.drawing, group.data, group.rows))


class Engine:
    """A run of a sweep: its blocks, devices, sizes and counters, checked before any work."""

    def __init__(self, sweep: Sweep, max_bytes: int, progress: Progress):
        self.sweep, self.progress = sweep, progress
        self.cells = {cell.index: cell for cell in sweep.cells}
        self.programs: dict[tuple[int, ...], int] = {}  # by the index of a cell
        self.names: list[str] = []  # of programs: the coordinates that their cells have in common
        self.compiled: set[int] = set()
        kept: dict[str, Any] = {}
        state = size = 0
        for group in groups(sweep, sweep.cells, np.zeros(1, np.uint32)):  # one per program
            entries, one, all_ = shapes(sweep, group)
            differing = [n for n in kept if kept[n].shape != entries[n].shape]
            if differing:
                cell = sweep.cells[group.places[0]]
                raise ValueError(
                    f"The measure {differing[0]!r} has shape {kept[differing[0]].shape} at one "
                    f"point of the grid and {entries[differing[0]].shape} at another, "
                    f"{cell.coordinates}: use two sweeps."
                )
            kept, state, size = entries, max(state, one), max(size, all_)
            members = [sweep.cells[place] for place in group.places]
            self.programs |= {cell.index: len(self.names) for cell in members}
            self.names.append(in_common(sweep, members))
        kept["retried"] = jax.ShapeDtypeStruct((), np.int8)
        self.known = variables(sweep, kept)
        self.state = state
        total = sum(int(np.prod(v.shape)) * v.dtype.itemsize for v in self.known.values())
        if total > max_bytes:
            largest = max(self.known, key=lambda n: np.prod(self.known[n].shape))
            raise ValueError(
                f"The result would take {total:,} bytes, more than max_bytes = {max_bytes:,}. Most "
                f"of them are for {largest!r}: drop that measure, save fewer times, take fewer "
                "seeds, or raise max_bytes."
            )
        self.total = total
        self.devices = devices()
        self.chunk = sweep.chunk or slots_that_suit(state)
        fitting = 2 ** int(np.log2(max(BLOCK_BYTES // size, 1)))
        block = sweep.block or max(min(BLOCK, fitting), self.chunk)
        self.extents = extents(sweep.shape, block, self.programs)
        self.block = int(np.prod(self.extents))
        self.blocks = blocks(sweep.shape, self.extents)
        # No more slots than a small sweep can fill. All blocks have one length, and sweeps share
        # few lengths, because each length is a compiled program.
        room = sweep.block or self.block
        share = -(-room // len(self.devices))
        self.workers = Workers(self.devices, min(self.chunk, _rounded(share, 8)))
        self.length = self._length(room, self.workers.slots)
        self.steps = self.lockstep = 0
        self.solving = self.storing = 0.0  # seconds in which devices work, and the disk
        self.done = 0  # trajectories

    # Where results go

    def in_memory(self) -> dict[str, np.ndarray]:
        """Compute all blocks into arrays."""
        if jax.process_count() > 1:
            raise ValueError("Several processes share their results by a store: give store=.")
        arrays = {n: v.empty() for n, v in self.known.items()}

        def keep(block: Block, values: dict[str, np.ndarray]) -> None:
            for name, value in values.items():
                arrays[name][block.region] = value

        self.report("preparing")
        self.work(iter(self.blocks), keep)
        return arrays

    def into(self, path: Path, version: str | None) -> xr.Dataset:
        """Compute all blocks that are missing in a store into it."""
        plan = fingerprint(self.sweep, self.chunk, self.block, version)
        store = Store.open(path, self.sweep, self.known, self.extents, plan)
        free = shutil.disk_usage(path).free
        todo = [b for b in self.blocks if not store.intact(b)]
        need = self.total * sum(b.size for b in todo) // self.sweep.trajectories
        if need > free:
            raise ValueError(f"{path} needs {need:,} more bytes, and the disk has {free:,} left.")
        self.done = self.sweep.trajectories - sum(b.size for b in todo)
        # Every process begins with a share of its own, and then helps with what is left.
        first = todo[jax.process_index() :: jax.process_count()]
        own = {block.number for block in first}
        todo = [*first, *[b for b in todo if b.number not in own]]
        started = time.perf_counter()
        locks: dict[int, BaseFileLock] = {}

        def free_ones(wanted: list[Block]) -> Iterator[Block]:
            for block in wanted:
                lock = store.lock(block)
                if lock is None:
                    continue
                if store.recorded(block):
                    lock.release()
                    continue
                locks[block.number] = lock
                yield block

        def keep(block: Block, values: dict[str, np.ndarray]) -> None:
            nonlocal started
            begun = time.perf_counter()
            store.write(block, values)
            now = time.perf_counter()
            self.storing += now - begun
            store.log(block=block.number, seconds=now - started)
            started = now
            locks.pop(block.number).release()

        self.report("preparing")
        while todo:
            try:
                self.work(free_ones(todo), keep)
            finally:
                for number in list(locks):
                    locks.pop(number).release()
            # Blocks that other processes hold: wait for them, and take over from those that die.
            todo = [b for b in todo if not store.recorded(b)]
            if todo:
                time.sleep(WAIT)
        if self.done < self.sweep.trajectories:  # other processes did the rest
            self.done = self.sweep.trajectories
            self.report("solved by other processes")
        return store.dataset()

    # The work

    def report(self, doing: str) -> None:
        """Tell what is being done, and how many trajectories are done."""
        self.progress(doing, self.done, self.sweep.trajectories)

    def begin(self, program: int) -> None:
        """Tell that a program is about to be compiled and run, or run again."""
        said, of = self.names[program], len(self.names)
        number = f" (program {program + 1} of {of})" if of > 1 else ""
        doing = "solving" if program in self.compiled else "compiling and solving"
        self.compiled.add(program)
        self.report(f"{doing} {said}{number}")

    def work(
        self,
        todo: Iterator[Block],
        keep: Callable[[Block, dict[str, np.ndarray]], None],
    ) -> None:
        """Solve blocks one after another; the devices work on the next while one is stored."""

        def finish(block: Block, answer: Callable[[], dict[str, np.ndarray]]) -> None:
            keep(block, answer())
            self.done += block.size
            self.report("solving")

        pending: tuple[Block, Any] | None = None
        for block in todo:
            following = block, self.solve(block)
            if pending is not None:
                finish(*pending)
            pending = following
        if pending is not None:
            finish(*pending)

    def solve(self, block: Block) -> Callable[[], dict[str, np.ndarray]]:
        """Start solving a block; the function returned waits for it and solves failures again."""
        cells = [self.cells[point] for point in block.points()]
        seeds = np.arange(block.region[-1].start, block.region[-1].stop)
        parts = []
        for group in groups(self.sweep, cells, seeds):
            self.begin(self.programs[cells[group.places[0] // len(seeds)].index])
            times = saved_times(self.sweep, group.data)
            start = time.perf_counter()  # on CPU the call itself takes the time
            pending = self.submit(group, times)
            self.solving += time.perf_counter() - start
            parts.append((group, times, pending))

        def answer() -> dict[str, np.ndarray]:
            out: dict[str, np.ndarray] = {}
            for group, times, pending in parts:
                values = self.settle(group, times, pending)
                for name, value in values.items():
                    if name not in out:
                        out[name] = np.empty((block.size, *value.shape[1:]), value.dtype)
                    out[name][group.places] = value
            return {n: v.reshape(*block.shape, *v.shape[1:]) for n, v in out.items()}

        return answer

    def submit(self, group: Group, times: SavedTimes) -> Pending:
        """Start solving a group, on all devices or, where JAX cannot do that, on one."""
        try:
            return submit(self.workers, group, times, self.length)
        except NotImplementedError:
            # Some primitives, such as convolutions whose weights differ, have no batching rule
            # for arrays that are spread over devices.
            if len(self.devices) == 1:
                raise
        rows = self.length * len(self.devices)
        self.devices = self.devices[:1]
        self.workers = Workers(self.devices, self.workers.slots)
        self.length = self._length(rows, self.workers.slots)
        return submit(self.workers, group, times, self.length)

    def settle(self, group: Group, times: SavedTimes, pending: Pending) -> dict[str, np.ndarray]:
        """The results of a group, its failed trajectories solved a second time."""
        start = time.perf_counter()
        values, lockstep = pending.answer()
        self.solving += time.perf_counter() - start
        self.steps += int(values["steps"].sum())
        self.lockstep += int(lockstep)
        values["retried"] = retryable(values["status"]).astype(np.int8)
        failed = np.flatnonzero(values["retried"])
        if failed.size:
            workers = Workers(self.devices, min(RETRY_SLOTS, self.workers.slots))
            length = self._length(failed.size, workers.slots)
            settings = second_try(pending.settings)
            second, lockstep = submit(workers, group, times, length, settings, failed).answer()
            self.steps += int(second["steps"].sum())
            self.lockstep += int(lockstep)
            better = ~retryable(second["status"])
            for name, value in second.items():
                values[name] = np.array(values[name])
                values[name][failed[better]] = value[better]
        return values

    def _length(self, count: int, slots: int) -> int:
        """Rows per device for `count` in all: a power of 2. Padding costs nothing but its draw."""
        share = -(-count // len(self.devices))
        return _rounded(2 ** int(np.ceil(np.log2(share))), slots)


def in_common(sweep: Sweep, cells: list[Cell]) -> str:
    """What tells these cells from the others of the sweep, in words: "width = 64"."""
    same = [
        f"{axis} = {text(labels[cells[0].index[i]])}"
        for i, (axis, labels) in enumerate(sweep.labels.items())
        if len(labels) > 1 and len({cell.index[i] for cell in cells}) == 1
    ]
    return ", ".join(same) or "all settings"


def _rounded(count: int, unit: int) -> int:
    return -(-count // unit) * unit
