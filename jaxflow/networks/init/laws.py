"""Laws of weights and biases: draws, densities, and expectations by quadrature."""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.integrate import quad_vec
from scipy.special import gammaln, xlogy

from ...machine.arguments import positive

FAR = (1e6, 1e12)  # |x g(x)| must fall between these points, else the integral diverges


class Law(eqx.Module):
    """A symmetric law of real numbers. A subclass defines `sample`, `density` and `support`."""

    @abc.abstractmethod
    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
        """Independent draws, an array of this shape."""

    def vectors(self, key: PRNGKeyArray, size: int, dtype: Any) -> Float[Array, " size"]:
        """A random vector of R^size: of independent entries, unless a subclass says otherwise."""
        return self.sample(key, (size,), dtype)

    def density(self, x: Any) -> Any:
        """The probability density at x."""
        raise ValueError(
            f"{type(self).__name__} has no density: use a law that has one, such as Uniform."
        )

    @property
    def support(self) -> float:
        """The least a with |x| <= a for all draws; it may be infinite."""
        return math.inf

    @property
    def reach(self) -> float:
        """The end of the range of quadrature: what lies beyond is below rounding."""
        return self.support

    def expect(self, g: Callable[[float], Any], breaks: Sequence[float] = ()) -> Any:
        """`E g(x)`, by adaptive quadrature on pieces that end at zero and at the `breaks` of g."""
        end = self.reach
        inside = sorted({abs(float(b)) for b in breaks if 0 < abs(b) < end})
        points = [-b for b in reversed(inside)] + [0.0] + inside
        density = self.density  # a module binds its methods anew each time
        return self._integral(lambda x: g(x) * float(density(np.asarray(x))), -end, end, points)

    def _integral(
        self, g: Callable[[float], Any], start: float, end: float, points: Sequence[float]
    ) -> Any:
        """`int g(x) dx`, by adaptive quadrature on pieces that end at the `points`."""

        def weighted(x: float) -> Any:
            return np.asarray(g(np.float64(x)))

        with np.errstate(over="ignore", invalid="ignore"):  # the result is checked below
            value, error = quad_vec(
                weighted, start, end, points=points, epsabs=1e-300, epsrel=1e-12
            )
            # Quadrature on an infinite range returns a number even if the integral diverges.
            near, far = (np.max(np.abs(x * weighted(x))) for x in FAR)
        heavy = math.isinf(end) and not far <= near / 2
        if heavy or not np.all(np.isfinite(value)) or np.max(error) > 1e-6 * np.max(np.abs(value)):
            raise ValueError(
                f"An expectation under {self} does not exist, or quadrature does not find it: use "
                "a law with lighter tails."
            )
        return value

    def radius(self, g: Callable[[float], Any], size: int, breaks: Sequence[float] = ()) -> Any:
        """`E g(|x|)` for a random vector x of R^size, if its direction is uniform."""
        if size == 1:
            return self.expect(lambda x: g(abs(x)), breaks)
        raise ValueError(
            f"The directions of vectors with {type(self).__name__} entries are not uniform: use "
            "Normal or Sphere weights in more than one dimension."
        )


class Uniform(Law):
    """Uniform on `[-bound, bound]`."""

    bound: float | Float[Array, ""] = 1.0

    def __check_init__(self):
        positive("bound", self.bound)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
        return jnp.asarray(self.bound, dtype) * jr.uniform(key, shape, dtype, -1, 1)

    def density(self, x: Any) -> Any:
        return np.where(np.abs(x) <= float(self.bound), 0.5 / float(self.bound), 0.0)

    @property
    def support(self) -> float:
        return float(self.bound)


class Normal(Law):
    """`N(0, std^2)`."""

    std: float | Float[Array, ""] = 1.0

    def __check_init__(self):
        positive("std", self.std)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
        return jnp.asarray(self.std, dtype) * jr.normal(key, shape, dtype)

    def density(self, x: Any) -> Any:
        s = float(self.std)
        return np.exp(-0.5 * (x / s) ** 2) / (s * math.sqrt(2 * math.pi))

    @property
    def reach(self) -> float:
        return 13 * float(self.std)

    def radius(self, g: Callable[[float], Any], size: int, breaks: Sequence[float] = ()) -> Any:
        # |x| / s has the chi distribution, which lies within 13 of sqrt(size) but for rounding.
        s, middle = float(self.std), math.sqrt(size)
        start, end = s * max(middle - 13, 0.0), s * (middle + 13)
        log_unit = (size / 2 - 1) * math.log(2) + float(gammaln(size / 2)) + math.log(s)

        def weighted(x: float) -> Any:
            log_density = float(xlogy(size - 1, x / s)) - 0.5 * (x / s) ** 2 - log_unit
            return np.asarray(g(x)) * math.exp(log_density)

        points = sorted({abs(float(b)) for b in breaks if start < abs(b) < end} | {s * middle})
        return self._integral(weighted, start, end, points)


class Sphere(Law):
    """Vectors uniform on the sphere of radius `size`; in one dimension `size` or `-size`."""

    size: float | Float[Array, ""] = 1.0

    def __check_init__(self):
        positive("size", self.size)

    def sample(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
        return jnp.asarray(self.size, dtype) * jr.rademacher(key, shape, dtype)

    def vectors(self, key: PRNGKeyArray, size: int, dtype: Any) -> Float[Array, " size"]:
        if size == 1:
            return self.sample(key, (1,), dtype)
        x = jr.normal(key, (size,), dtype)
        return jnp.asarray(self.size, dtype) * x / jnp.linalg.norm(x)

    @property
    def support(self) -> float:
        return float(self.size)

    def expect(self, g: Callable[[float], Any], breaks: Sequence[float] = ()) -> Any:
        return 0.5 * (np.asarray(g(float(self.size))) + np.asarray(g(-float(self.size))))

    def radius(self, g: Callable[[float], Any], size: int, breaks: Sequence[float] = ()) -> Any:
        return np.asarray(g(float(self.size)))
