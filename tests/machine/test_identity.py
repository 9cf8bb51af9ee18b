"""Two values have one identity exactly if they compute the same, as far as Python can tell."""

import functools
import subprocess
import sys
import textwrap

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxflow.machine.identity import Known, Unidentified, identity

SCALE = 3.0


def of(code, name="f"):
    """The function of this name in a piece of code."""
    scope = {"__name__": "users", "jnp": jnp, "eqx": eqx, "functools": functools}
    exec(textwrap.dedent(code), scope)
    return scope[name]


PAIRS = {  # two pieces of code that differ in one character of what they compute
    "body": ("def f(x): return x + 1", "def f(x): return x - 1"),
    "constant": ("def f(x): return 2.0 * x", "def f(x): return 3.0 * x"),
    "default": ("def f(x, k=1): return k * x", "def f(x, k=2): return k * x"),
    "keyword": ("def f(x, *, k=1): return k * x", "def f(x, *, k=2): return k * x"),
    "closure": (
        "def g(p):\n def f(x): return x**p\n return f\nf = g(2)",
        "def g(p):\n def f(x): return x**p\n return f\nf = g(3)",
    ),
    "global": ("C = 1\ndef f(x): return C * x", "C = 2\ndef f(x): return C * x"),
    "helper": (
        "def g(x): return x + 1\ndef f(x): return g(x)",
        "def g(x): return x + 2\ndef f(x): return g(x)",
    ),
    "inner": (
        "def f(x): return (lambda y: y + 1)(x)",
        "def f(x): return (lambda y: y + 2)(x)",
    ),
    "lambda": ("f = lambda x: x + 1", "f = lambda x: x + 2"),
    "partial": (
        "def g(x, k): return k * x\nf = functools.partial(g, k=1)",
        "def g(x, k): return k * x\nf = functools.partial(g, k=2)",
    ),
    "attribute of a class": (
        "class M(eqx.Module):\n p = 2\n def __call__(self, x): return x**self.p\nf = M()",
        "class M(eqx.Module):\n p = 3\n def __call__(self, x): return x**self.p\nf = M()",
    ),
    "method": (
        "class M(eqx.Module):\n def __call__(self, x): return x + 1\nf = M()",
        "class M(eqx.Module):\n def __call__(self, x): return x + 2\nf = M()",
    ),
    "base class": (
        "class B:\n p = 2\nclass M(B):\n def __call__(self, x): return x**self.p\nf = M()",
        "class B:\n p = 3\nclass M(B):\n def __call__(self, x): return x**self.p\nf = M()",
    ),
    "field": (
        "class M(eqx.Module):\n w: object\nf = M(1.0)",
        "class M(eqx.Module):\n w: object\nf = M(2.0)",
    ),
    "array": ("f = jnp.array([1.0, 2.0])", "f = jnp.array([1.0, 3.0])"),
    "function read": ("def f(x): return jnp.sin(x)", "def f(x): return jnp.cos(x)"),
    "recursion": (
        "def f(x): return f(x - 1) if x > 1 else x",
        "def f(x): return f(x - 1) if x > 2 else x",
    ),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_one_character_tells(pair):
    one, other = pair
    assert identity(of(one)) == identity(of(one))
    assert identity(of(one)) != identity(of(other))
    assert identity({"loss": of(one)}) != identity({"loss": of(other)})


def test_what_computes_nothing_does_not_count():
    said = 'def f(x):\n    "Twice x."  # a comment\n    return 2 * x'
    assert identity(of(said)) == identity(of("def f(x):\n\n    'Other words.'\n    return 2 * x"))


def test_values_are_told_apart():
    assert identity(1) != identity(1.0) != identity(True) != identity("1")
    assert identity(np.float32(1)) != identity(np.float64(1))
    assert identity([1, 2]) != identity((1, 2)) != identity([2, 1])
    assert identity({"a": 1, "b": 2}) != identity({"b": 2, "a": 1})  # an order may count
    assert identity({1, 2, 3}) == identity({3, 2, 1})
    assert identity(jax.random.key(1)) != identity(jax.random.key(2))
    assert identity(jnp.zeros(3)) == identity(np.zeros(3, jnp.zeros(3).dtype))
    assert identity(jax.nn.relu) != identity(jax.nn.gelu)
    assert identity(optax.sgd(0.1)) == identity(optax.sgd(0.1)) != identity(optax.sgd(0.2))


def test_modules_are_told_by_their_functions():
    def network(activation):
        return eqx.nn.MLP(2, 1, 3, 1, activation=activation, key=jax.random.key(0))

    assert identity(network(jnp.tanh)) == identity(network(jnp.tanh))
    assert identity(network(jnp.tanh)) != identity(network(jax.nn.relu))


def test_values_may_refer_to_themselves():
    loop = [1]
    loop.append(loop)
    assert identity(loop) == identity(loop)


def test_what_cannot_be_told_apart_is_refused_or_taken_for_its_class():
    with pytest.raises(Unidentified, match="list_iterator cannot be told"):
        identity({"rule": iter([1])})
    assert identity(iter([1]), lenient=True) == identity(iter([2]), lenient=True)
    one, other = iter([1]), iter([1])
    assert Known(one) == Known(one) != Known(other)


def test_another_process_agrees(capsys):
    # Weights are rounded: their last bits depend on the flags of the compiler, which differ here.
    code = textwrap.dedent("""
        import functools, jax, jax.numpy as jnp, equinox as eqx, optax
        from jaxflow.machine.identity import identity
        scale = 2.0
        def loss(p, y, power=2): return scale * jnp.sum(abs(p - y) ** power)
        act = lambda x: x + {1, 2, 3}.pop()
        network = eqx.nn.MLP(2, 1, 3, 1, activation=act, key=jax.random.key(0))
        network = jax.tree.map(lambda w: w.round(3) if eqx.is_array(w) else w, network)
        print(identity([loss, network, functools.partial(optax.adamw, weight_decay=0.1)]))
    """)
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert other.stdout.startswith("sha256:"), other.stderr
    with jax.enable_x64(False):
        exec(code, {"__name__": "__main__"})
    assert capsys.readouterr().out == other.stdout
