"""What commands share: consoles, precision, checks of paths, and the sentence for bad input."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from ..machine import environment
from ..machine.cores import keep_programs, use_all_cores
from ..machine.files import atomic_write
from ..machine.user_files import sentence

# What JAX raises where there is no device that it was asked for.
FAILURES = (RuntimeError, AssertionError)
out, err = Console(), Console(stderr=True)


def set_precision(name: str) -> None:
    """Set the precision, and use all cores and the folder of compiled programs."""
    if name not in ("float64", "float32"):
        raise ValueError(f"precision must be float64 or float32, got {name!r}.")
    jax.config.update("jax_enable_x64", name == "float64")
    use_all_cores()
    keep_programs()


def of_devices(error: BaseException) -> str | None:
    """What is wrong with the devices, in one sentence, if that is what an error comes from."""
    if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        return f"The device is out of memory: take a smaller chunk. JAX says: {sentence(error)}"
    if not isinstance(error, FAILURES):
        return None
    try:
        jax.devices()
    except FAILURES as failure:
        said = "" if isinstance(failure, AssertionError) else f" JAX says: {sentence(failure)}"
        asked = os.environ.get("JAX_PLATFORMS")
        if not asked:
            return f"JAX cannot use a device of this machine; JAX_PLATFORMS=cpu avoids it.{said}"
        return (
            f"JAX_PLATFORMS={asked} asks for devices that JAX cannot use here: unset it, or set it "
            f"to cpu.{said}"
        )
    return None


def writable_folder(folder: Path) -> None:
    """Create the folder; `ValueError` if that fails, or if it cannot be written to."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"The folder {folder} cannot be created: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{folder} cannot be written to.")


def writable_file(option: str, path: Path) -> None:
    """`ValueError` unless the file that an option names can be written."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give {option} the path of a file.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent}: create it first.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{path.parent} cannot be written to.")


def reachable(store: Path) -> None:
    """`ValueError` unless a store can be created at this path, with the folders above it."""
    existing = next(parent for parent in store.absolute().parents if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(
            f"{existing} is not a folder that can be written to: choose another --store."
        )


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record, with versions and devices before it."""
    with atomic_write(path) as partial:
        text = json.dumps({**environment(), **record}, indent=2, allow_nan=False)
        partial.write_text(text + "\n")


def spaced(low: int | float, high: int | float, count: int = 7) -> list[Any]:
    """So many logarithmically spaced numbers; distinct integers between integers."""
    values = np.geomspace(low, high, count).tolist()
    whole = isinstance(low, int) and isinstance(high, int)
    return sorted({round(v) for v in values}) if whole else values


def fail(said: object) -> NoReturn:
    """End the command with one sentence and exit code 2."""
    err.print(f"[bold red]error:[/] {escape(str(said))}", highlight=False, soft_wrap=True)
    raise typer.Exit(2)


def interrupted(advice: str) -> NoReturn:
    """End the command after Ctrl-C, with advice, which is markup."""
    err.print(f"Interrupted. {advice}", highlight=False, soft_wrap=True)
    raise typer.Exit(130) from None


def checked(plan: Callable[[], Any]) -> Any:
    """The result of `plan`; bad input ends the command with one sentence and exit code 2."""
    try:
        return plan()
    except (ValueError, OSError) as error:
        fail(error)


def keep(write: Callable[[], None]) -> None:
    """Write a result, or end the command with one sentence."""
    try:
        write()
    except OSError as error:
        fail(f"could not write the result: {error}")
