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

    def __call__(self, key: PRNGKeyArray, data: Regression, *, width: int) -> Any:
        raise NotImplementedError

    def compressed(self, key: PRNGKeyArray, data: Regression, *, width: Any, **more: Any) -> Any:
        """A draw from the same law up to rotation of the hidden units, at width <= m + r.

        The law of every trajectory is that of width h exactly: `jf.compress` of a draw, or where
        the law is known in closed form a draw of the compressed network itself.
        """
        return compress(self(key, data, width=width, **more), data)

    def rotated(self, key: PRNGKeyArray, data: Regression, *, width: Any, **more: Any) -> Any:
        """`compressed`, up to rotation of the inputs: a network on `data.rotated()`.

        Where the law is known in closed form, no array of the size of D is made.
        """
        return rotate(self.compressed(key, data, width=width, **more), data)


def free(width: Any, least: int, why: str) -> Any:
    if isinstance(width, jax.Array):  # known to be large enough: see `width_free`
        return width
    return whole(width, least, why)


def whole(width: Any, least: int, why: str) -> int:
    if isinstance(width, Tracer) or int(width) != width:
        raise ValueError(f"width must be a plain integer, got {width!r}.")
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}.")
    if width < least:
        raise ValueError(f"width must be at least {least} here, got {width}: {why}.")
    return int(width)


def positive(name: str, value: Any) -> None:
    if not isinstance(value, Tracer) and not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a positive number, got {value}.")


def pair(scale: Any) -> None:
    if not isinstance(scale, tuple) or len(scale) != 2:
        raise ValueError(f"scale must be a pair (su, sv), got {scale!r}.")
    for name, value in zip(("scale su", "scale sv"), scale, strict=True):
        positive(name, value)
