"""Matrices of numbers of any precision: decompositions by mpmath, or enclosed by balls."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np


def all_(rule: Callable[..., Any], *arrays: Any) -> np.ndarray:
    """The rule applied entry by entry, with broadcasting."""
    arrays = np.broadcast_arrays(*arrays)
    out = np.empty(arrays[0].shape, object)
    for index in np.ndindex(out.shape):
        out[index] = rule(*(a[index] for a in arrays))
    return out


def named(name: str) -> Callable[..., Any]:
    """mpmath's function, or for enclosures theirs."""

    def apply(x: Any, *more: Any) -> Any:
        if hasattr(x, "eigenvalues"):
            return x.apply(name, *more)
        return getattr(mpmath, name)(x, *more)

    return apply


def extreme(name: str) -> Callable[..., Any]:
    """The larger or smaller one; of enclosures an enclosure of it, whether they overlap or not."""
    plain = max if name == "max" else min

    def choose(a: Any, b: Any) -> Any:
        if a is None:
            return b
        if hasattr(a, "eigenvalues"):
            return a.apply(name, b)
        return b.apply(name, a) if hasattr(b, "eigenvalues") else plain(a, b)

    return choose


def batched(rule: Callable[..., tuple[np.ndarray, ...]]) -> Callable[..., Any]:
    """A rule for matrices, applied along leading axes."""

    def apply(equation: Any, *values: np.ndarray) -> list[np.ndarray]:
        lead = values[0].shape[:-2]
        found = [rule(equation, *(v[index] for v in values)) for index in np.ndindex(lead)]
        outs = []
        for parts in zip(*found, strict=True):
            out = np.empty((*lead, *parts[0].shape), object)
            for index, part in zip(np.ndindex(lead), parts, strict=True):
                out[index] = part
            outs.append(out)
        return outs

    return apply


def _matrix(x: np.ndarray) -> Any:
    return mpmath.matrix(x.tolist())


def _array(x: Any, shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(int(np.prod(shape)), object)
    out[:] = list(x)
    return out.reshape(shape)


def _enclosed(x: np.ndarray) -> Any:
    """A ball among the entries, if these are enclosures (`certificate`) and not mpmath's."""
    return next((v for v in x.ravel() if hasattr(v, "eigenvalues")), None)


def _eigenvalues(x: np.ndarray) -> np.ndarray:
    one = _enclosed(x)
    return _array(one.eigenvalues([one.like(v) for v in x.ravel()]), (len(x),))


def eigh(equation: Any, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Eigenvectors and ascending eigenvalues of a symmetric matrix."""
    n = len(x)
    if _enclosed(x) is not None:
        return np.full((n, n), None), _eigenvalues((x + x.T) / 2)  # vectors are not enclosed
    values, vectors = mpmath.eigsy(_matrix((x + x.T) / 2))
    return _array(vectors, (n, n)), _array(values, (n,))


def svd(equation: Any, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Singular values, and vectors if they are asked for."""
    (n, m), params = x.shape, equation.params
    k = min(n, m)
    if not params["compute_uv"] and _enclosed(x) is not None:
        squares = _eigenvalues(x @ x.T if n <= m else x.T @ x)[::-1]
        return (all_(lambda v: named("sqrt")(extreme("max")(v, mpmath.mpf(0))), squares),)
    if not params["compute_uv"]:
        return (_array(mpmath.svd_r(_matrix(x), compute_uv=False), (k,)),)
    full = params["full_matrices"]
    left, values, right = mpmath.svd_r(_matrix(x), full_matrices=full)
    p, q = (n, m) if full else (k, k)
    return _array(values, (k,)), _array(left, (n, p)), _array(right, (q, m))


def qr(equation: Any, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """The factors Q and R."""
    full = equation.params.get("full_matrices", False)
    n, m = x.shape
    k = n if full else min(n, m)
    if _enclosed(x) is not None:
        return _orthonormal(x)
    Q, R = mpmath.qr(_matrix(x), mode="full")
    Q, R = _array(Q, (n, n)), _array(R, (n, m))
    return Q[:, :k], R[:k]


def _orthonormal(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Gram and Schmidt's factors, of a matrix with at most as many columns as rows."""
    n, m = x.shape
    Q, R = np.empty((n, m), object), np.full((m, m), mpmath.mpf(0), object)
    for j in range(m):
        v = x[:, j]
        for i in range(j):
            R[i, j] = part = Q[:, i] @ v
            v = all_(lambda a, q, part=part: a - part * q, v, Q[:, i])
        R[j, j] = length = named("sqrt")(v @ v)
        Q[:, j] = all_(lambda a, length=length: a / length, v)
    return Q, R


def cholesky(equation: Any, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """The lower triangular factor."""
    return (_array(mpmath.cholesky(_matrix(x)), x.shape),)


def triangular(equation: Any, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    """The solution of a triangular system."""
    params = equation.params
    lower = params["lower"]
    a = np.where(np.tri(len(a), dtype=bool) if lower else np.tri(len(a), dtype=bool).T, a, 0)
    if params.get("unit_diagonal"):
        np.fill_diagonal(a, mpmath.mpf(1))
    if params.get("transpose_a"):
        a = a.T
    if params["left_side"]:
        return (_solve(a, b),)
    return (_solve(a.T, b.T).T,)


def _solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    A = _matrix(a)
    return np.stack([_array(mpmath.lu_solve(A, _matrix(c[:, None])), (len(a),)) for c in b.T], 1)
