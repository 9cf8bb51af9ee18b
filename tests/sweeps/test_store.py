"""The store: whatever happens to a sweep, what it has computed is there, and is right."""

import errno
import itertools
import multiprocessing.forkserver
import os
import random
import signal
import socket
import time
from pathlib import Path

import jax.random as jr
import numpy as np
import pytest
import xarray as xr
import zarr
from worker import BLOCKS, main

import jaxflow as jf
from jaxflow.sweeps.layout import blocks, extents
from jaxflow.sweeps.run import Engine

DATA = jf.data.gaussian(jr.key(7), 4, 9, 1)


def plan(**changes):
    arguments = {
        "over": {"width": [10, 10**6], "scale": [(0.1, 0.1), (0.05, 0.2)]},
        "seeds": 10,
        "t1": 0.5,
        "until": jf.until.loss_ratio(1e-3),
        "measures": [jf.measures.LogExcess(), jf.measures.OffSpanDistance()],
        "block": 8,
        **changes,
    }
    data = arguments.pop("data", DATA)
    return jf.Sweep(data, jf.init.Gaussian(scale=(1.0, 1.0)), **arguments)


@pytest.fixture(scope="module")
def whole():
    return jf.run(plan())


def equal(one, other):
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
        assert one[name].dtype == other[name].dtype, name
        assert one[name].dims == other[name].dims, name


def files(store):
    """Every file whose bytes the plan decides."""
    found = {}
    for path in sorted(Path(store).rglob("*")):
        name = str(path.relative_to(store))
        # Partial files are what a killed process was writing: nothing reads them.
        if path.is_file() and not any(x in name for x in ("locks", "log.jsonl", ".partial")):
            found[name] = path.read_bytes()
    return found


# Blocks


def test_blocks_tile_the_grid_and_have_one_program_each():
    for shape in [(1,), (7,), (3, 5), (2, 3, 4), (4, 1, 9)]:
        for size, axis in itertools.product((1, 2, 3, 5, 8, 100), range(-1, len(shape) - 1)):
            # One program, or one for each place along an axis.
            programs = {point: point[axis] if axis >= 0 else 0 for point in np.ndindex(shape[:-1])}
            covered = np.zeros(shape, int)
            steps = extents(shape, size, programs)
            assert np.prod(steps) <= size
            for i, block in enumerate(blocks(shape, steps)):
                assert block.number == i
                assert block.size == covered[block.region].size <= size
                assert all(s.start % step == 0 for s, step in zip(block.region, steps, strict=True))
                assert len(list(block.points())) * block.shape[-1] == block.size
                assert len({programs[point] for point in block.points()}) == 1
                covered[block.region] += 1
            assert np.all(covered == 1)
            # As large as may be: no axis could have twice the extent.
            if axis < 0 and np.prod(shape) <= size:
                assert steps == shape


# What users see


def test_in_memory_and_on_disk_are_the_same(whole, tmp_path):
    path = tmp_path / "deep" / "runs.zarr"
    seen = []
    ds = jf.run(plan(), store=path, progress=lambda *a: seen.append(a))
    equal(ds, whole)
    assert seen[-1] == ("solving", 40, 40)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    opened = xr.open_zarr(path)  # warnings are errors here
    equal(opened.load(), whole)
    xr.testing.assert_equal(opened.coords.to_dataset(), whole.coords.to_dataset())
    assert opened["status"].attrs["flag_meanings"].startswith("not_run finished stopped")
    assert "settings" in opened.attrs
    assert [p.name for p in path.parent.iterdir()] == ["runs.zarr"]


def test_an_existing_store_is_gone_on_with(whole, tmp_path, monkeypatch):
    path = tmp_path / "runs.zarr"
    jf.run(plan(), store=path)
    before = files(path)

    def refuse(*args, **kwargs):
        raise AssertionError("nothing was left to solve")

    monkeypatch.setattr(Engine, "solve", refuse)
    seen = []
    equal(jf.run(plan(), store=path, progress=lambda *a: seen.append(a)), whole)
    assert seen == [("preparing", 40, 40)]
    assert files(path) == before


def test_missing_blocks_read_as_not_run(tmp_path):
    path = tmp_path / "runs.zarr"

    def stop(doing, done, total):
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jf.run(plan(), store=path, progress=stop)
    ds = xr.open_zarr(path).load()
    ran = ds["status"].values >= 0
    assert ran.sum() == 18  # blocks of 8 and 2, in turn
    assert np.all(ds["status"].values[~ran] == -1)
    assert np.all(np.isnan(ds["t_end"].values[~ran]))
    assert np.all(np.isfinite(ds["t_end"].values[ran]))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"rtol": 1e-9}, "rtol is None there and 1e-09 here"),
        ({"seeds": 11}, "seeds is 10 there and 11 here"),
        ({"key": jr.key(1)}, "key is"),
        ({"data": jf.data.gaussian(jr.key(8), 4, 9, 1)}, "another data"),
        ({"measures": []}, "measures is"),
        ({"until": None}, "until is"),
        ({"t1": 0.6}, "times is 0.5 there and 0.6 here"),
        ({"chunk": 8}, "chunk is 64 there and 8 here"),
        ({"block": 9}, "block is"),
        ({"over": {"width": [10], "scale": [(0.1, 0.1)]}}, "axes is|width is"),
        ({"compress": False}, "compress is True there and False here"),
    ],
)
def test_another_plan_is_refused(changes, match, refused):
    before = files(refused)
    with pytest.raises(ValueError, match=match):
        jf.run(plan(**changes), store=refused)
    assert files(refused) == before


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "runs.zarr"
    jf.run(plan(), store=path)
    return path


def test_something_else_is_refused_before_any_work(tmp_path):
    seen = []
    with pytest.raises(ValueError, match="not the store of a sweep"):
        jf.run(plan(), store=tmp_path, progress=lambda *a: seen.append(a))
    assert not seen


def test_what_is_too_large_is_refused_with_its_size(tmp_path):
    with pytest.raises(ValueError, match=r"would take .* bytes.*'log_excess'"):
        jf.run(plan(), store=tmp_path / "runs.zarr", max_bytes=1000)
    assert not list(tmp_path.iterdir())


# Damage


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[-1] ^= 1
    elif how == "torn":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = b""
    path.write_bytes(bytes(content))
    if how == "gone":
        path.unlink()


@pytest.mark.parametrize("how", ["flipped", "torn", "empty", "gone"])
@pytest.mark.parametrize("what", ["log_excess/0.1.0.0", "status/1.0.0", ".jaxflow/blocks/2.json"])
def test_damaged_blocks_are_computed_again(how, what, whole, refused):
    good = files(refused)
    damage(refused / what, how)
    seen = []
    equal(jf.run(plan(), store=refused, progress=lambda *a: seen.append(a)), whole)
    assert [doing for doing, *_ in seen if doing == "solving"] == ["solving"]  # one block
    assert files(refused) == good


@pytest.mark.parametrize("at", [0, 5, 37, 61])
def test_a_full_disk(at, whole, tmp_path, monkeypatch):
    path = tmp_path / "runs.zarr"
    write, count = zarr.storage.LocalStore.set, []

    async def full(self, *args, **kwargs):
        count.append(1)
        if len(count) > at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return await write(self, *args, **kwargs)

    monkeypatch.setattr(zarr.storage.LocalStore, "set", full)
    with pytest.raises(OSError, match="No space"):
        jf.run(plan(), store=path)
    monkeypatch.undo()
    equal(jf.run(plan(), store=path), whole)
    equal(xr.open_zarr(path).load(), whole)


# Processes


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """How to start one, and the bytes of a first run, which fills the compile cache.

    Processes are forked from one that has imported everything, and computed nothing.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jaxflow"])
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XLA_FLAGS")  # one device
        multiprocessing.forkserver.ensure_running()

    def start(store, **options):
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=main, args=(str(store), theirs), kwargs=options)
        process.start()
        theirs.close()
        return process, mine

    store = tmp_path_factory.mktemp("worker") / "whole.zarr"
    finish(start(store))
    return start, files(store)


def finish(*started):
    """Wait for processes, which are to end well."""
    for process, _ in started:
        process.join(timeout=300)
        assert process.exitcode == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed_is_the_same_bytes(how, worker, tmp_path):
    start, expected = worker
    store = tmp_path / "runs.zarr"
    rng = random.Random(int(how))
    reached = set()
    for most in (1, 1, 2, 2, 2, 3, 3, 4, 4, 6) if how == signal.SIGKILL else (2, 12):
        process, pipe = start(store)
        # After some of the blocks that are left, at any moment within one.
        for _ in range(rng.randint(1, most)):
            pipe.recv()
        time.sleep(rng.uniform(0, 0.01))
        os.kill(process.pid, how)
        process.join(timeout=60)
        assert process.exitcode != 0
        reached.add(len(list((store / ".jaxflow" / "blocks").glob("*.json"))))
        assert max(reached) < BLOCKS, "killed after the end"
    assert len(reached) > 1
    finish(start(store))
    assert files(store) == expected


def pids(store):
    lines = (store / ".jaxflow" / "log.jsonl").read_text().splitlines()
    return [line.split('"pid": ')[1].split(",")[0] for line in lines]


def test_two_processes_share_a_store(worker, tmp_path):
    start, expected = worker
    store = tmp_path / "runs.zarr"
    finish(*[start(store, wait=0.05) for _ in range(2)])
    assert files(store) == expected
    assert len(pids(store)) == BLOCKS  # every block once
    assert len(set(pids(store))) == 2


def test_distributed_processes_share_a_store(worker, tmp_path):
    start, expected = worker
    store = tmp_path / "runs.zarr"
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    finish(*[start(store, cluster=(i, 2, port), wait=0.05) for i in range(2)])
    assert files(store) == expected
    assert len(pids(store)) == BLOCKS
    assert len(set(pids(store))) == 2
