"""What all tests share: precision, types checked at run time, programs kept on disk, an order."""

import gc
import os
import time
from pathlib import Path

# Before JAX is imported: two CPU devices, so that what is sharded is sharded in tests too.
# Loops compile in half the time without the emitters of fused kernels, and run as fast.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=2 --xla_cpu_use_fusion_emitters=false"
).strip()
os.environ["PJRT_NPROC"] = "16"  # threads for what both wait for
# Two workers on two cores: threads of LAPACK that wait for a core spin, and take ten times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Most of a test's time is compiling. Both workers, the processes that tests start and the next run
# share compiled programs through this folder; the environment may name another (`.ci/run` does).
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ.get(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax")
)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # loading a program is not worth a message

import hypothesis
import jax
import jaxtyping
import matplotlib
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Only the cheap passes of the compiler: a test runs a small program once or twice. Optimized code
# is what the catalogue, the notebooks and the benchmarks run, each in a process of its own.
jax.config.update("jax_disable_most_optimizations", True)
matplotlib.use("Agg")

# Before jaxflow is imported, and never undone: every signature is checked in every test.
jaxtyping.install_import_hook("jaxflow", "beartype.beartype")

hypothesis.settings.register_profile("jaxflow", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("jaxflow")

# The longest files, the longest first, so that no worker is left alone with one at the end.
FIRST = (
    "bring_your_own implicit falsify direct cli_run filippov flow central_flow any_loss store "
    "ensemble log_loss_flow sweep diagonal_linear shallow min2021 deep_linear compiles_once cli "
    "kinks sweep_descent rules curvature descent sweep_measures multiprecision theory_wide verify "
    "resolution regression formulations init plotting registry"
)


def pytest_collection_modifyitems(items):
    place = {f"test_{name}.py": number for number, name in enumerate(FIRST.split())}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
    # Tracing allocates much that lives on: collect seldom, and never look at what is there by now.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_sessionfinish(session):
    """Programs of more than two weeks ago are deleted: most come from code that has changed."""
    if hasattr(session.config, "workerinput"):  # a worker: once is enough
        return
    for path in Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).glob("*"):
        if time.time() - path.stat().st_mtime > 14 * 86_400:
            path.unlink(missing_ok=True)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def unchecked():
    """As a user calls it: without the hook, bad shapes meet the library's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def optimized():
    """All passes of the compiler, for the few tests that run for longer than they compile."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True, scope="module")
def _forget():
    """A compiled program holds five to 500 memory maps, of which a process may have 65,530.

    Small programs serve many files: all are freed only when they have become many.
    """
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > 15_000:
        jax.clear_caches()
