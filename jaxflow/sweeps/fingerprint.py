"""A comparable fingerprint of a sweep: results may share a store only if it is equal."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..dynamics.measure import Measure
from ..machine.versions import versions
from .plan import Sweep

# The packages of which another version could change a bit of the result.
NUMERICAL = ("jaxflow-lab", "jax", "jaxlib", "diffrax", "equinox", "numpy")


def fingerprint(sweep: Sweep, chunk: int, block: int) -> dict[str, Any]:
    """The parts of a plan by name. Data enters by X and Y, not by its decomposition."""
    found = versions()
    described = sweep.describe()
    options = {name: value for name, value in sweep.options.items() if name != "measures"}
    sets: dict[Any, Any] = dict(sweep.data) if isinstance(sweep.data, Mapping) else {"": sweep.data}
    return {
        "axes": described["axes"],
        "seeds": sweep.seeds,
        "key": described["key"],
        "compress": sweep.compress,
        "chunk": chunk,
        "block": block,
        "data": digest({str(k): (d.X, d.Y, d.rank) for k, d in sets.items()}),
        "law": text(sweep.init),
        "times": text(sweep.t1 if sweep.ts is None else sweep.ts),
        "measures": [measure(each) for each in sweep.measures],
        **{name: text(value) for name, value in options.items()},
        **({} if sweep.descent is None else {"descent": descent(sweep)}),
        "backend": jax.default_backend(),
        "versions": {name: found[name] for name in NUMERICAL},
    }


def descent(sweep: Sweep) -> dict[str, Any]:
    """The arguments of a descent; `ValueError` for a function that its name does not identify."""
    arguments = sweep.descent or {}
    given = [*arguments.items(), *(("optimizer", v) for v in sweep.axes.get("optimizer", ()))]
    for name, value in given:
        _identified(name, repr(value))
    return {name: text(value) for name, value in arguments.items()}


def measure(measure: Measure) -> Any:
    """A measure as text; `ValueError` for a function that its name does not identify."""
    leaves = jax.tree.leaves(measure)
    _identified(f"measure {measure.name!r}", *[getattr(f, "__qualname__", "") for f in leaves])
    return text(measure)


def _identified(name: str, *shown: str) -> None:
    if any("<lambda>" in part or "<locals>" in part for part in shown):
        raise ValueError(
            f"A store cannot tell this {name} from another: give a function at the top of a "
            "module, functools.partial of one, or an Equinox module."
        )


def text(tree: Any) -> Any:
    """A value as it is if it is plain, else its class and settings as text, or a hash."""
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    leaves = jax.tree.leaves(tree)
    if any(eqx.is_array(leaf) and np.size(leaf) > 8 for leaf in leaves):
        return digest(tree)
    shown = jax.tree.map(lambda x: np.asarray(x).tolist() if eqx.is_array(x) else x, tree)
    return _plain(repr(shown))


def digest(tree: Any) -> str:
    """A hash of the leaves and of the structure of a tree."""
    leaves, structure = jax.tree.flatten(tree)
    total = hashlib.sha256(_plain(str(structure)).encode())
    for leaf in leaves:
        if eqx.is_array_like(leaf):
            array = np.asarray(leaf)
            total.update(f"{array.dtype}{array.shape}".encode())
            total.update(np.ascontiguousarray(array).tobytes())
        else:
            total.update(_plain(repr(leaf)).encode())
    return f"sha256:{total.hexdigest()}"


def _plain(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", text)  # addresses in memory differ between processes
