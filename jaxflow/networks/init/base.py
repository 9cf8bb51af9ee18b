"""The base class of laws of initialization, and the checks that they share."""

from typing import Any, ClassVar

import equinox as eqx
import jax

from ...data import Regression
from ...machine.arguments import integer, positive, shown
from ..base import compress, rotate


class Initialization(eqx.Module):
    """A law of random networks: `law(key, data, width=h)` draws one.

    The key is a JAX key, or an integer seed.

    A subclass defines `__call__`, and where it can do better than the defaults `compressed` and
    `rotated`.
    """

    # Whether the shapes in `compressed` and `rotated` do not depend on a width of at least m + r.
    # The width may then be an array, and one compiled program serves all such widths.
    width_free: ClassVar[bool] = False
    # Whether `rotated` exists, which it does for predictors that are linear in the inputs.
    rotates: ClassVar[bool] = True

    def bucket(self, width: int, data: Regression) -> dict[str, Any] | None:
        """Static arguments of a call in which the width is an array, or None if it cannot be one.

        Widths with the same bucket are drawn by one compiled program.
        """
        free = type(self).width_free and width >= data.rank + data.outputs
        return {} if free else None

    def __call__(self, key: Any, data: Regression, *_: Any, **arguments: Any) -> Any:
        raise NotImplementedError

    def compressed(self, key: Any, data: Regression, *_: Any, **arguments: Any) -> Any:
        """A draw of the compressed network, of width at most m + r (see `jf.compress`).

        Its trajectory has exactly the law of that of a network of the full width. Where the law of
        the compressed network is known, it is drawn directly.
        """
        return compress(self(key, data, **arguments), data)

    def rotated(self, key: Any, data: Regression, *_: Any, **arguments: Any) -> Any:
        """A draw of the compressed network in rotated inputs, for `data.rotated()`.

        Where its law is known, it is drawn directly, without an array of the size of D.
        """
        return rotate(self.compressed(key, data, **arguments), data)


def width_or_array(width: Any, least: int = 1, why: str = "") -> Any:
    """The width as it is if it is an array (see `width_free`), else as `integer_width`."""
    return width if isinstance(width, jax.Array) else integer_width(width, least, why)


def integer_width(width: Any, least: int = 1, why: str = "") -> int:
    """The width as an `int`; raise `ValueError` unless it is one, and at least `least`."""
    width = integer("width", width)
    if width < least:
        raise ValueError(f"width must be at least {least} here, got {width}: {why}.")
    return width


def pair(scale: Any) -> None:
    """Raise `ValueError` unless the scale is a pair of positive numbers."""
    if not isinstance(scale, tuple) or len(scale) != 2:
        raise ValueError(f"scale must be a pair (su, sv), got {shown(scale)}.")
    for name, value in zip(("scale su", "scale sv"), scale, strict=True):
        positive(name, value)
