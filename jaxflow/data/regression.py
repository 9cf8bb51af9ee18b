"""The regression problem, and what its spectrum says about it."""

import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from ..machine.arguments import instance, number
from .arrays import canonical, traced


def warn_if_rounded(*values: ArrayLike, stacklevel: int) -> None:
    """Warn, once for all `values`, if JAX will keep float64 ones in single precision only."""
    if jax.dtypes.canonicalize_dtype(np.float64) == np.float32 and any(
        np.asarray(value).dtype == np.float64 for value in values
    ):
        warnings.warn(
            "float64 data is being rounded to float32: call "
            "jax.config.update('jax_enable_x64', True) first to keep double precision.",
            stacklevel=stacklevel + 1,
        )


class Regression(eqx.Module):
    r"""Multivariate least squares, `L = 1/2 ||Y - f(X)||_F^2`, with its spectrum.

    With the economy singular value decomposition `X = W S Phi^T`, where
    `S = diag(s_1 >= ... >= s_r > 0)` and `r = rank(X)`, a linear predictor `x -> Theta^T x` has

        `L(Theta) = 1/2 ||W^T Y - S Phi^T Theta||_F^2 + L*`,  `L* = 1/2 ||(I - W W^T) Y||_F^2`.

    Nothing is assumed about the sizes: X may be rank deficient, n > D, and m > r.

    **Arguments:**

    - `X`: inputs, one row per sample, shape `(n, D)`; a vector is one feature.
    - `Y`: targets, shape `(n, m)`, or `(n,)` for one target.
    - `rank_tolerance`: singular values at or below `rank_tolerance * s_1` count as zero. Default
      `max(n, D) * eps` of X's dtype, the threshold of `numpy.linalg.matrix_rank`. Directions that
      count as zero are left out of the span: their loss is part of `optimal_loss`.
    - `classes`: the names of the classes that one-hot targets stand for, one per column of Y, or
      two names for one column of -1 (the first) and +1 (the second).

    **Attributes:** `X`, `Y`, and

    - `left`: W, shape `(n, r)`; `right`: Phi, shape `(D, r)`; both with orthonormal columns.
    - `singular_values`: `s`, shape `(r,)`, decreasing. (Min et al. write `Sigma_x = S^2`.)
    - `targets`: `W^T Y`, shape `(r, m)`.
    - `optimal_loss`: L*, the least loss of any linear predictor.
    - `repeats`, shape `(n,)`: for each sample the first one with the same input.
    - `classes`: as given, a tuple of names, or None.

    **Derivatives:** Y may be traced, so that `jax.grad(lambda a: f(Regression(X, a * Y)))` and
    `vmap` over targets are right. X may not, since its rank decides shapes. Fields cannot be
    replaced one by one, since most are computed from X and Y: build a new `Regression`.

    **Raises:** `ValueError` for shapes that do not fit, entries that are not finite, missing or
    not plain numbers (masks, units, sparse matrices), X = 0, X built under a JAX transformation,
    and numbers so large or small that the squares of the singular values, which are the rates of
    the flow, leave the range of the dtype.

    **Example:**

    >>> import jaxflow as jf
    >>> data = jf.Regression([[2.0, 0.0], [0.0, 1.0]], [2.0, 3.0])
    >>> data
    Regression(n=2, D=2, m=1, rank=2, condition=4, L*=0)
    >>> data.min_norm.tolist()
    [[1.0], [3.0]]
    """

    _X: Float[Array, "n D"]
    _Y: Float[Array, "n m"]
    left: Float[Array, "n r"]
    singular_values: Float[Array, " r"]
    right: Float[Array, "D r"]
    _targets: Float[Array, "r m"]
    _optimal_loss: Float[Array, ""]
    repeats: Int[Array, " n"]
    classes: Any = eqx.field(static=True)  # a tuple of names, or None

    def __init__(
        self,
        X: ArrayLike,
        Y: ArrayLike,
        *,
        rank_tolerance: float | None = None,
        classes: Any = None,
    ):
        x, y = canonical("X", X), traced("Y", Y)
        warn_if_rounded(X, Y, stacklevel=4)  # two of the frames are Equinox's
        if len(x) != len(y):
            raise ValueError(
                f"X has {len(x)} rows and Y has {len(y)}: they must have one row per sample each."
            )
        dtype = np.result_type(x, y.dtype)
        if rank_tolerance is None:
            rank_tolerance = max(x.shape) * float(np.finfo(x.dtype).eps)
        number("rank_tolerance", rank_tolerance, "lie in [0, 1)", lambda x: 0 <= x < 1)
        left, s, right = _decomposition(x, rank_tolerance, dtype)
        self._X, self._Y = jnp.asarray(x, dtype), jnp.asarray(y, dtype)
        self.left = jnp.asarray(left, dtype)
        self.singular_values = jnp.asarray(s, dtype)
        self.right = jnp.asarray(right, dtype)
        first: dict[bytes, int] = {}
        repeats = [first.setdefault(row.tobytes(), i) for i, row in enumerate(x + 0.0)]
        self.repeats = jnp.asarray(np.asarray(repeats, np.int32))
        if isinstance(y, np.ndarray):
            # In double precision whatever the dtype.
            wide = y.astype(np.float64)
            known = left.T @ wide
            with np.errstate(over="ignore"):
                least = np.asarray(0.5 * np.sum((wide - left @ known) ** 2))
                if not np.isfinite(np.sum(y.astype(dtype) ** 2)):
                    raise ValueError(
                        f"Y is so large, up to {np.abs(y).max():.1g}, that its loss is beyond "
                        f"the range of {dtype}: divide Y by that number."
                    )
            targets, loss = jnp.asarray(known, dtype), jnp.asarray(least, dtype)
        else:
            targets = _times(self.left.T, self._Y)
            loss = 0.5 * jnp.sum((self._Y - _times(self.left, targets)) ** 2)
        self._targets, self._optimal_loss = targets, loss
        instance("classes", classes, Sequence | np.ndarray | None, "a list of names")
        self.classes = None if classes is None else tuple(map(str, classes))

    def __check_init__(self):
        m = self._Y.shape[-1]
        if self.classes is not None and len(self.classes) != (2 if m == 1 else m):
            raise ValueError(
                f"classes names {len(self.classes)} classes for {m} target"
                f"{'s' * (m > 1)}: give one name per target, or two for one target of -1 and +1."
            )

    @property
    def X(self) -> Any:
        """The inputs (n, D), one row per sample."""
        return _given(self._X, "X")

    @property
    def Y(self) -> Any:
        """The targets (n, m), one row per sample."""
        return _given(self._Y, "Y")

    @property
    def targets(self) -> Any:
        """`W^T Y` (r, m), the targets of the modes."""
        return _given(self._derived()[0], "targets")

    @property
    def optimal_loss(self) -> Any:
        """L*, the least loss of any linear predictor."""
        return _given(self._derived()[1], "optimal_loss")

    def _derived(self) -> Any:
        stored = self._targets, self._optimal_loss
        if not isinstance(self._Y, jax.Array | np.ndarray):
            return stored  # a tree of something else, such as a filter mask
        return _following(*stored, self.left, self._Y)

    @staticmethod
    def of_spectrum(
        singular_values: Float[Array, " r"],
        targets: Float[Array, "r m"],
        *,
        features: int | None = None,
    ) -> "Regression":
        """The problem `X = [diag(s), 0]`, `Y = targets`, of n = r samples and L* = 0.

        Every problem with L* = 0 has this form, up to rotations of samples and inputs. Its rank is
        known beforehand, so that it can be built under any JAX transformation.

        **Arguments:** `singular_values`, positive and decreasing; `targets`; the number of
        `features` D >= r, default r.
        """
        r, dtype = singular_values.shape[-1], singular_values.dtype
        D = r if features is None else features
        if r > D or targets.shape[0] != r:
            raise ValueError(
                f"{r} singular values need {r} rows of targets and at least {r} features, got "
                f"{targets.shape[0]} and {D}."
            )
        fields = {
            "_X": jnp.pad(jnp.diag(singular_values), ((0, 0), (0, D - r))),
            "_Y": targets,
            "left": jnp.eye(r, dtype=dtype),
            "singular_values": singular_values,
            "right": jnp.eye(D, r, dtype=dtype),
            "_targets": targets,
            "_optimal_loss": jnp.zeros((), dtype),
            "repeats": jnp.arange(r, dtype=np.int32),
            "classes": None,
        }
        data = object.__new__(Regression)
        for name, value in fields.items():
            object.__setattr__(data, name, value)
        return data

    def rotated(self) -> "Regression":
        """The problem in rotated inputs, without inputs that no compressed network needs.

        The span comes first: `X = [W S, 0]`, `right = [I; 0]`. Of the D - r inputs off the span
        m + r are kept at most, the largest rank that the weights of a compressed network can have
        there.
        """
        rest = min(self.features - self.rank, self.outputs + self.rank)
        X = jnp.pad(self.left * self.singular_values[None, :], ((0, 0), (0, rest)))
        right = jnp.eye(self.rank + rest, self.rank, dtype=self.X.dtype)
        return eqx.tree_at(lambda data: (data._X, data.right), self, (X, right))

    def __repr__(self) -> str:
        if not isinstance(self._Y, jax.Array | np.ndarray):
            return object.__repr__(self)  # a tree of something else, such as a filter mask
        sizes = f"n={self.samples}, D={self.features}, m={self.outputs}, rank={self.rank}"
        if isinstance(self.Y, jax.core.Tracer) or self.Y.ndim > 2:
            return f"Regression({sizes})"
        loss = float(self.optimal_loss)
        return f"Regression({sizes}, condition={float(self.condition):.3g}, L*={loss:.3g})"

    @property
    def samples(self) -> int:
        """n, the number of rows of X."""
        return self.X.shape[-2]

    @property
    def features(self) -> int:
        """D, the input dimension."""
        return self.X.shape[-1]

    @property
    def outputs(self) -> int:
        """m, the number of targets."""
        return self.Y.shape[-1]

    @property
    def rank(self) -> int:
        """r, the numerical rank of X."""
        return self.singular_values.shape[-1]

    @property
    def condition(self) -> Float[Array, ""]:
        """`(s_1 / s_r)^2`, the condition number of `X^T X` on the data's span."""
        return (self.singular_values[0] / self.singular_values[-1]) ** 2

    @property
    def span_rows(self) -> Float[Array, "r D"]:
        """`W^T X = S Phi^T`, the inputs of the r modes."""
        return self.singular_values[:, None] * self.right.T

    @property
    def span_solution(self) -> Float[Array, "r m"]:
        """`S^-1 W^T Y`, the coordinates in `right` of every minimizer of the loss."""
        return self.targets / self.singular_values[:, None]

    @property
    def min_norm(self) -> Float[Array, "D m"]:
        """The min-norm solution `Phi S^-1 W^T Y`: the minimizer of least Frobenius norm."""
        return self.right @ self.span_solution

    @property
    def means(self) -> Float[Array, "n m"]:
        """For each sample the mean target of all with its input: no function of x fits better."""

        def total(values: Array) -> Array:
            return jax.ops.segment_sum(values, self.repeats, self.samples)[self.repeats]

        return total(self.Y) / total(jnp.ones((self.samples, 1), self.Y.dtype))

    @property
    def best_fit(self) -> Float[Array, "n m"]:
        """`W W^T Y`: the predictions of every linear minimizer."""
        return self.left @ self.targets


def problem(data: Any) -> Regression:
    """The data; `ValueError` unless it is a `Regression`."""
    return instance("data", data, Regression, "a jf.Regression(X, Y)")


def _decomposition(
    x: np.ndarray, rank_tolerance: float, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W, s and Phi of rank r, in double precision whatever the dtype of x."""
    wide = x.astype(np.float64, copy=False)
    largest = np.abs(wide).max()
    if largest == 0:
        raise ValueError("X is zero: there is nothing to learn from it.")
    # The decomposition squares entries: they must not overflow there.
    unit = 1.0 if 1e-100 < largest < 1e100 else largest
    left, s, right = np.linalg.svd(wide / unit if unit != 1 else wide, full_matrices=False)
    rank = int(np.count_nonzero(s > rank_tolerance * s[0]))
    s = s[:rank]
    low, high = 2 * (np.log10(s[[-1, 0]]) + np.log10(unit))
    if high > np.log10(np.finfo(dtype).max) or low < np.log10(np.finfo(dtype).tiny):
        raise ValueError(
            f"The squares of the singular values of X, which are the rates of the flow, range from "
            f"1e{low:.0f} to 1e{high:.0f}, beyond {dtype}: divide X by its size, {largest:.0e}"
            + (", or raise rank_tolerance." if high - low > 30 else ".")
        )
    return left[:, :rank], s * unit, right[:rank].T


def _times(A: Float[Array, "a b"], B: Float[Array, "b c"]) -> Float[Array, "a c"]:
    return jnp.matmul(A, B, precision="highest")


@jax.custom_jvp
def _following(targets: Array, optimal_loss: Array, left: Array, Y: Array) -> tuple[Array, Array]:
    """The stored `W^T Y` and L*; their derivatives are those of functions of Y."""
    return targets, optimal_loss


def _following_jvp(primals: Any, tangents: Any) -> Any:
    targets, optimal_loss, left, Y = primals
    dtargets, dloss, _, dY = tangents
    if not isinstance(dY, jax.custom_derivatives.SymbolicZero):
        dtargets = _times(left.T, dY)
        dloss = jnp.sum((Y - _times(left, targets)) * dY)
    return (targets, optimal_loss), (dtargets, dloss)


_following.defjvp(_following_jvp, symbolic_zeros=True)


def _given(values: Any, name: str) -> Any:
    """X or Y as stored; `ValueError` where `equinox.tree_at` asks for it, to replace it alone."""
    if type(values).__module__.startswith("equinox"):
        raise ValueError(
            f"{name} of a Regression cannot be replaced alone, since its singular values, targets "
            "and optimal loss would not follow: build a new one, jf.Regression(X, Y)."
        )
    return values
