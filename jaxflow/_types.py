"""Names for what signatures are about, where Python's own types say too little."""

from typing import Any

from jaxtyping import Array, PyTree

# A network: any Equinox module that is called as `network(x: (D,)) -> (m,)`.
Network = Any
# A law of initialization, called as `law(key, data, **arguments) -> network`.
Law = Any
# The state of a formulation: a pytree of arrays.
State = PyTree[Array]
# A flow time: a number, or an array of shape ().
Time = Any
# How large the settings of a claim are: "quick", "paper" or "large".
Preset = str
