"""`jaxflow run`, `new` and `completion`: a user's own files, and what is said of bad ones."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import jaxflow as jf
from jaxflow import cli
from jaxflow.cli.experiments import find
from jaxflow.cli.new import KINDS
from jaxflow.sweeps.fingerprint import difference, fingerprint

HEAD = """\
import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import jaxflow as jf

data = jf.Regression([[1.0, 0.5], [-0.5, 2.0], [0.3, -1.0]], [[1.0], [-1.0], [0.5]])
"""
# A law, an axis of functions and a loss, all of the user's own, and a module of it beside.
OWN = f"""{HEAD}
from shapes import square


class Law(eqx.Module):
    scale: float = 1.0

    def __call__(self, key, data, *, activation):
        return jax.tree.map(
            lambda w: self.scale * w if eqx.is_array(w) else w,
            eqx.nn.MLP(2, 1, 3, 1, activation=activation, key=key),
        )


def cube(z):
    return z**3


def loss(prediction, target):
    return square(prediction - target).sum()


own = jf.Sweep(
    data, Law(), over={{"activation": [jnp.tanh, cube, lambda z: jnp.sin(z)]}}, seeds=8, block=4,
    descent={{"optimizer": optax.sgd, "steps": STEPS, "learning_rate": 0.01}}, loss=loss,
)
"""
FILES = {
    "sweep.py": f"{HEAD}plan = jf.Sweep(data, jf.init.Gaussian(), widths=[4], seeds=2, t1=0.1)\n",
    "descent.py": f"""{HEAD}
by_rate = jf.Sweep(
    data, jf.init.Gaussian(), over={{"width": [4], "learning_rate": [0.1, 0.01]}}, seeds=2,
    descent={{"optimizer": optax.sgd, "steps": 5}},
)


def law(key, data, *, activation):
    return eqx.nn.MLP(2, 1, 3, 1, activation=activation, key=key)


def by_activation() -> jf.Sweep:
    over = {{"activation": [jnp.tanh, jax.nn.gelu]}}
    descent = {{"optimizer": optax.sgd, "steps": 5, "learning_rate": 0.1}}
    return jf.Sweep(data, law, over=over, descent=descent)


def flow(width: int = 4) -> "jf.Solution":
    network = jf.init.Gaussian()(jax.random.key(0), data, width=width)
    return jf.gradient_descent(network, data, optax.sgd, learning_rate=0.1, steps=5)


def helper(): raise RuntimeError("called")
def takes(x) -> jf.Sweep: return x
_hidden = by_rate.replace(seeds=1)
again = by_rate
""",
    "empty.py": "x = 1\n",
    "number.py": "def make():\n    return 3\n",
    "syntax.py": "x = 1\ndef f(:\n",
    "null.py": "x = '\0'\n",
    "divides.py": "import os\n\n1 / 0\n",
    "leaves.py": "import sys\n\n\nsys.exit()\n",
    "misses.py": "import no_such_package_anywhere\n",
    "shapes.py": "def square(x):\n    return x**2\n\n\ndef broken(x):\n    return x.nothing\n",
    "calls.py": "import shapes\n\nshapes.broken(1)\n",
    "axis.py": f"{HEAD}jf.Sweep(data, jf.init.Gaussian(), over={{'wdth': [4]}}, t1=0.1)\n",
    "measure.py": f"""{HEAD}
def size(network, data):
    return network.nothing


plan = jf.Sweep(
    data, jf.init.Gaussian(), widths=[4], seeds=2, t1=0.1,
    measures=[jf.measures.at_end("size", size)],
)
""",
}


@pytest.fixture(autouse=True)
def _as_a_user_calls_it(unchecked):
    path, modules = [*sys.path], {*sys.modules}
    yield
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        if name.startswith("_jaxflow_file_") or name == "shapes":
            del sys.modules[name]
    jax.config.update("jax_enable_x64", True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def passed(*arguments):
    result = call(*arguments)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout


def refused(*arguments):
    """The one sentence that bad input gets; nothing is written."""
    before = sorted(path for path in Path().rglob("*") if "__pycache__" not in path.parts)
    result = call(*arguments)
    assert result.exit_code == 2, (result.stdout, result.exception)
    assert isinstance(result.exception, SystemExit)
    after = sorted(path for path in Path().rglob("*") if "__pycache__" not in path.parts)
    assert before == after
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert result.stdout == ""
    return line.removeprefix("error: ")


# What a file names


def test_the_experiments_of_a_file(here):
    found = find("descent.py")
    assert [e.name for e in found] == ["by_rate", "by_activation", "flow"]
    assert [e.name for e in find("descent.py:_hidden")] == ["_hidden"]
    assert isinstance(find("descent.py:by_activation")[0].made(), jf.Sweep)
    assert isinstance(find("descent.py:flow")[0].made(), jf.Solution)


def change(target, *settings):
    (experiment,) = find(target)
    return experiment.changed(settings).made()


@pytest.mark.parametrize(
    ("settings", "axes"),
    [
        (["width=8,16"], {"width": (8, 16), "learning_rate": (0.1, 0.01)}),
        (["width=4:64:3"], {"width": (4, 16, 64), "learning_rate": (0.1, 0.01)}),
        (["width=1e1"], {"width": (10,), "learning_rate": (0.1, 0.01)}),
        (["learning_rate=1"], {"width": (4,), "learning_rate": (1,)}),
        (["alpha=0.3,0.5"], {"width": (4,), "learning_rate": (0.1, 0.01), "alpha": (0.3, 0.5)}),
        (["momentum=0,0.5"], {"width": (4,), "learning_rate": (0.1, 0.01), "momentum": (0, 0.5)}),
    ],
)
def test_axes_are_changed_or_added(here, settings, axes):
    assert change("descent.py:by_rate", *settings).axes == axes


def test_settings_are_changed(here):
    changed = change("descent.py:by_rate", "steps=1e2", "momentum=0.5", "seeds=3", "compress=False")
    assert (changed.descent["steps"], changed.descent["momentum"]) == (100, 0.5)
    assert (changed.seeds, changed.compress) == (3, False)
    changed = change("sweep.py", "t1=2", "rtol=1e-6", "solver=implicit", "key=7")
    assert (changed.t1, changed.options["rtol"], changed.options["solver"]) == (2, 1e-6, "implicit")
    assert jax.random.key_data(changed.key)[-1] == 7


def test_functions_on_an_axis_are_chosen_by_name(here):
    changed = change("descent.py:by_activation", "activation=gelu", "seeds=2", "steps=7")
    assert changed.axes == {"activation": (jax.nn.gelu,)}
    assert (changed.seeds, changed.descent["steps"]) == (2, 7)


def test_settings_go_to_the_arguments_of_a_function(here):
    assert change("descent.py:flow", "width=8").network.width == 8


# What is said of bad files and settings


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone.py"], "There is no file gone.py."),
        (["."], "no file"),
        (["empty.py"], "empty.py has no experiment: assign a jf.Sweep"),
        (["number.py"], "number.py:make"),
        (["number.py:make"], "'make' returned an object of type int"),
        (["sweep.py:plain"], "sweep.py has no experiment 'plain'; its experiments: plan."),
        (["syntax.py"], "syntax.py, line 2: SyntaxError"),
        (["null.py"], "null bytes"),
        (["divides.py"], "divides.py, line 3: ZeroDivisionError: division by zero."),
        (["leaves.py"], "leaves.py, line 4: SystemExit."),
        (["misses.py"], "misses.py, line 1: ModuleNotFoundError"),
        (["calls.py"], "shapes.py, line 6: AttributeError"),
        (["axis.py"], "axis.py, line 9: ValueError: The axis 'wdth'"),
        (["measure.py"], "measure.py, line 11: AttributeError"),
        (["sweep.py", "--set", "wdth=4"], "The axes are width; the settings seeds, key, t1"),
        (["sweep.py", "--set", "width"], "NAME=VALUE"),
        (["sweep.py", "--set", "width="], "NAME=VALUE"),
        (["sweep.py", "--set", "width=wide"], "takes numbers, not 'wide'"),
        (["sweep.py", "--set", "width=0"], "at least 1"),
        (["sweep.py", "--set", "t1=-1"], "t1=-1: t1 must be positive"),
        (["sweep.py", "--set", "t1=long"], "t1=long: t1 takes a number."),
        (["sweep.py", "--set", "seeds=2.5"], "seeds takes an integer"),
        (["sweep.py", "--seeds", "0"], "seeds must be at least 1"),
        (["descent.py:by_activation", "--set", "activation=relu"], "has tanh, gelu, not 'relu'"),
        (["descent.py:flow", "--set", "depth=2"], "no argument 'depth': it has width."),
        (["descent.py:flow", "--store", "x.zarr"], "a store is for a Sweep"),
        (["descent.py:helper"], "RuntimeError: called."),
        (["sweep.py", "--figure", "out.docx"], ".png, .pdf or .svg"),
        (["sweep.py", "--figure", "no/out.png"], "no folder no"),
        (["sweep.py", "--json", "no/out.json"], "no folder no"),
        (["sweep.py", "--store", "sweep.py"], "not the store of a sweep"),
        (["sweep.py", "--store", "sweep.py/x.zarr"], "folder"),
    ],
    ids=" ".join,
)
def test_bad_input_gets_one_sentence(here, arguments, words):
    assert words in refused("run", *arguments)


def test_a_platform_that_is_not_there_gets_one_sentence(here):
    program = """
from jaxflow.cli import app
for command in (["info"], ["run", "sweep.py"]):
    try:
        app(command)
    except SystemExit as error:
        print(error.code)
"""
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "JAX_PLATFORMS": "cuda"},
        capture_output=True,
        text=True,
    )
    assert found.stdout == "2\n2\n"
    said = found.stderr.splitlines()
    assert len(said) == 2
    for line in said:
        assert line.startswith("error: JAX_PLATFORMS=cuda asks for devices that JAX cannot use")


# Running


def test_a_run_leaves_what_it_was_asked_for(here):
    said = passed(
        *("run", "descent.py", "--store", "runs/own.zarr", "--figure", "out.svg"),
        *("--json", "out.json"),
    )  # fmt: skip
    assert "2 finished" in said
    assert "called" not in said
    for name in ("out-by_rate.svg", "out-by_activation.svg", "out-flow.svg"):
        assert "</svg>" in Path(name).read_text()
    dataset = xr.open_zarr("runs/own-by_rate.zarr", consolidated=False)
    assert dataset.sizes == {"width": 1, "learning_rate": 2, "seed": 2}
    record = json.loads(Path("out.json").read_text(), parse_constant=pytest.fail)
    by_rate, by_activation, flow = record["experiments"]
    assert record["versions"]["jax"] == jax.__version__
    assert [row["coordinates"] for row in by_rate["rows"]] == [
        {"width": 4, "learning_rate": 0.1},
        {"width": 4, "learning_rate": 0.01},
    ]
    fall = (dataset.log_excess_end - dataset.log_excess_start).values[0]
    found = [row["log_fall"]["mean"] for row in by_rate["rows"]]
    np.testing.assert_allclose(found, fall.mean(axis=1))
    assert by_activation["rows"][1]["ended"] == {"finished": 64}
    assert flow["kind"] == "gradient_descent"
    assert len(flow["ts"]) == len(flow["log_excess"]) == 6


def test_a_store_of_another_plan_is_refused_and_stays(here):
    passed("run", "descent.py:by_rate", "--store", "x.zarr")
    assert "steps is 5 there and 6 here" in refused(
        "run", "descent.py:by_rate", "--store", "x.zarr", "--set", "steps=6"
    )


@pytest.mark.slow
def test_killed_runs_of_own_functions_are_resumed_by_another_process(here, monkeypatch):
    Path("own.py").write_text(OWN.replace("STEPS", "40_000"))
    program = "from jaxflow.cli import main; main()"
    command = [sys.executable, "-c", program, "run", "own.py", "--store", "own.zarr"]
    records = here / "own.zarr" / ".jaxflow" / "blocks"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(records.glob("*.json")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in records.glob("*.json")}
    assert 1 <= len(kept) < 6
    # From another folder, by another path to the file.
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    passed("run", "../own.py", "--store", "../own.zarr")
    assert len(list(records.glob("*.json"))) == 6
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    # Another function of the same name is another plan.
    text = (here / "own.py").read_text()
    (here / "own.py").write_text(text.replace("z**3", "z**2"))
    assert "code" in call("run", "../own.py", "--store", "../own.zarr").stderr


def test_a_file_is_the_same_plan_as_a_script_and_under_another_name(here):
    text = OWN.replace("STEPS", "5")
    for name in ("own.py", "other.py", "changed.py"):
        Path(name).write_text(text if name != "changed.py" else text.replace("z**3", "z**2"))
    plans = [find(name)[0].made() for name in ("own.py", "other.py", "changed.py")]
    plans.append(runpy.run_path("own.py", run_name="__main__")["own"])
    own, other, changed, script = (fingerprint(plan, 1, 1) for plan in plans)
    assert difference(own, other) == difference(own, script) == ""
    assert "code" in difference(own, changed)


# New files


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_file_runs_as_it_is(here, kind):
    path = Path(f"mine/a_{kind}.py")
    path.parent.mkdir()
    said = " ".join(passed("new", kind, path).split())
    command = re.fullmatch(rf"Wrote {path}. Run it: jaxflow (.*)", said).group(1)
    assert f"my_{kind}.py" not in path.read_text()
    said = passed(*command.split())
    assert ("HOLDS" in said) if kind == "claim" else ("finished" in said or "stopped" in said)
    assert "failed" not in said


def test_a_new_file_overwrites_nothing(here):
    passed("new", "law")
    text = Path("my_law.py").read_text()
    assert refused("new", "law") == "my_law.py exists already: choose another name."
    assert Path("my_law.py").read_text() == text
    assert "choose one of network, law" in refused("new", "netwrk")
    assert ".py" in refused("new", "law", "law.txt")
    assert "no folder" in refused("new", "law", "no/law.py")


# The shell


def test_bash_completes_commands_options_and_files(here):
    script = passed("completion", "bash")
    ask = 'COMP_WORDS=(jaxflow {0}); COMP_CWORD={1}; _jaxflow; echo "${{COMPREPLY[@]}}"'
    for words, count, wanted in (
        ("s", 1, "sweep"),
        ("sweep --wid", 2, "--widths"),
        ("new l", 2, "law"),
        ("run --", 2, "--store --seeds --set --figure --json --help"),
        ("run exp", 2, ""),  # nothing: the shell completes files itself
    ):
        text = script + ask.format(words, count)
        found = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == wanted


def test_scripts_for_other_shells_name_all_commands(here):
    for shell in ("zsh", "fish"):
        script = passed("completion", shell)
        assert all(command in script for command in ("sweep", "run", "verify", "new", "info"))
    assert "choose one of bash, zsh, fish" in refused("completion", "tcsh")
