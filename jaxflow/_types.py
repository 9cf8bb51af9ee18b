"""Aliases that every room uses in signatures, for arguments whose class is left open."""

from typing import Any, TypeAlias

Network: TypeAlias = Any
"""An Equinox module that is called as `network(x)`, x of shape (D,), and returns shape (m,)."""

Law: TypeAlias = Any
"""A law of initialization: `law(key, data, ...)` draws a network. See `networks.init`."""

State: TypeAlias = Any
"""A pytree of arrays that a solver carries from step to step."""

Time: TypeAlias = Any
"""A flow time: a number, or an array of shape ()."""

Preset: TypeAlias = str
"""The size of a claim's settings: "quick", "paper" or "large"."""
