"""The kinks in a program: where they are, and the program with parabolas in their place."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal
from jaxtyping import Array

# Calls that are replaced by what they call.
INLINED = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"}
KINKED = {"max", "min", "abs", "clamp"}
COMPARED = {"gt": 1, "ge": 1, "lt": -1, "le": -1}
# Primitives that act entry by entry and are linear in each of their arguments, or switches.
PIECEWISE_LINEAR = {
    *("add", "add_any", "sub", "mul", "neg", "copy", "copy_p", "convert_element_type"),
    *("broadcast_in_dim", "select_n", "stop_gradient", *KINKED, *COMPARED),
}
# Primitives that act entry by entry and have a derivative everywhere.
ENTRYWISE = PIECEWISE_LINEAR | {"exp", "exp2", "expm1", "tanh", "logistic", "sin", "cos", "square"}
ENTRYWISE |= {"erf", "asinh", "atan"}
POSITIVE = {"exp", "exp2", "logistic", "square"}
KEEPS_SIGN = {"reduce_sum", "reduce_max", "broadcast_in_dim", "reshape", "squeeze", "stop_gradient"}


def _inlined(equation: Any) -> ClosedJaxpr | None:
    """The program that an equation calls, if it takes its place: a jitted one, or a kink's."""
    name = equation.primitive.name
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    if name in INLINED:
        return inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
    if name.startswith("custom_jvp") and kinked(inner) and _names(inner) <= PIECEWISE_LINEAR:
        return inner
    return None


def _names(program: ClosedJaxpr) -> set[str]:
    """The primitives of a program and of the jitted ones that it calls."""
    names: set[str] = set()
    for equation in program.jaxpr.eqns:
        inner = _inlined(equation)
        names |= {equation.primitive.name} if inner is None else _names(inner)
    return names


def kinked(program: ClosedJaxpr) -> bool:
    """Whether a program has kinks, as far as can be said without the values of its arguments."""
    program = flat(program)
    slices, constants = _Slices(program), _Values()
    with jax.ensure_compile_time_eval():
        for equation in program.jaxpr.eqns:
            if slices.of_two(equation):
                return True
            branches = slices.branches(equation)
            with contextlib.suppress(KeyError):  # what depends on the arguments
                if branches is not None and np.all(branches.slope(constants) == 0):
                    continue
            if branches is not None or any(map(kinked, _bodies(equation))):
                return True
            with contextlib.suppress(KeyError):
                given = constants.of(equation.invars)
                if equation.primitive.name in ENTRYWISE:
                    constants.set(equation.outvars, _bind(equation, given))
    return False


def _bodies(equation: Any) -> Iterator[ClosedJaxpr]:
    """The programs that a loop or a conditional runs."""
    if equation.primitive.name in ("scan", "while", "cond"):
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple) else (value,):
                if isinstance(inner, ClosedJaxpr):
                    yield inner


def _bind(equation: Any, values: Sequence[Any]) -> list[Any]:
    bound = equation.primitive.get_bind_params(equation.params)
    # Before JAX 0.10 the functions that a primitive calls come beside its parameters.
    given, params = bound if isinstance(bound, tuple) else ((), bound)
    out = equation.primitive.bind(*given, *values, **params)
    return list(out) if equation.primitive.multiple_results else [out]


def flat(program: ClosedJaxpr) -> ClosedJaxpr:
    """The program without calls of jitted functions."""
    if all(_inlined(equation) is None for equation in program.jaxpr.eqns):
        return program

    def run(program: ClosedJaxpr, args: Sequence[Any]) -> list[Any]:
        values = _Values.at(program, args)
        for equation in program.jaxpr.eqns:
            given, inner = values.of(equation.invars), _inlined(equation)
            out = _bind(equation, given) if inner is None else run(inner, given)
            values.set(equation.outvars, out)
        return values.of(program.jaxpr.outvars)

    return jax.make_jaxpr(lambda *args: run(program, args))(*map(_shape, program.in_avals))


def _shape(aval: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


class _Values(dict[Any, Any]):
    """The values of the variables of a program, as far as it has run."""

    @staticmethod
    def at(program: ClosedJaxpr, args: Sequence[Any]) -> "_Values":
        """The values at the beginning of a program that is run on these."""
        jaxpr = program.jaxpr
        return _Values(
            zip([*jaxpr.constvars, *jaxpr.invars], [*program.consts, *args], strict=True)
        )

    def of(self, variables: Sequence[Any]) -> list[Any]:
        return [v.val if isinstance(v, Literal) else self[v] for v in variables]

    def set(self, variables: Sequence[Any], values: Sequence[Any]) -> None:
        self.update(zip(variables, values, strict=True))


def evaluate(
    program: ClosedJaxpr, args: Sequence[Any], smoothing: float | None, found: list[Array] | None
) -> list[Any]:
    """The outputs of a flat program, with rounded kinks; their arguments are added to `found`."""
    values, slices = _Values.at(program, args), _Slices(program)

    for equation in program.jaxpr.eqns:
        given, name = values.of(equation.invars), equation.primitive.name
        branches = slices.branches(equation)
        if branches is not None:
            kinks = [_Kink(*branches.at(values))]
        elif not slices.of_two(equation):
            values.set(equation.outvars, _bind(_with_bodies(equation, smoothing), given))
            continue
        elif name == "abs":
            kinks = [_Kink(given[0], -given[0], given[0], 2)]
        elif name == "clamp":
            least, z, most = given
            raised = _Kink(z - least, least, z, 1)
            z = raised.rounded(jnp.maximum(z, least), smoothing)
            kinks = [_Kink(z - most, z, most, -1), raised]
            given = [jnp.minimum(z, most)]
        else:
            (a, b), top = given, name == "max"
            kinks = [_Kink(a - b, *((b, a, 1) if top else (a, b, -1)))]
        if found is not None:
            found.extend(kink.argument for kink in kinks[::-1])
        sharp = given[0] if name == "clamp" else _bind(equation, given)[0]
        values.set(equation.outvars, [kinks[0].rounded(sharp, smoothing)])
    return values.of(program.jaxpr.outvars)


class _Kink(NamedTuple):
    """A function that is `low` where z < 0 and `high` elsewhere: `low + slope z` near z = 0."""

    z: Any
    low: Any
    high: Any
    slope: Any

    @property
    def argument(self) -> Array:
        """z; 1 where there is no kink."""
        z = jnp.asarray(self.z)
        return jnp.where(jnp.asarray(self.slope) == 0, jnp.ones_like(z), z)

    def rounded(self, sharp: Any, d: float | None) -> Any:
        """`sharp`, the function itself, but a parabola where |z| < d."""
        if d is None:
            return sharp
        z, low, high = jnp.broadcast_arrays(self.z, self.low, self.high)
        slope = jnp.asarray(self.slope, z.dtype)
        near = (z < d) & (z > -d) & (slope != 0)
        inside = jnp.where(near, z, jnp.zeros_like(z))
        rest = jnp.where(inside > 0, high - slope * inside, low)
        return jnp.where(near, rest + slope * (inside + d) ** 2 / (4 * d), sharp)


def _with_bodies(equation: Any, smoothing: float | None) -> Any:
    """The equation with rounded kinks in the programs that it runs in a loop or on a condition."""
    if smoothing is None or not any(kinked(body) for body in _bodies(equation)):
        return equation

    def rounded(body: Any) -> Any:
        if isinstance(body, tuple):
            return tuple(map(rounded, body))
        if not isinstance(body, ClosedJaxpr):
            return body
        plain = flat(body)
        return jax.make_jaxpr(lambda *args: evaluate(plain, args, smoothing, None))(
            *map(_shape, body.in_avals)
        )

    return equation.replace(params={k: rounded(v) for k, v in equation.params.items()})


def _variables(given: Sequence[Any]) -> set[Any]:
    return {v for v in given if not isinstance(v, Literal)}


def _real(variable: Any) -> bool:
    return jnp.issubdtype(variable.aval.dtype, jnp.floating)


class _Branches(NamedTuple):
    """A switch between two functions of one variable, entry by entry, where another is passed."""

    equation: Any  # select_n
    compared: Any
    side: int  # of the comparison on which the variable stands
    steps: list[Any]  # from the variable to both branches

    def at(self, values: "_Values") -> tuple[Any, Any, Any, Any]:
        """z, both branches, and the slope of the kink."""
        a, b = values.of(self.compared.invars)
        low, high = values.of(self.equation.invars[1:])
        return self.sign * (a - b), low, high, self.slope(values)

    @property
    def border(self) -> tuple[Any, Any]:
        """The variable, and what it is compared with."""
        other = self.compared.invars[1 - self.side]
        known = isinstance(other, Literal) and np.ndim(other.val) == 0
        return self.compared.invars[self.side], float(other.val) if known else other

    @property
    def sign(self) -> int:
        return COMPARED[self.compared.primitive.name]

    def slope(self, values: "_Values") -> Array:
        """The derivative of the gap between the branches by z at z = 0; 0 if they jump there."""
        root = self.compared.invars[self.side]
        (other,) = values.of([self.compared.invars[1 - self.side]])
        border = jnp.broadcast_to(other, root.aval.shape)

        def gap(x: Array) -> Array:
            here = _Values({**values, root: x})
            for step in self.steps:
                here.set(step.outvars, _bind(step, here.of(step.invars)))
            low, high = here.of(self.equation.invars[1:])
            return high - low

        along = jnp.full_like(border, self.sign if self.side == 0 else -self.sign)
        jump, slope = jax.jvp(gap, (border,), (along,))
        rounding = 64 * float(jnp.finfo(border.dtype).eps) * (1 + jnp.abs(border))
        return jnp.where(jnp.abs(jump) <= rounding * jnp.abs(slope), slope, jnp.zeros_like(slope))


class _Slices:
    """Which switches of a flat program may be kinks."""

    def __init__(self, program: ClosedJaxpr):
        self.equations = program.jaxpr.eqns
        self.made = {v: equation for equation in self.equations for v in equation.outvars}
        self.positive: set[Any] = set()  # by construction: their absolute value has no kink
        for equation in self.equations:
            name, given = equation.primitive.name, equation.invars
            if name in POSITIVE or (name in KEEPS_SIGN and _variables(given) <= self.positive):
                self.positive.update(equation.outvars)
        # What guards a branch, as in where(z > 0, z, expm1(where(z > 0, 0, z))), is not seen.
        self.guards: set[Any] = set()
        for found in filter(None, map(self.branches, self.equations)):
            for inner in filter(None, map(self.branches, found.steps)):
                if inner.border == found.border:
                    self.guards.add(inner.equation.outvars[0])

    def of_two(self, equation: Any) -> bool:
        """Whether this is a maximum, or the like, of real numbers that may pass one another."""
        name, given = equation.primitive.name, equation.invars
        if name not in KINKED or not _real(equation.outvars[0]):
            return False
        constants = [np.asarray(v.val, float).ravel() for v in given if isinstance(v, Literal)]
        safe = name == "abs" and not constants and given[0] in self.positive
        return not safe and all(np.isfinite(c).all() for c in constants)

    def branches(self, equation: Any) -> _Branches | None:
        """The branches of `where(a > b, ...)` if they depend on a, or else b, entry by entry."""
        if equation.primitive.name != "select_n" or len(equation.invars) != 3:
            return None
        which, (out,) = equation.invars[0], equation.outvars
        if out in self.guards:
            return None
        compared = None if isinstance(which, Literal) else self.made.get(which)
        if compared is None or compared.primitive.name not in COMPARED or not _real(out):
            return None
        for side, root in enumerate(compared.invars):
            alike = (root.aval.shape, root.aval.dtype) == (out.aval.shape, out.aval.dtype)
            alike = alike and not isinstance(root, Literal)
            steps = self.between(root, equation) if alike else None
            if steps is not None:
                return _Branches(equation, compared, side, steps)
        return None

    def between(self, root: Any, equation: Any) -> list[Any] | None:
        """The steps from a variable to both branches; None if there are others than ENTRYWISE."""
        reached, steps = {root}, []
        for step in self.equations:
            if step is equation:
                break
            if not reached.isdisjoint(_variables(step.invars)):
                reached.update(step.outvars)
                steps.append(step)
        needed = _variables(equation.invars[1:])
        if not needed & reached:
            return None
        taken = []
        for step in reversed(steps):
            if needed.isdisjoint(step.outvars):
                continue
            alike = all(v.aval.shape == root.aval.shape for v in step.outvars)
            if step.primitive.name not in ENTRYWISE or not alike:
                return None
            needed |= _variables(step.invars)
            taken.append(step)
        return taken[::-1]
