"""What a law of initialization is, and the checks that laws share."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
from jax.core import Tracer
from jaxtyping import PRNGKeyArray

from ...data import Regression
from ..base import compress, rotate


class Initialization(eqx.Module):
    """A law of random networks: `law(key, data, width=h)` draws one."""

    # Whether `compressed` and `rotated` make no array of the size of the width, and take an array
    # for it that is known to be at least m + r: one program then serves all such widths.
    width_free: ClassVar[bool] = False
    # Whether there is a rotated form: of predictors that are linear in the inputs.
    rotates: ClassVar[bool] = True

    def bucket(self, width: int, data: Regression) -> dict[str, Any] | None:
        """Arguments beside which the width may be an array: one program serves all that share them.

        None where every width needs a program of its own.
        """
        free = type(self).width_free and width >= data.rank + data.outputs
        return {} if free else None

    def __call__(self, key: PRNGKeyArray, data: Regression, *_: Any, **arguments: Any) -> Any:
        raise NotImplementedError

    def compressed(self, key: PRNGKeyArray, data: Regression, *_: Any, **arguments: Any) -> Any:
        """A draw from the same law up to rotation of the hidden units, at width <= m + r.

        The law of every trajectory is that of width h exactly: `jf.compress` of a draw, or where
        the law is known in closed form a draw of the compressed network itself.
        """
        return compress(self(key, data, **arguments), data)

    def rotated(self, key: PRNGKeyArray, data: Regression, *_: Any, **arguments: Any) -> Any:
        """`compressed`, up to rotation of the inputs: a network on `data.rotated()`.

        Where the law is known in closed form, no array of the size of D is made.
        """
        return rotate(self.compressed(key, data, **arguments), data)


def free(width: Any, least: int, why: str) -> Any:
    """A width that may be an array; else as `whole`."""
    if isinstance(width, jax.Array):  # known to be large enough: see `width_free`
        return width
    return whole(width, least, why)


def whole(width: Any, least: int, why: str) -> int:
    """A width, if it is a plain integer and at least `least`."""
    if isinstance(width, Tracer) or int(width) != width:
        raise ValueError(f"width must be a plain integer, got {width!r}.")
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}.")
    if width < least:
        raise ValueError(f"width must be at least {least} here, got {width}: {why}.")
    return int(width)


def positive(name: str, value: Any) -> None:
    """Raise `ValueError` unless the value is a positive number."""
    if not isinstance(value, Tracer) and not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive number, got {value}.")


def pair(scale: Any) -> None:
    """Raise `ValueError` unless the scale is a pair of positive numbers."""
    if not isinstance(scale, tuple) or len(scale) != 2:
        raise ValueError(f"scale must be a pair (su, sv), got {scale!r}.")
    for name, value in zip(("scale su", "scale sv"), scale, strict=True):
        positive(name, value)
