"""What a result was computed with: software, machine, devices and precision."""

import functools
import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

PACKAGES = (
    "jaxflow-lab",
    "jax",
    "jaxlib",
    "diffrax",
    "equinox",
    "optax",
    "numpy",
    "xarray",
    "zarr",
)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that results depend on."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@functools.cache
def code() -> str:
    """A hash of the source of this package: results of another one are another's."""
    found, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        found.update(
            f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode()
        )
    return found.hexdigest()


def environment() -> dict[str, Any]:
    """Versions, machine, devices and default precision, to be recorded beside a measurement."""
    return {
        "versions": versions(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "backend": jax.default_backend(),
        "float": "float64" if jax.config.read("jax_enable_x64") else "float32",
    }
