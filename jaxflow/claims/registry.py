"""Finding claims: in this package, in installed packages, and in a user's own file."""

import functools
import pkgutil
from importlib import import_module, metadata
from types import ModuleType

import jaxflow.papers as _room

from ..machine.arguments import instance
from ..machine.user_files import load_file
from .claim import Claim, Paper

ENTRY_POINTS = "jaxflow.claims"


@functools.cache
def catalogue() -> dict[str, Claim]:
    """Every claim by id: of each module in `jaxflow.papers`, and of each entry point's module."""
    modules = [
        import_module(f"{_room.__name__}.{info.name}")
        for info in pkgutil.iter_modules(_room.__path__)
    ]
    modules += [point.load() for point in metadata.entry_points(group=ENTRY_POINTS)]
    return {claim.id: claim for module in modules for claim in _claims(module)}


def find(name: str) -> list[Claim]:
    """The claims that `name` means: an id, the prefix of a paper, or the path of a Python file."""
    if instance("name", name, str, "a text").endswith(".py"):
        return _from_file(name)
    known = catalogue()
    found = [claim for key, claim in known.items() if key == name or key.startswith(f"{name}.")]
    if not found:
        raise ValueError(
            f"No claim is called {name!r}: choose one of {', '.join(known)}, or give the path of a "
            "Python file of claims of your own."
        )
    return found


def _claims(module: ModuleType) -> list[Claim]:
    """The claims of a module: those of its papers, and claims that have a name of their own."""
    found: dict[str, Claim] = {}
    for value in vars(module).values():
        several = value.claims if isinstance(value, Paper) else [value]
        found.update({claim.id: claim for claim in several if isinstance(claim, Claim)})
    return list(found.values())


def _from_file(path: str) -> list[Claim]:
    module = load_file(path)
    found = _claims(module)
    if not found:
        raise ValueError(
            f"{path} defines no claims: make a jaxflow.claims.Paper in it and decorate a function "
            "with its claim(...)."
        )
    return found
