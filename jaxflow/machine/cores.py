"""How a process uses a machine: every core a device, and compiled programs kept for later."""

import contextlib
import hashlib
import os
import platform
import warnings
from pathlib import Path
from typing import Any

import jax
import scipy.linalg  # noqa: F401  # the LAPACK that JAX calls on CPU: loaded before it is limited
from threadpoolctl import threadpool_limits

DEVICES = "xla_force_host_platform_device_count"
THREADS = "PJRT_NPROC"  # threads of the pool that all CPU devices share


def _enough_threads() -> None:
    """Set the number of threads of the pool, where JAX has not met its first computation yet.

    As many batched linear solves or QR decompositions at once as it has threads, of one program or
    of several devices, wait for each other for ever (jaxlib 0.10.1: four of them on two cores).
    """
    try:
        jax.config.update("jax_num_cpu_devices", jax.config.values["jax_num_cpu_devices"])
    except RuntimeError:  # too late
        return
    os.environ.setdefault(THREADS, str(max(16, 2 * (os.cpu_count() or 1))))


_enough_threads()


def use_all_cores() -> None:
    """Make every core of a CPU a JAX device, so that sweeps use them all.

    To be called before the first computation. Where devices were chosen already, or are in use,
    they stay as they are. LAPACK gets one thread a device: its own threads would fight over the
    cores (four times slower, measured). On a GPU machine it makes no difference.
    """
    threadpool_limits(1, user_api="blas")
    if DEVICES in os.environ.get("XLA_FLAGS", ""):
        return
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):  # too late
        jax.config.update("jax_num_cpu_devices", cores)


def devices() -> tuple[Any, ...]:
    """The local devices that can work side by side.

    On CPU those that are safe: see `_enough_threads`.
    """
    local = jax.local_devices()
    threads = os.environ.get(THREADS, "")
    if len(local) == 1 or local[0].platform != "cpu":
        return tuple(local)
    if threads.isdigit() and int(threads) >= 2 * len(local):
        return tuple(local)
    warnings.warn(
        f"Using one of {len(local)} CPU devices: call jf.use_all_cores() before the first "
        f"computation, or set {THREADS} to at least {2 * len(local)}, to use them all.",
        stacklevel=3,
    )
    return tuple(local[:1])


def keep_programs() -> Path | None:
    """Keep compiled programs on disk, so that the second run of a sweep starts at once.

    In a folder of its own for every kind of processor, since what is compiled for one may not run
    on another. JAX's own settings come first. Returns the folder, None if there is none.
    """
    config: Any = jax.config
    if not config.jax_enable_compilation_cache:
        return None
    if config.jax_compilation_cache_dir:
        return Path(config.jax_compilation_cache_dir)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kind = hashlib.sha256(f"{platform.machine()}{_features()}".encode()).hexdigest()[:16]
    folder = home / "jaxflow" / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that cannot be written to is no reason to fail
        return None
    # XLA reports every program it loads as an error about two tuning flags of its own.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    config.update("jax_compilation_cache_dir", str(folder))
    config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    return folder


def _features() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
