"""A user's Python file: loaded as a module, and what goes wrong in it said in one sentence."""

import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from .identity import released_file


def load_file(path: str | os.PathLike[str]) -> ModuleType:
    """The module of a Python file, which is run anew at every call.

    As under `python FILE`, modules beside the file can be imported. The module is called
    `_jaxflow_file_NAME` in every process and under every working directory.

    **Raises:** `ValueError` if there is no such file or if it does not run, with file and line.
    """
    given = Path(path).expanduser()
    if not given.is_file():
        raise ValueError(f"There is no file {given}.")
    file = given.resolve()
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    module = ModuleType(f"_jaxflow_file_{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # dataclasses look their module up by name
    try:
        # Not by an import: compiled files are told apart by their size and by seconds alone.
        exec(compile(file.read_bytes(), str(file), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise ValueError(located(error) or f"{given}: {sentence(error)}") from error
    return module


def located(error: BaseException) -> str | None:
    """An error of a user's code in one sentence, with file and line; None if it is not of one."""
    place: tuple[str, int | None] | None = None
    for frame in traceback.extract_tb(error.__traceback__):
        if not frame.filename.startswith("<") and released_file(frame.filename) is None:
            place = frame.filename, frame.lineno
    if isinstance(error, SyntaxError) and error.filename:
        place = error.filename, error.lineno
    if place is None:
        return None
    name = os.path.relpath(place[0])
    name = place[0] if name.startswith("..") else name
    return f"{name}, line {place[1]}: {sentence(error)}"


def sentence(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    first = next(filter(None, map(str.strip, text.splitlines())), "")
    said = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return said if said.endswith((".", "!", "?")) else f"{said}."
