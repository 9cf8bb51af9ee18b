"""A sweep on disk: Zarr arrays that are filled block by block, and a record of what is there.

`STORE/.jaxflow/plan.json` says what is being computed. The record `blocks/N.json` says that block N
is there and gives the hashes of its bytes. It is written last, by rename, and a block counts only
once its record exists: at whatever moment a process dies, the store that it leaves can be resumed.
"""

import hashlib
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from filelock import BaseFileLock, FileLock, Timeout

from ..machine.files import atomic_write
from .fingerprint import difference
from .layout import Block, Variable, label
from .plan import Sweep

HIDDEN = ".jaxflow"


class Store:
    """The results of one plan, in one folder."""

    def __init__(self, path: Path, known: dict[str, Variable]):
        self.path, self.known = path, known
        self.group = zarr.open_group(path, mode="r+")

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        sweep: Sweep,
        known: dict[str, Variable],
        chunks: tuple[int, ...],
        plan: dict[str, Any],
    ) -> "Store":
        """The store at `path`, created if there is none.

        **Raises:** `ValueError` if something else is there, or the store of another plan.
        """
        path = Path(path)
        if not path.exists():
            try:
                with atomic_write(path) as partial:
                    _create(partial, sweep, known, chunks, plan)
            except OSError:
                if not (path / HIDDEN).exists():  # else another process was faster
                    raise
        check(path, plan)
        return cls(path, known)

    def intact(self, block: Block) -> bool:
        """Whether a block is there and undamaged; the record of a damaged block is deleted."""
        record = self._record(block)
        try:
            recorded = json.loads(record.read_text())
        except FileNotFoundError:
            return False
        except ValueError:
            recorded = {}
        try:
            found = {name: _digest(self._read(name, block)) for name in self.known}
        except Exception:  # the decoder may raise anything on a damaged file
            found = None
        if found is None or found != recorded:
            record.unlink(missing_ok=True)
            return False
        return True

    def recorded(self, block: Block) -> bool:
        """Whether a block has a record."""
        return self._record(block).exists()

    def write(self, block: Block, values: dict[str, np.ndarray]) -> None:
        """Write a block, and only then its record."""
        digests = {}
        for name in self.known:
            array: Any = self.group[name]
            array[self._region(name, block)] = values[name]
            digests[name] = _digest(values[name])
        with atomic_write(self._record(block)) as partial:
            partial.write_text(json.dumps(digests, sort_keys=True) + "\n")

    def lock(self, block: Block) -> BaseFileLock | None:
        """The exclusive right to compute a block, to be released; None if another holds it.

        The operating system releases the lock of a process that dies.
        """
        lock = FileLock(self.path / HIDDEN / "locks" / str(block.number), blocking=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        return lock

    def log(self, **entry: Any) -> None:
        """Add a line to the log, which keeps what differs between equal runs: times and hosts."""
        line = {"time": time.time(), "host": platform.node(), "pid": os.getpid(), **entry}
        with open(self.path / HIDDEN / "log.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")

    def dataset(self) -> xr.Dataset:
        """The whole dataset; arrays are read from disk when they are used."""
        return xr.open_dataset(self.path, engine="zarr", chunks=None)

    def _record(self, block: Block) -> Path:
        return self.path / HIDDEN / "blocks" / f"{block.number}.json"

    def _region(self, name: str, block: Block) -> tuple[slice, ...]:
        rest = len(self.known[name].shape) - len(block.region)
        return (*block.region, *[slice(None)] * rest)

    def _read(self, name: str, block: Block) -> np.ndarray:
        array: Any = self.group[name]
        return np.asarray(array[self._region(name, block)])


def _create(
    path: Path,
    sweep: Sweep,
    known: dict[str, Variable],
    chunks: tuple[int, ...],
    plan: dict[str, Any],
) -> None:
    """An empty store, in Zarr format 2: format 3 warns of text and of consolidated metadata."""
    frame = label(sweep, {}, known)
    frame.attrs["settings"] = json.dumps(sweep.describe())
    frame.attrs["versions"] = json.dumps(plan["versions"])
    frame.to_zarr(path, mode="w", zarr_format=2, consolidated=False)
    group = zarr.open_group(path, mode="r+")
    for name, variable in known.items():
        rest = variable.shape[len(chunks) :]
        array: Any = group.create_array(
            name,
            shape=variable.shape,
            chunks=(*(max(c, 1) for c in chunks), *(max(n, 1) for n in rest)),
            dtype=variable.dtype,
            # xarray reads integers with a fill value as floats.
            fill_value=np.nan if variable.dtype.kind == "f" else None,
            attributes={"_ARRAY_DIMENSIONS": list(variable.dims), **variable.attributes},
        )
        if variable.missing < 0:  # unwritten entries read as NaN or 0
            array[...] = variable.missing
    zarr.consolidate_metadata(path, zarr_format=2)
    for part in ("", "blocks", "locks"):  # Zarr groups, as everything in a store is
        folder = path / HIDDEN / part
        folder.mkdir()
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (path / HIDDEN / "plan.json").write_text(json.dumps(plan, indent=1, sort_keys=True) + "\n")


def check(path: str | os.PathLike[str], plan: dict[str, Any]) -> None:
    """Raise `ValueError` if there is something at `path` that is not the store of this plan."""
    path = Path(path)
    held = path / HIDDEN / "plan.json"
    if not path.exists():
        return
    if not held.is_file():
        raise ValueError(
            f"{path} exists already and is not the store of a sweep: choose another path, or "
            "move it away first."
        )
    differs = difference(json.loads(held.read_text()), plan)
    if differs:
        raise ValueError(
            f"{path} holds another sweep: {differs}. Choose another path, or repeat that sweep."
        )


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
