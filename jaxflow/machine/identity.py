"""What a value is, as a hash: equal for equal values, in every process, and for no other program.

Arrays count by their entries, functions by their bytecode with all that it reads (constants,
defaults, closed-over values, globals, attributes of imported modules), classes by their attributes
and methods, other objects by their class and their fields. What an installed package defines counts
by its name and the version of the package.
"""

import dataclasses
import dis
import enum
import functools
import hashlib
import os
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np


class Unidentified(ValueError):
    """Something that cannot be told from another thing of its kind."""


def identity(value: Any, *, lenient: bool = False) -> str:
    """The hash of a value.

    **Arguments:** any `value`; `lenient`, to take what cannot be told apart for its class.

    **Raises:** `Unidentified`, a `ValueError`, for an object without fields that Python can read,
    such as an open file or an iterator.
    """
    return "sha256:" + _Reader(lenient).of(value)


_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.dtype, np.generic)
_CODE = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)
# Attributes of a class that Python or a decorator makes from the others.
_MADE = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__firstlineno__"),
    *("__static_attributes__", "__annotate__", "__annotations_cache__", "__abstractmethods__"),
    *("__dataclass_fields__", "__dataclass_params__", "__match_args__", "__slots__", "__hash__"),
    *("_abc_impl", "__orig_bases__", "__parameters__", "__annotations__"),
}


class _Reader:
    """Reads one value, and knows what it is inside of: values may refer to themselves."""

    def __init__(self, lenient: bool):
        self.lenient = lenient
        self.inside_of: list[int] = []
        self.known: dict[int, tuple[str, Any]] = {}  # with the value, whose address stays its own

    def of(self, value: Any) -> str:
        """The hash of a value."""
        place = id(value)
        if place in self.known:
            return self.known[place][0]
        if place in self.inside_of:
            return f"again {len(self.inside_of) - self.inside_of.index(place)}"
        self.inside_of.append(place)
        total = hashlib.sha256()
        for part in self.parts(value):
            total.update(part if isinstance(part, bytes) else part.encode())
            total.update(b"\0")
        self.inside_of.pop()
        self.known[place] = total.hexdigest(), value
        return self.known[place][0]

    def parts(self, value: Any) -> Iterator[str | bytes]:
        """What the hash of a value is made of."""
        if isinstance(value, _PLAIN):
            yield f"{type(value).__name__} {value!r}"
        elif isinstance(value, jax.Array | np.ndarray):
            yield from _array(value)
        elif isinstance(value, types.ModuleType):
            yield f"module {value.__name__} {released_version(value.__name__) or ''}"
        elif isinstance(value, enum.Enum):
            yield from ("enum", self.of(type(value)), value.name)
        elif isinstance(value, type):
            yield from self.of_class(value)
        elif isinstance(value, functools.partial):
            yield from ("partial", *map(self.of, (value.func, value.args, value.keywords)))
        elif isinstance(value, types.MethodType):
            yield from ("method", self.of(value.__func__), self.of(value.__self__))
        elif isinstance(value, _CODE):
            yield from self.of_function(value)
        elif isinstance(value, types.CodeType):
            yield from self.of_code(value)
        elif isinstance(value, Mapping):
            yield from ("mapping", type(value).__name__, str(len(value)))
            for key, entry in value.items():
                yield from (self.of(key), self.of(entry))
        elif isinstance(value, list | tuple):
            yield from ("sequence", type(value).__qualname__, str(len(value)), *map(self.of, value))
        elif isinstance(value, set | frozenset):
            yield from ("set", *sorted(map(self.of, value)))
        elif isinstance(value, range | slice | types.EllipsisType | types.NotImplementedType):
            yield repr(value)
        elif isinstance(value, property):
            yield from ("property", *map(self.of, (value.fget, value.fset, value.fdel)))
        elif isinstance(value, classmethod | staticmethod):
            yield from (type(value).__name__, self.of(value.__func__))
        elif isinstance(value, Path):
            yield f"path {value}"
        else:
            yield from self.of_object(value)

    def of_object(self, value: Any) -> Iterator[str]:
        kind = type(value)
        name = getattr(value, "__qualname__", getattr(value, "__name__", None))
        released = released_version(getattr(value, "__module__", None) or "")
        if callable(value) and isinstance(name, str) and released and "<locals>" not in name:
            yield f"{value.__module__}.{name} {released}"  # such as jax.nn.relu, which is jitted
            return
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is not None and released_version(kind.__module__) is not None:
            # Jitted, or cached.
            yield from ("wrapped", kind.__qualname__, self.of(wrapped))
            return
        fields = _fields(value)
        if fields is None:
            if not self.lenient:
                what = f"a {kind.__module__}.{kind.__qualname__}"
                raise Unidentified(f"{what} cannot be told from another one")
            fields = {}
        yield from ("object", self.of(kind))
        for field, entry in fields.items():
            yield from (field, self.of(entry))

    def of_class(self, kind: type) -> Iterator[str]:
        released = released_version(kind.__module__)
        if released is not None:
            yield f"class {kind.__module__}.{kind.__qualname__} {released}"
            return
        yield f"class {kind.__qualname__}"  # of whatever module: a script is `__main__`
        yield from map(self.of, kind.__bases__)
        for name, entry in sorted(vars(kind).items()):
            if name in _MADE or isinstance(entry, types.MemberDescriptorType):
                continue
            if getattr(entry, "__objclass__", None) is not None:
                continue
            yield from (name, self.of(entry))

    def of_function(self, function: Any) -> Iterator[str]:
        module = getattr(function, "__module__", None) or ""
        code = getattr(function, "__code__", None)
        if code is None:  # a built-in one
            owner = getattr(function, "__self__", None)
            if not (owner is None or isinstance(owner, types.ModuleType | type)):
                yield self.of(owner)
            yield f"built-in {module}.{function.__qualname__}"
            return
        # What a decorator of a package made of a user's function bears the name of that function.
        own = released_file(code.co_filename) is None and not code.co_filename.startswith("<@")
        released = released_version(module)
        if released is not None and "<locals>" not in function.__qualname__:
            yield f"function {module}.{function.__qualname__} {released}"
            return
        if not own and getattr(function, "__wrapped__", None) is not None:
            yield from ("decorated", code.co_name, self.of(function.__wrapped__))
            return
        yield from ("function", self.of(code))
        read = function.__defaults__, function.__kwdefaults__, _cells(function)
        yield from map(self.of, read)
        extra = {k: v for k, v in vars(function).items() if k != "__wrapped__"}
        yield self.of(extra)
        if own:
            for name in sorted(_names(code)):
                yield from self.of_global(name, function.__globals__, _names(code))

    def of_global(self, name: str, known: dict[str, Any], used: set[str]) -> Iterator[str]:
        if name not in known:
            return
        value = known[name]
        yield name
        if isinstance(value, types.ModuleType) and released_version(value.__name__) is None:
            # A user's own module: what of it may be used.
            yield from (self.of(v) for n, v in sorted(vars(value).items()) if n in used)
        else:
            yield self.of(value)

    def of_code(self, code: types.CodeType) -> Iterator[str | bytes]:
        yield f"code {sys.version_info[0]}.{sys.version_info[1]}"
        yield code.co_code
        flags = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        yield repr((flags, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
        # The first constant may be the docstring, which computes nothing.
        constants = list(code.co_consts)
        if constants and isinstance(constants[0], str) and code.co_name != "<lambda>":
            constants = constants[1:] if _documented(code) else constants
        yield from map(self.of, constants)


def _documented(code: types.CodeType) -> bool:
    """Whether the first constant is not read, and so a docstring: it may change."""
    if sys.version_info >= (3, 13):
        return bool(code.co_flags & 0x4000000)
    return not any(
        step.opname == "LOAD_CONST" and step.arg == 0 for step in dis.get_instructions(code)
    )


def _array(value: Any) -> Iterator[str | bytes]:
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        yield f"key {jax.random.key_impl(value)}"
        value = jax.random.key_data(value)
    array = np.asarray(value)
    yield f"array {array.dtype.str} {array.shape}"
    if array.dtype.hasobject:
        yield repr(array.tolist())
    else:
        yield np.ascontiguousarray(array).tobytes()


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of an object, or None if they cannot be read."""
    if isinstance(value, types.GeneratorType) or hasattr(value, "__next__"):
        return None
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    if hasattr(value, "__dict__"):
        cached = {
            name
            for kind in type(value).__mro__
            for name, entry in vars(kind).items()
            if isinstance(entry, functools.cached_property)
        }
        return {k: v for k, v in sorted(vars(value).items()) if k not in cached}
    slots = [s for kind in type(value).__mro__ for s in getattr(kind, "__slots__", ())]
    if slots:
        return {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return {} if type(value) is object else None


def _cells(function: types.FunctionType) -> list[Any]:
    out = []
    for cell in function.__closure__ or ():
        try:
            out.append(cell.cell_contents)
        except ValueError:  # not filled yet
            out.append(None)
    return out


def _names(code: types.CodeType) -> set[str]:
    """The names that a function and the functions inside it may look up."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


@functools.cache
def _packages() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@functools.cache
def released_version(module: str) -> str | None:
    """The version of the installed package that a module belongs to; None for a user's own."""
    top = module.partition(".")[0]
    if top == "__main__":
        return None
    if top in sys.stdlib_module_names:
        return "python"
    found = sys.modules.get(top)
    origin = getattr(found, "__file__", None) or next(iter(getattr(found, "__path__", [])), None)
    if top == "jaxflow":
        return metadata.version("jaxflow-lab")
    if found is None or origin is None or released_file(origin) is None:
        return None
    version = getattr(found, "__version__", None)  # metadata take half a second to search
    if isinstance(version, str):
        return f"{top} {version}"
    return " ".join(f"{name} {metadata.version(name)}" for name in sorted(_packages().get(top, [])))


@functools.cache
def released_file(path: str) -> str | None:
    """The folder of installed packages that a file lies in; None for a user's own file."""
    folders = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")}
    own = str(Path(__file__).parents[1])
    return next((f for f in (*sorted(folders), own) if f and path.startswith(f + os.sep)), None)


class Known:
    """A value that counts as equal to another one if it computes the same: for keys of caches.

    What cannot be identified is equal to itself alone.
    """

    def __init__(self, value: Any):
        self.value = value
        try:
            self.key: Any = identity(value)
        except Unidentified:
            self.key = id(value)  # of an object that lives as long as this one

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known) and self.key == other.key

    def __repr__(self) -> str:
        return repr(self.value)
