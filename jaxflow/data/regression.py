"""The regression problem, and what its spectrum says about it."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike


def canonical(name: str, values: ArrayLike) -> np.ndarray:
    """`values` as a NumPy matrix of finite floats, in the dtype that JAX will keep."""
    if isinstance(values, jax.core.Tracer):
        raise ValueError(
            f"{name} is being traced, but its numerical rank decides array shapes: "
            "build the Regression outside jit, vmap and grad, and pass it in."
        )
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}.")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name} must be a non-empty matrix with one row per sample, got shape {array.shape}."
        )
    wanted = array.dtype if array.dtype.kind == "f" else np.dtype(np.float64)
    # JAX decomposes matrices of these two dtypes only.
    wanted = np.dtype(np.float32 if wanted.itemsize <= 4 else np.float64)
    array = array.astype(jax.dtypes.canonicalize_dtype(wanted))
    bad = int(np.size(array) - np.isfinite(array).sum())
    if bad:
        raise ValueError(
            f"{name} has {bad} NaN or infinite entries: remove or impute those rows first."
        )
    return array


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

    **Attributes:** `X`, `Y`, and

    - `left`: W, shape `(n, r)`; `right`: Phi, shape `(D, r)`; both with orthonormal columns.
    - `singular_values`: `s`, shape `(r,)`, decreasing. (Min et al. write `Sigma_x = S^2`.)
    - `targets`: `W^T Y`, shape `(r, m)`.
    - `optimal_loss`: L*, the least loss of any linear predictor.

    **Raises:** `ValueError` for shapes that do not fit, entries that are not finite, X = 0, or
    construction under a JAX transformation (the rank decides shapes).

    **Example:**

    >>> import jaxflow as jf
    >>> data = jf.Regression([[2.0, 0.0], [0.0, 1.0]], [2.0, 3.0])
    >>> data
    Regression(n=2, D=2, m=1, rank=2, condition=4, L*=0)
    >>> data.min_norm.tolist()
    [[1.0], [3.0]]
    """

    X: Float[Array, "n D"]
    Y: Float[Array, "n m"]
    left: Float[Array, "n r"]
    singular_values: Float[Array, " r"]
    right: Float[Array, "D r"]
    targets: Float[Array, "r m"]
    optimal_loss: Float[Array, ""]

    def __init__(self, X: ArrayLike, Y: ArrayLike, *, rank_tolerance: float | None = None):
        x, y = canonical("X", X), canonical("Y", Y)
        warn_if_rounded(X, Y, stacklevel=4)  # two of the frames are Equinox's
        if len(x) != len(y):
            raise ValueError(
                f"X has {len(x)} rows and Y has {len(y)}: they must have one row per sample each."
            )
        dtype = np.result_type(x, y)
        if rank_tolerance is None:
            rank_tolerance = max(x.shape) * float(np.finfo(x.dtype).eps)
        if not 0 <= rank_tolerance < 1:
            raise ValueError(f"rank_tolerance must lie in [0, 1), got {rank_tolerance}.")
        # In double precision whatever the dtype.
        wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
        left, s, right = np.linalg.svd(wide_x, full_matrices=False)
        rank = int(np.count_nonzero(s > rank_tolerance * s[0])) if s[0] > 0 else 0
        if rank == 0:
            raise ValueError("X is zero: there is nothing to learn from it.")
        left, s, right = left[:, :rank], s[:rank], right[:rank].T
        targets = left.T @ wide_y
        self.X, self.Y = jnp.asarray(x, dtype), jnp.asarray(y, dtype)
        self.left = jnp.asarray(left, dtype)
        self.singular_values = jnp.asarray(s, dtype)
        self.right = jnp.asarray(right, dtype)
        self.targets = jnp.asarray(targets, dtype)
        self.optimal_loss = jnp.asarray(0.5 * np.sum((wide_y - left @ targets) ** 2), dtype)

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
            "X": jnp.pad(jnp.diag(singular_values), ((0, 0), (0, D - r))),
            "Y": targets,
            "left": jnp.eye(r, dtype=dtype),
            "singular_values": singular_values,
            "right": jnp.eye(D, r, dtype=dtype),
            "targets": targets,
            "optimal_loss": jnp.zeros((), dtype),
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
        return eqx.tree_at(lambda data: (data.X, data.right), self, (X, right))

    def __repr__(self) -> str:
        if not isinstance(self.Y, jax.Array | np.ndarray):
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
    def best_fit(self) -> Float[Array, "n m"]:
        """`W W^T Y`: the predictions of every linear minimizer."""
        return self.left @ self.targets
