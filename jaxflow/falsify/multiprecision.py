"""An interpreter that evaluates a JAX function in arithmetic of any precision, by mpmath.

Violations that double precision suggests are checked here, so that rounding is never reported as a
counterexample. The interpreter runs the jaxpr of the function on NumPy arrays of `mpmath.mpf`. A
primitive that computes has a rule in `RULES`; one that only moves numbers (`MOVES`) is applied by
JAX to their positions.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from jax.extend import core

from .matrices import all_, batched, cholesky, eigh, extreme, named, qr, svd, triangular

DIGITS = 50


def exactly(function: Callable[..., Any], *args: Any, digits: int = DIGITS) -> Any:
    """`function(*args)` in decimal arithmetic of this many digits.

    **Arguments:** a function of pytrees that JAX can trace; its arguments, whose floats count as
    exact and may be arrays of `mpf`; the number of `digits`.

    **Returns:** the result, its floats as NumPy arrays of `mpmath.mpf`.

    **Raises:** `NotImplementedError` for a primitive without a rule, such as `while`.
    """
    return program(function, *args, digits=digits)(*args)


def program(
    function: Callable[..., Any], *examples: Any, digits: int = DIGITS
) -> Callable[..., Any]:
    """The function as `exactly` evaluates it, for any arguments of these shapes; traced once."""
    shapes = jax.tree.map(_outline, examples)
    closed, out = jax.make_jaxpr(function, return_shape=True)(*shapes)

    def run(*args: Any) -> Any:
        with mpmath.workdps(digits):
            leaves = _run(closed.jaxpr, closed.consts, [_exact(x) for x in jax.tree.leaves(args)])
        return jax.tree.unflatten(jax.tree.structure(out), leaves)

    return run


def rounded(tree: Any) -> Any:
    """The tree with its multiprecision numbers rounded to double precision."""
    return jax.tree.map(lambda x: x.astype(float) if _held(x) else np.asarray(x), tree)


def _held(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == object


def _outline(x: Any) -> jax.ShapeDtypeStruct:
    if _held(x):
        return jax.ShapeDtypeStruct(x.shape, jnp.result_type(float))
    x = jnp.asarray(x)
    return jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type)


def _exact(x: Any) -> np.ndarray:
    if _held(x):
        return x
    x = np.asarray(x)
    return all_(mpmath.mpf, x.astype(float)) if x.dtype.kind == "f" else x


def _run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    known: dict[Any, Any] = {}

    def value(atom: Any) -> Any:
        return _exact(atom.val) if isinstance(atom, core.Literal) else known[atom]

    known.update(zip(jaxpr.constvars, map(_exact, consts), strict=True))
    known.update(zip(jaxpr.invars, args, strict=True))
    for equation in jaxpr.eqns:
        found = _apply(equation, [value(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, found, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _apply(equation: Any, values: list[Any]) -> list[Any]:
    name, params = equation.primitive.name, equation.params
    if name == "cond":
        chosen = params["branches"][int(values[0])]
        return _run(chosen.jaxpr, chosen.consts, values[1:])
    if name == "scan":
        return _loop(params, values)
    inner = next((params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in params), None)
    if inner is not None and name != "while":
        consts = getattr(inner, "consts", ())
        return _run(getattr(inner, "jaxpr", inner), consts, values)
    floats = any(_held(v) for v in values)
    if name in RULES and (floats or name == "convert_element_type"):
        out = RULES[name](equation, *values)
        return list(out) if isinstance(out, (tuple, list)) else [out]
    makes = any(jnp.issubdtype(v.aval.dtype, jnp.floating) for v in equation.outvars)
    if not floats:
        out = equation.primitive.bind(*map(jnp.asarray, values), **params)
        out = [np.asarray(x) for x in (out if equation.primitive.multiple_results else [out])]
        return [_exact(x) for x in out]
    if name in MOVES and makes:
        return _move(equation, values)
    raise NotImplementedError(f"There is no rule in multiprecision for the primitive {name!r}.")


def _loop(params: dict[str, Any], values: list[Any]) -> list[Any]:
    n, k = params["num_consts"], params["num_consts"] + params["num_carry"]
    consts, carry, rows = values[:n], values[n:k], values[k:]
    body = params["jaxpr"]
    shapes = [v.aval.shape for v in body.jaxpr.outvars[k - n :]]
    order = range(params["length"])
    saved: list[Any] = [None] * len(order)
    for i in reversed(order) if params["reverse"] else order:
        here = [_at(row, i) for row in rows]
        out = _run(body.jaxpr, body.consts, [*consts, *carry, *here])
        carry, saved[i] = out[: k - n], out[k - n :]
    stacked = []
    for j, shape in enumerate(shapes):
        stack = np.empty((len(order), *shape), saved[0][j].dtype if saved else object)
        for i in order:
            stack[i] = saved[i][j]
        stacked.append(stack)
    return [*carry, *stacked]


def _at(row: np.ndarray, i: int) -> np.ndarray:
    # An entry of a vector of objects is no array; this makes it one.
    out = np.empty(row.shape[1:], row.dtype)
    out[...] = row[i]
    return out


def _move(equation: Any, values: list[Any]) -> list[np.ndarray]:
    """Apply a primitive that moves numbers to their positions in one list of all numbers."""
    pool = np.concatenate([v.reshape(-1) for v in values if _held(v)])
    places, start = [], 0
    for v in values:
        if _held(v):
            places.append(jnp.arange(start, start + v.size).reshape(v.shape))
            start += v.size
        else:
            places.append(jnp.asarray(v))
    found = equation.primitive.bind(*places, **equation.params)
    moved = []
    for part in found if equation.primitive.multiple_results else [found]:
        out = np.empty(part.shape, object)
        out[...] = pool[np.asarray(part)]
        moved.append(out)
    return moved


_MOVES = (
    "broadcast_in_dim reshape transpose squeeze slice dynamic_slice gather stack concatenate pad "
    "rev copy dynamic_update_slice scatter split"
)
MOVES = frozenset(_MOVES.split())


def _scatter_add(equation: Any, x: np.ndarray, where: Any, updates: np.ndarray) -> np.ndarray:
    """The transpose of a scatter, applied to positions, tells where each update is added."""
    zeros = jnp.zeros(x.shape)

    def land(values: Any) -> Any:
        return equation.primitive.bind(zeros, jnp.asarray(where), values, **equation.params)

    places = 1.0 + jnp.arange(x.size, dtype=zeros.dtype).reshape(x.shape)
    (targets,) = jax.linear_transpose(land, jnp.zeros(updates.shape))(places)
    out = x.reshape(-1).copy()
    for place, value in zip(np.asarray(targets, int).ravel(), updates.ravel(), strict=True):
        if place > 0:  # 0: beyond the end, dropped
            out[place - 1] = out[place - 1] + value
    return out.reshape(x.shape)


def _each(rule: Callable[..., Any]) -> Callable[..., Any]:
    return lambda equation, *values: all_(rule, *values)


def _compare(rule: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    return lambda equation, *values: all_(rule, *values).astype(bool)


def _fold(rule: Callable[[Any, Any], Any], start: Any) -> Callable[..., Any]:
    def reduce(equation: Any, x: np.ndarray) -> np.ndarray:
        axes = equation.params["axes"]
        rest = [a for a in range(x.ndim) if a not in axes]
        rows = x.transpose(*rest, *axes).reshape(*[x.shape[a] for a in rest], -1)
        out = np.empty(rows.shape[:-1], object)
        for index in np.ndindex(out.shape):
            out[index] = functools.reduce(rule, rows[index], start())
        return out

    return reduce


def _dot(equation: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ((ca, cb), (ba, bb)) = equation.params["dimension_numbers"]
    fa = [i for i in range(a.ndim) if i not in (*ca, *ba)]
    fb = [i for i in range(b.ndim) if i not in (*cb, *bb)]
    batch, rows = [a.shape[i] for i in ba], [a.shape[i] for i in fa]
    columns, depth = [b.shape[i] for i in fb], [a.shape[i] for i in ca]
    size = int(np.prod(depth))
    left = a.transpose(*ba, *fa, *ca).reshape(int(np.prod(batch)), int(np.prod(rows)), size)
    right = b.transpose(*bb, *cb, *fb).reshape(int(np.prod(batch)), size, int(np.prod(columns)))
    out = np.empty((left.shape[0], left.shape[1], right.shape[2]), object)
    for n, i, j in np.ndindex(out.shape):
        pairs = zip(left[n, i], right[n, :, j], strict=True)
        out[n, i, j] = sum((a * b for a, b in pairs), mpmath.mpf(0))
    return out.reshape(*batch, *rows, *columns)


def _convert(equation: Any, x: np.ndarray) -> np.ndarray:
    dtype = equation.params["new_dtype"]
    if jnp.issubdtype(dtype, jnp.floating):
        return x if _held(x) else all_(lambda v: mpmath.mpf(float(v)), x)
    return x.astype(dtype)


def _sign(x: Any) -> Any:
    return mpmath.mpf(int(mpmath.sign(x)))


def _logistic(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


def _scan(rule: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def accumulate(equation: Any, x: np.ndarray) -> np.ndarray:
        axis, back = equation.params["axis"], equation.params.get("reverse", False)
        x = np.moveaxis(x, axis, 0)
        rows = list(itertools.accumulate(x[::-1] if back else x, rule))
        return np.moveaxis(np.asarray(rows[::-1] if back else rows), 0, axis)

    return accumulate


def _sort(equation: Any, *values: np.ndarray) -> list[np.ndarray]:
    if len(values) > 1:
        raise NotImplementedError("There is no rule in multiprecision for sorting by keys.")
    return [np.sort(values[0], axis=equation.params["dimension"], kind="stable")]


# Primitives that mpmath has under the same name.
_SAME = "sqrt cbrt exp expm1 log log1p sin cos tan tanh sinh cosh atanh asinh acosh atan2 erf erfc"

RULES: dict[str, Callable[..., Any]] = {
    **{name: _each(named(name)) for name in _SAME.split()},
    **{name: _compare(getattr(operator, name)) for name in ("gt", "ge", "lt", "le", "eq", "ne")},
    "add": _each(operator.add),
    "add_any": _each(operator.add),
    "sub": _each(operator.sub),
    "mul": _each(operator.mul),
    "div": _each(operator.truediv),
    "neg": _each(operator.neg),
    "abs": _each(abs),
    "max": _each(extreme("max")),
    "min": _each(extreme("min")),
    "sign": _each(_sign),
    "square": _each(lambda x: x * x),
    "rsqrt": _each(lambda x: 1 / named("sqrt")(x)),
    "exp2": _each(lambda x: mpmath.mpf(2) ** x),
    "logistic": _each(_logistic),
    "pow": _each(operator.pow),
    "integer_pow": lambda equation, x: all_(lambda v: v ** equation.params["y"], x),
    "is_finite": _compare(mpmath.isfinite),
    "select_n": lambda equation, which, *cases: all_(lambda i, *c: c[int(i)], which, *cases),
    "clamp": _each(lambda low, x, high: min(max(low, x), high)),
    "reduce_sum": _fold(operator.add, lambda: mpmath.mpf(0)),
    "reduce_prod": _fold(operator.mul, lambda: mpmath.mpf(1)),
    "reduce_max": _fold(extreme("max"), lambda: None),
    "reduce_min": _fold(extreme("min"), lambda: None),
    "cumsum": _scan(operator.add),
    "cumprod": _scan(operator.mul),
    "sort": _sort,
    "dot_general": _dot,
    "scatter-add": _scatter_add,
    "convert_element_type": _convert,
    "eigh": batched(eigh),
    "svd": batched(svd),
    "qr": batched(qr),
    "cholesky": batched(cholesky),
    "triangular_solve": batched(triangular),
}
