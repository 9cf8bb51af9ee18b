"""A comparable fingerprint of a sweep: results may share a store only if it is equal."""

import re
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from ..machine.identity import Unidentified, identity, released_version
from ..machine.versions import versions
from .plan import Sweep

# The packages of which another version could change a bit of the result.
NUMERICAL = ("jaxflow-lab", "jax", "jaxlib", "diffrax", "equinox", "numpy")


def fingerprint(sweep: Sweep, chunk: int, block: int, version: str | None = None) -> dict[str, Any]:
    """The parts of a plan by name; functions and modules enter by their code (`identity`).

    With a `version` what cannot be identified enters by its class alone.

    **Raises:** `ValueError` without one, for what cannot be told from another thing of its kind.
    """

    def part(name: str, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        try:
            return {"shown": _shown(value), "is": identity(value, lenient=version is not None)}
        except Unidentified as error:
            raise ValueError(
                f"A store cannot identify {name}: {error}. Build it from functions, Equinox "
                'modules and arrays, or give run(..., version="1") and another version whenever '
                "it changes."
            ) from None

    found = versions()
    sets: dict[Any, Any] = dict(sweep.data) if isinstance(sweep.data, Mapping) else {"": sweep.data}
    descent = sweep.descent
    return {
        "axes": {
            name: [part(f"a value of the axis {name!r}", value) for value in values]
            for name, values in sweep.axes.items()
        },
        "seeds": sweep.seeds,
        "key": part("key", sweep.key),
        "compress": sweep.compress,
        "chunk": chunk,
        "block": block,
        # By X and Y, not by their decomposition.
        "data": identity([(part("a label", k), d.X, d.Y, d.rank) for k, d in sets.items()]),
        "law": part("the law", sweep.init),
        "times": part("ts", sweep.t1 if sweep.ts is None else sweep.ts),
        "measures": [part(f"the measure {m.name!r}", m) for m in sweep.measures],
        **{n: part(f"{n}=", value) for n, value in sweep.options.items() if n != "measures"},
        **({} if descent is None else {"descent": {n: part(n, v) for n, v in descent.items()}}),
        **({} if version is None else {"version": version}),
        "backend": jax.default_backend(),
        "versions": {name: found[name] for name in NUMERICAL},
    }


def _shown(value: Any) -> str:
    """A value in words, for messages."""
    if callable(value) and hasattr(value, "__qualname__"):
        own = released_version(value.__module__ or "") is None
        return value.__qualname__ if own else f"{value.__module__}.{value.__qualname__}"
    small = jax.tree.map(lambda x: np.asarray(x).tolist() if _small(x) else x, value)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(small))[:200]


def _small(x: Any) -> bool:
    return (
        eqx.is_array(x) and x.size <= 8 and not jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended)
    )


def difference(held: dict[str, Any], asked: dict[str, Any]) -> str:
    """The differences between two plans in words; empty if there are none."""
    parts = []
    for name in sorted({*held, *asked}):
        one, other = held.get(name), asked.get(name)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict) and "is" not in {**one, **other}:
            parts.append(difference(one, other))
        elif isinstance(one, str) and one.startswith("sha256:"):
            parts.append(f"another {name}")
        elif _words(one) == _words(other):
            parts.append(f"{name} is {_words(one)}, but its code or what it reads has changed")
        else:
            parts.append(f"{name} is {_words(one)} there and {_words(other)} here")
    return "; ".join(parts)


def _words(value: Any) -> str:
    if isinstance(value, dict) and "shown" in value:
        value = value["shown"]
    elif isinstance(value, list):
        value = [v["shown"] if isinstance(v, dict) and "shown" in v else v for v in value]
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
