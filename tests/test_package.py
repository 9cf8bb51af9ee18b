"""What is public, that it says what it is, and that importing changes nothing."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import jaxflow as jf

ROOT = Path(jf.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)

NAMES = [
    *("Regression", "data.gaussian", "data.load"),
    *("TwoLayerLinear", "compress"),
    *("init.Gaussian", "init.Balanced", "init.Spectral", "init.Orthogonal"),
    *("gradient_flow", "gradient_descent", "Solution", "Result", "Measure", "SquaredLoss"),
    *("until.loss_ratio", "until.excess"),
    *("theory.imbalance", "theory.rate_bound", "theory.bias_bound", "theory.bias_law"),
    *("Sweep", "run", "measures.standard"),
    *("verify", "Claim", "Verdict"),
    "plotting.sweep_figure",
]


def public(path):
    """Public functions and classes at the top of a file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node


@pytest.mark.parametrize("name", NAMES)
def test_the_names_that_stay(name):
    found = jf
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)
    assert inspect.getdoc(found)
    assert found.__module__.startswith("jaxflow.")


def test_the_readers_of_a_solution_and_of_a_verdict():
    for owner, names in (
        (jf.Solution, "ts loss excess log_excess measures network result stats check"),
        (jf.Regression, "X Y rank singular_values min_norm optimal_loss"),
        (jf.TwoLayerLinear, "U V product width trainable"),
        (jf.Claim, "statement setting evaluate decide mutant control expected"),
        (jf.Verdict, "holds expected reason measured predicted to_json"),
    ):
        fields = set(getattr(owner, "__dataclass_fields__", ()))
        for name in names.split():
            assert name in fields or hasattr(owner, name), f"{owner.__name__}.{name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_everything_public_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))
    bare = [node.name for node in public(path) if not ast.get_docstring(node)]
    assert not bare


def test_importing_flips_no_switch():
    code = (
        "import jax; before = dict(jax.config.values); import jaxflow; "
        "after = dict(jax.config.values); "
        "print([k for k in after if after[k] != before.get(k, after[k])], "
        "jax.config.jax_enable_x64)"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[] False"
    assert found.stderr == ""
