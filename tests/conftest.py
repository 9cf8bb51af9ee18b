"""What every test shares: double precision, strict broadcasting, and types checked at run time."""

import os

# Before JAX is imported: two CPU devices, so that what is sharded is sharded in tests too.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
).strip()
os.environ["PJRT_NPROC"] = "16"  # threads for what both wait for

import hypothesis
import jax
import jaxtyping
import matplotlib
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_enable_compilation_cache", False)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
matplotlib.use("Agg")

# Before jaxflow is imported, and never undone: every signature is checked in every test.
jaxtyping.install_import_hook("jaxflow", "beartype.beartype")

hypothesis.settings.register_profile("jaxflow", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("jaxflow")


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def unchecked():
    """As a user calls it: without the hook, bad shapes meet the library's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True, scope="module")
def _forget():
    """A compiled program holds memory maps, of which a process may have 65,530."""
    yield
    jax.clear_caches()
