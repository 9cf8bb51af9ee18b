"""The experiments that a user's file names, and changes to them from the command line."""

import ast
import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..dynamics import Solution
from ..machine.user_files import load_file
from ..sweeps import Sweep
from ..sweeps.axes import is_plain, text
from .common import spaced

# What `--set` gives a number, a word, True, False or None, beside the arguments of a descent.
SETTINGS = (
    *("seeds", "key", "t1", "ts", "rtol", "max_steps", "solver", "formulation"),
    *("chunk", "block", "compress"),
)
STEPS = ("steps", "learning_rate", "momentum", "nesterov", "batch", "label_noise", "dt")
FREE = ("solver", "formulation", "compress", "nesterov", "ts")  # of the others, all are numbers
INTEGERS = ("seeds", "key", "max_steps", "chunk", "block", "steps", "batch")
WORDS = {"true": True, "false": False, "none": None}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A sweep, a solution, or a function that makes one, under the name that it has in a file."""

    name: str
    value: Any

    def changed(self, settings: Sequence[str]) -> "Experiment":
        """The experiment with settings NAME=VALUE[,VALUE ...] changed.

        They go to the arguments of a function, and from what it does not take to its sweep.
        """
        if not settings:
            return self
        pairs = [_pair(setting) for setting in settings]
        if isinstance(self.value, Sweep):
            return Experiment(self.name, _changed(self.value, pairs))
        if isinstance(self.value, Solution):
            raise ValueError(
                f"{self.name!r} is solved where its file is loaded, so {settings[0]!r} comes too "
                "late: make it a function with arguments."
            )
        function, arguments, rest = self.value, {}, []
        known = inspect.signature(function).parameters
        for name, said in pairs:
            if name in known:
                values = _values(said)
                arguments[name] = values[0] if len(values) == 1 else values
            else:
                rest.append((name, said))

        def make() -> Any:
            made = function(**arguments)
            if rest and not isinstance(made, Sweep):
                has = ", ".join(known) or "none"
                raise ValueError(f"{self.name!r} has no argument {rest[0][0]!r}: it has {has}.")
            return _changed(made, rest)

        return Experiment(self.name, make)

    def made(self) -> Sweep | Solution:
        """The sweep, or the solution, for which a function is called."""
        if isinstance(self.value, (Sweep, Solution)):
            return self.value
        made = self.value()
        if not isinstance(made, (Sweep, Solution)):
            raise ValueError(
                f"{self.name!r} returned an object of type {type(made).__name__}: return a "
                "jf.Sweep, or the Solution of a flow or a descent."
            )
        return made


def find(target: str) -> list[Experiment]:
    """The experiments of FILE or FILE:NAME.

    Those of a file are its sweeps and solutions at top level, and its functions that are annotated
    to return one and need no arguments. A name may be that of any function that needs none.
    """
    path, colon, name = target.rpartition(":")
    if not colon or target.endswith(".py"):
        path, name = target, ""
    module = load_file(path)
    found = _experiments(module)
    if not name:
        if not found:
            able = [n for n, v in vars(module).items() if _callable(v, module)]
            more = f", or name a function of it: {path}:{able[0]}" if able else ""
            raise ValueError(
                f"{path} has no experiment: assign a jf.Sweep, or the Solution of a flow or a "
                f"descent, to a name at its top level{more}."
            )
        return list(found.values())
    value = vars(module).get(name)
    if isinstance(value, (Sweep, Solution)) or _callable(value, module):
        return [Experiment(name, value)]
    known = ", ".join(found) or "none"
    raise ValueError(f"{path} has no experiment {name!r}; its experiments: {known}.")


def _experiments(module: ModuleType) -> dict[str, Experiment]:
    found: dict[int, Experiment] = {}
    for name, value in vars(module).items():
        if name.startswith("_") or id(value) in found:
            continue
        if isinstance(value, (Sweep, Solution)) or (_callable(value, module) and _returns(value)):
            found[id(value)] = Experiment(name, value)
    return {experiment.name: experiment for experiment in found.values()}


def _callable(value: Any, module: ModuleType) -> bool:
    """Whether a value is a function of this file that can be called without arguments."""
    if not inspect.isfunction(value) or value.__module__ != module.__name__:
        return False
    given = inspect.signature(value).parameters.values()
    loose = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in loose for p in given)


def _returns(function: Callable[..., Any]) -> bool:
    """Whether a function is annotated to return a sweep or a solution."""
    try:
        returned = typing.get_type_hints(function).get("return")
    except Exception:  # an annotation may name what is not there
        return False
    return isinstance(returned, type) and issubclass(returned, (Sweep, Solution))


def _pair(setting: str) -> tuple[str, str]:
    name, equals, said = setting.partition("=")
    if not name.strip() or not equals or not said.strip():
        raise ValueError(f"--set takes NAME=VALUE or NAME=VALUE,VALUE, got {setting!r}.")
    return name.strip(), said.strip()


def _changed(sweep: Sweep, pairs: Sequence[tuple[str, str]]) -> Sweep:
    """The sweep with axes or settings changed; what is neither becomes an axis."""
    for name, said in pairs:
        over = {n: dict(zip(sweep.labels[n], v, strict=True)) for n, v in sweep.axes.items()}
        kinds = [*SETTINGS, *(STEPS if sweep.descent is not None else ())]
        try:
            values = _values(said)
            single = len(values) == 1 and name not in over
            if name in over:
                over[name] = _axis(name, values, over[name])
                sweep = sweep.replace(over=over)
            elif name == "ts":
                sweep = sweep.replace(ts=values)
            elif not (single and name in kinds):
                sweep = sweep.replace(over={**over, name: values})
            elif name in STEPS:
                sweep = sweep.replace(
                    descent={**(sweep.descent or {}), name: _number(name, values[0])}
                )
            else:
                sweep = sweep.replace(**{name: _number(name, values[0])})
        except (ValueError, TypeError) as error:
            there = f" The axes are {', '.join(over) or 'none'}; the settings {', '.join(kinds)}."
            there = "" if name in (*over, *kinds) else there
            raise ValueError(f"{name}={said}: {error}{there}") from None
    return sweep


def _axis(name: str, values: list[Any], held: Mapping[Any, Any]) -> dict[Any, Any]:
    """The values of an axis by label: some that it has, by their labels, or new plain ones."""
    known = {text(label): label for label in held}
    numbers = all(isinstance(v, (int, float)) for v in held.values())
    whole = all(isinstance(v, int) for v in held.values())
    out = {}
    for value in values:
        if whole and isinstance(value, float) and value.is_integer():
            value = int(value)
        if text(value) in known:
            label = known[text(value)]
            out[label] = held[label]
        elif isinstance(value, (int, float)) if numbers else all(map(is_plain, held.values())):
            out[value] = value
        else:
            what = "takes numbers" if numbers else f"has {', '.join(known)}"
            raise ValueError(f"The axis {name!r} {what}, not {value!r}.")
    return out


def _number(name: str, value: Any) -> Any:
    """The value of a setting, if it is of its kind; where an integer is meant, 1e4 is 10000."""
    if name in FREE or value is None:
        return value
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{name} takes a number.")
    if name in INTEGERS and not float(value).is_integer():
        raise ValueError(f"{name} takes an integer.")
    return int(value) if name in INTEGERS else value


def _values(said: str) -> list[Any]:
    """The values of "64,1024", "64:4096:7" (logarithmically spaced), "(0.1,0.2)" or "tanh,relu"."""
    try:
        return list(ast.literal_eval(f"[{said}]"))
    except (ValueError, SyntaxError):
        pass
    if re.fullmatch(r"[\d.eE+-]+:[\d.eE+-]+(:\d+)?", said):
        return spaced(*map(ast.literal_eval, said.split(":")))
    return [WORDS.get(word.strip().lower(), word.strip()) for word in said.split(",")]


def beside(path: Path, name: str, several: bool) -> Path:
    """The path of one of several experiments: out.png becomes out-NAME.png."""
    return path.with_name(f"{path.stem}-{name}{path.suffix}") if several else path
