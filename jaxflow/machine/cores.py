"""How a process uses its machine: every core as a JAX device, and a cache of compiled programs."""

import contextlib
import hashlib
import os
import platform
import warnings
from pathlib import Path
from typing import Any

import jax
import platformdirs
import scipy.linalg  # noqa: F401  # the LAPACK that JAX calls on CPU: loaded before it is limited
from threadpoolctl import threadpool_limits

DEVICES = "xla_force_host_platform_device_count"
THREADS = "PJRT_NPROC"  # the number of threads in the pool that all CPU devices share


def _enough_threads() -> None:
    """Set the size of JAX's thread pool, unless its first computation has already been made.

    Batched linear solves and QR decompositions deadlock when as many run at once as the pool has
    threads, in one program or on several devices (jaxlib 0.10.1: four of them on two cores).
    """
    try:
        jax.config.update("jax_num_cpu_devices", jax.config.values["jax_num_cpu_devices"])
    except RuntimeError:  # too late
        return
    os.environ.setdefault(THREADS, str(max(16, 2 * (os.cpu_count() or 1))))


_enough_threads()


def use_all_cores() -> None:
    """Make every core of a CPU a JAX device, so that sweeps use them all.

    Call it before the first computation: devices that are in use, or that `XLA_FLAGS` asks for,
    stay as they are. LAPACK gets one thread per device, because more would compete for the cores
    (four times slower, measured). On a GPU machine it makes no difference.
    """
    threadpool_limits(1, user_api="blas")
    if DEVICES in os.environ.get("XLA_FLAGS", ""):
        return
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):  # too late
        jax.config.update("jax_num_cpu_devices", cores)


def devices() -> tuple[Any, ...]:
    """The local devices that can work side by side without a deadlock (see `_enough_threads`)."""
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

    Each kind of processor has its own folder, since what is compiled for one may not run on
    another. A cache that JAX is already configured to use is left as it is.

    **Returns:** the folder, or None if programs are not kept.
    """
    config: Any = jax.config
    if not config.jax_enable_compilation_cache:
        return None
    if config.jax_compilation_cache_dir:
        return Path(config.jax_compilation_cache_dir)
    kind = hashlib.sha256(f"{platform.machine()}{_features()}".encode()).hexdigest()[:16]
    folder = platformdirs.user_cache_path("jaxflow", appauthor=False) / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # without a cache everything works, only slower
        return None
    config.update("jax_compilation_cache_dir", str(folder))
    config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    return folder


def _features() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
