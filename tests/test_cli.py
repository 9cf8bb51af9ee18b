"""The command line: what it leaves behind, and what it says to bad input."""

import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, strategies as st
from rich.console import Console
from typer.testing import CliRunner

from jaxflow import claims, cli
from jaxflow.cli.sweep import parse_widths
from jaxflow.report.tables import concise, width_table
from jaxflow.sweeps.summary import by_width

CLAIM = """
import numpy as np

from jaxflow.claims import Evidence, Paper, presets

given = Paper("given", "me", provenance="derived")


@given.claim(
    "{{says}}",
    name="{name}",
    settings=presets(quick=1, paper=1, large=1),
    mutant={{"least": {mutant}, "says": "x > 1"}},
    control={{"least": 0.5, "says": "x > -1"}},
)
def judge(found, least={least}, says="[x]_+ >= 0"):
    return Evidence(np.array([least, *[1.0] * 7]), measured={{"nan": np.nan}})
"""


@pytest.fixture(autouse=True)
def _precision():
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(4, 8)), rng.normal(size=(4, 1))
    np.savez("good.npz", X=X, Y=Y)
    np.savez("nan.npz", X=np.where(X[0, 0] == X, np.nan, X), Y=Y)
    np.savez("misfit.npz", X=X, Y=Y[:3])
    rows = [",".join(f"x{i}" for i in range(8)) + ",y"]
    rows += [",".join(f"{v:.6f}" for v in (*x, *y)) for x, y in zip(X, Y, strict=True)]
    Path("good.csv").write_text("\n".join(rows) + "\n")
    Path("file").write_text("")
    Path("taken.zarr").mkdir()
    Path("figure.png").write_text("")
    for name, least, mutant in (("true", 0.5, -1), ("false", -0.5, -1), ("unsound", 0.5, 1)):
        Path(f"{name}.py").write_text(CLAIM.format(name=name, least=least, mutant=mutant))
    return tmp_path


def files():
    return {str(path): path.stat().st_mtime_ns for path in Path().rglob("*")
            if "__pycache__" not in path.parts}  # fmt: skip


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def refused(*arguments):
    """The one sentence that bad input gets."""
    before = files()
    result = call(*arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(
        result.exception
    )
    assert result.exit_code == 2
    assert files() == before
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert lines[0].endswith(".")
    assert result.stdout == ""
    return lines[0].removeprefix("error: ")


# Widths


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(2, 40))
def test_a_range_of_widths_is_log_spaced_from_end_to_end(low, more, count):
    widths = parse_widths(f"{low}:{low + more}:{count}")
    assert widths == sorted(set(widths))
    assert (widths[0], widths[-1]) == (low, low + more)
    assert len(widths) <= count
    exact = np.geomspace(low, low + more, count)
    assert {round(w) for w in exact} == set(widths)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_seven_widths_unless_said(a, b):
    low, high = sorted((a, b))
    assert parse_widths(f"{low}:{high}") == parse_widths(f"{low}:{high}:7")


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=9))
def test_a_list_of_widths_is_sorted_without_repeats(widths):
    assert parse_widths(",".join(map(str, widths))) == sorted(set(widths))


def test_the_widths_of_the_manual():
    assert parse_widths("64:4096") == [64, 128, 256, 512, 1024, 2048, 4096]
    assert parse_widths("64:1073741824:5") == [64, 4096, 262144, 16777216, 1073741824]
    assert parse_widths(" 64, 8") == [8, 64]


def widths_or_a_sentence(text):
    try:
        return parse_widths(text)
    except ValueError as error:
        return str(error)


@given(st.text(alphabet="0123456789:,.-e x", max_size=12))
def test_widths_are_positive_integers_or_a_sentence(text):
    found = widths_or_a_sentence(text)
    if isinstance(found, str):
        assert "width" in found
        assert found.endswith(".")
    else:
        assert found
        assert all(type(width) is int and width >= 1 for width in found)


@pytest.mark.parametrize("text", ["8:100000000000000000000:2", "1:" + 400 * "9"])
def test_no_width_is_too_large_for_an_answer(text):
    assert widths_or_a_sentence(text)


# Numbers as people write them


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (3.0231, 0.0082, "3.023(8)"),
        (0.51, 0.0, "0.51"),
        (0.51, math.nan, "0.51"),
        (123.4, 20.0, "123(20)"),
        (0.999, 0.06, "1.00(6)"),
    ],
)
def test_a_value_with_its_uncertainty(value, error, text):
    assert concise(value, error) == text


@given(st.floats(1e-6, 1e6), st.floats(1e-9, 1e3))
def test_the_digits_in_brackets_are_the_uncertainty(value, error):
    shown, _, digits = concise(value, error).removesuffix(")").partition("(")
    decimals = len(shown.partition(".")[2])
    assert abs(float(shown) - value) <= 0.5000001 * 10.0**-decimals
    assert abs(int(digits) * 10.0**-decimals - error) <= 0.5000001 * 10.0**-decimals


# A sweep, once


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    rng = np.random.default_rng(1)
    rows = ["a,b,c,d,e,f,g,h,y"] + [",".join(map(str, rng.normal(size=9))) for _ in range(5)]
    (folder / "small.csv").write_text("\n".join(rows) + "\n")
    result = call(
        "sweep", "--data", folder / "small.csv", "--targets", "y", "--samples", 4,
        "--widths", "8:32:3", "--seeds", 8, "--chunk", 16, "--store", folder / "deep" / "run.zarr",
    )  # fmt: skip
    return folder / "deep", result


def test_a_sweep_exits_well_and_leaves_three_files(swept):
    folder, result = swept
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert sorted(os.listdir(folder)) == ["run.json", "run.png", "run.zarr"]


def test_the_dataset_opens(swept):
    folder, _ = swept
    dataset = xr.open_zarr(folder / "run.zarr", consolidated=False)
    assert dataset.sizes == {"width": 3, "seed": 8, "time": 257}
    np.testing.assert_array_equal(dataset["width"], [8, 16, 32])
    assert (dataset["status"] == 1).all()
    assert np.all(dataset["log_excess_end"] - dataset["log_excess_start"] < -46)
    settings = json.loads(dataset.attrs["settings"])
    assert settings["axes"]["width"] == ["8", "16", "32"]
    assert json.loads(dataset.attrs["versions"])["jax"] == jax.__version__


def test_the_figure_is_an_image(swept):
    folder, _ = swept
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "run.png").stat().st_size > 10_000


def test_the_verdict_is_strict_json(swept):
    folder, _ = swept

    def never(name):
        raise AssertionError(name)

    found = json.loads((folder / "run.json").read_text(), parse_constant=never)
    assert {"versions", "settings", "verdicts"} <= set(found)
    assert found["settings"]["seeds"] == 8
    (verdict,) = found["verdicts"]
    assert verdict["id"] == "min2021.rate"
    assert verdict["holds"] is True
    assert verdict["preset"] == "own"
    assert verdict["trajectories"] == 24
    assert verdict["mutant"]["holds"] is False
    assert verdict["control"]["holds"] is True


def test_the_table_has_every_width_and_its_numbers(swept):
    folder, result = swept
    lines = [line.split() for line in result.stdout.splitlines()]
    rows = by_width(xr.open_zarr(folder / "run.zarr", consolidated=False))
    for row in rows:
        (cells,) = [line for line in lines if line and line[0] == str(row.width)]
        assert cells[1:5] == [
            f"{value:.3f}" for value in (row.c, row.bound_rate, row.measured_rate, row.slack)
        ]
        assert cells[5] == "100%"
    assert "HOLDS" in result.stdout
    assert "24 trajectories in" in result.stdout
    # Centred, four samples have rank three.
    assert "4 samples, 8 features, 1 target; rank 3" in " ".join(result.stdout.split())


def test_a_table_of_wide_networks_keeps_its_digits_where_lines_are_short(swept):
    folder, _ = swept
    dataset = xr.open_zarr(folder / "run.zarr", consolidated=False)
    rows = by_width(dataset.assign_coords(width=[8, 10**6, 10**9]))
    console = Console(width=80, file=io.StringIO())  # as it is where the output is a file
    console.print(width_table(rows), crop=False)
    text = console.file.getvalue()
    assert "1,000,000,000" in text
    assert f"{rows[2].slack:.3f}" in text
    assert "…" not in text


# Bad input


GOOD = ("sweep", "--data", "good.npz", "--seeds", 2)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--data", "nothing"), "digits"),
        (("--data", "gone.npz"), "gone.npz"),
        (("--data", ""), "data set"),
        (("--data", "nan.npz"), "NaN"),
        (("--data", "misfit.npz"), "rows"),
        (("--data", "file"), "file"),
        (("--data", "good.csv"), "targets"),
        (("--data", "good.csv", "--targets", "z"), "'z'"),
        (("--data", "good.csv", "--targets", "y,y"), "twice"),
        (("--targets", "y"), "targets"),
        (("--widths", "0"), "at least 1"),
        (("--widths", "8,0"), "at least 1"),
        (("--widths", "-8"), "at least 1"),
        (("--widths", "0:8"), "64:4096"),
        (("--widths", "8:4"), "64:4096"),
        (("--widths", "8:16:0"), "64:4096"),
        (("--widths", "8:16:2:3"), "64:4096"),
        (("--widths", "eight"), "64:4096"),
        (("--widths", ""), "64:4096"),
        (("--widths", "8.5"), "64:4096"),
        (("--alpha", "0.25"), "alpha"),
        (("--alpha", "0.6"), "alpha"),
        (("--alpha", "nan"), "alpha"),
        (("--scale", "0.1"), "pair"),
        (("--scale", "0.1,-0.1"), "scale"),
        (("--scale=-0.1,0.1",), "scale"),
        (("--scale", "0,1"), "scale"),
        (("--scale", "inf,1"), "scale"),
        (("--scale", "a,b"), "scale"),
        (("--rtol", "1e-20"), "rtol"),
        (("--rtol", "0"), "rtol"),
        (("--rtol", "nan"), "rtol"),
        (("--rtol", "1"), "rtol"),
        (("--chunk", "0"), "chunk"),
        (("--samples", "0"), "samples"),
        (("--samples", "-1"), "samples"),
        (("--samples", "5"), "samples"),
        (("--seeds", "0"), "seeds"),
        (("--seeds", "-3"), "seeds"),
        (("--key", "99999999999999999999"), "key"),
        (("--precision", "float16"), "precision"),
        (("--precision", "float32", "--rtol", "1e-8"), "float32"),
        (("--store", "taken.zarr"), "taken.zarr"),
        (("--store", "figure.zarr"), "figure.png"),
        (("--store", "run"), ".zarr"),
        (("--store", "run.nc"), ".zarr"),
        (("--store", "file/run.zarr"), "folder"),
        (("--store", "file/deep/run.zarr"), "folder"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_bad_input_to_a_sweep_gets_one_sentence(here, unchecked, arguments, word):
    assert word in refused(*GOOD, *arguments)


@pytest.mark.parametrize("name", ["gone [red].npz", "gone [/red].npz", "[bold]gone.csv"])
def test_a_name_with_brackets_is_shown_as_it_is(here, unchecked, name):
    assert name in refused("sweep", "--data", name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_refused(here):
    here.joinpath("locked").mkdir(mode=0o500)
    assert "written" in refused(*GOOD, "--store", "locked/run.zarr")
    assert "written" in refused("verify", "true.py", "--json", "locked/out.json")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nothing",), "min2021.rate"),
        (("min2021.rate", "nothing"), "min2021.rate"),
        (("--preset", "huge"), "quick, paper, large"),
        (("gone.py",), "gone.py"),
        (("true.py", "--json", "no/folder.json"), "folder"),
        (("true.py", "--json", "file/out.json"), "folder"),
        (("true.py", "--report", "file"), "folder"),
        (("true.py", "--report", "file/report"), "folder"),
        (("true.py", "--figures", "file"), "folder"),
        (("true.py", "--jobs", "0"), "jobs"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_bad_input_to_verify_gets_one_sentence(here, arguments, word):
    assert word in refused("verify", *arguments)


def test_a_verdict_that_cannot_be_written_is_refused_before_anything_runs(here):
    assert "taken.zarr" in refused("verify", "true.py", "--json", "taken.zarr")


def test_a_broken_file_of_claims_is_refused(here):
    Path("broken.py").write_text("def f(:\n")
    assert "broken.py" in refused("verify", "broken.py")


def test_a_file_of_claims_is_loaded_in_double_precision(here):
    Path("early.py").write_text("import jax\nassert jax.config.read('jax_enable_x64')\n")
    jax.config.update("jax_enable_x64", False)
    try:
        assert "defines no claims" in refused("verify", "early.py")
    finally:
        jax.config.update("jax_enable_x64", True)


# Verify


def verdicts(name):
    return json.loads(Path(name).read_text())["verdicts"]


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["true.py"], 0),
        (["false.py"], 1),
        (["unsound.py"], 1),
        (["true.py", "false.py"], 1),
    ],
)
def test_the_exit_code_is_zero_only_if_all_is_as_expected(here, names, code):
    result = call("verify", *names, "--json", "out.json")
    assert result.exit_code == code
    assert [v["id"] for v in verdicts("out.json")] == [
        f"given.{name.removesuffix('.py')}" for name in names
    ]
    assert not list(here.glob(".*"))


def test_a_verdict_is_shown_as_it_is(here):
    result = call("verify", "false.py")
    for text in ("[x]_+ >= 0", "REFUTED", "worst slack", "given.false", "mutant", "control"):
        assert text in result.stdout
    assert "given.false: refuted (you expected it to hold)" in result.stdout
    assert "as it should be" in result.stdout
    assert "cannot" not in result.stdout
    assert "cannot fail" in call("verify", "unsound.py").stdout


def test_a_record_replaces_the_one_before(here):
    Path("out.json").write_text("old")
    assert call("verify", "true.py", "--json", "out.json").exit_code == 0
    (verdict,) = verdicts("out.json")
    assert (verdict["holds"], verdict["measured"]) == (True, {"nan": None})


def test_the_files_grow_and_a_killed_run_is_resumed(here, monkeypatch):
    found = {claim.id: claim for name in ("true.py", "false.py") for claim in claims.find(name)}
    for room in (claims, claims.registry):
        monkeypatch.setattr(room, "catalogue", lambda: found)
    judge = claims.verify_all
    asked = []

    def killed(names, **options):
        for verdict in judge(names, **options):
            asked.append(verdict.id)
            yield verdict
            assert Path("out.json").exists()
            assert len(verdicts("out.json")) == len(asked)
            raise KeyboardInterrupt

    options = ("verify", *found, "--json", "out.json", "--report", "page")
    monkeypatch.setattr(claims, "verify_all", killed)
    assert call(*options).exit_code != 0
    assert [v["id"] for v in verdicts("page/verdicts.json")] == asked == ["given.true"]

    def rest(names, **more):
        asked.extend(names)
        return judge(names, **more)

    monkeypatch.setattr(claims, "verify_all", rest)
    assert call(*options, "--resume").exit_code == 1  # one of them is unexpected
    assert [v["id"] for v in verdicts("out.json")] == asked == ["given.true", "given.false"]
    assert "given.true" in Path("page/index.html").read_text()
    # Nothing is left to do; verdicts of other code, of a user's file or of no claim are not taken.
    assert call(*options, "--resume").exit_code == 1
    assert asked == ["given.true", "given.false"]
    record = json.loads(Path("out.json").read_text()) | {"code": "another"}
    Path("out.json").write_text(json.dumps(record))
    Path("page/verdicts.json").unlink()
    call(*options, "--resume")
    assert asked[2:] == ["given.true", "given.false"]
    call("verify", "true.py", "--json", "out.json", "--resume")
    assert asked[4:] == ["true.py"]
    Path("out.json").write_text("[]")
    assert "no verdicts" in refused("verify", "true.py", "--json", "out.json", "--resume")
    assert "--json or --report" in refused("verify", "true.py", "--resume")


def test_all_claims_without_a_name(here, monkeypatch):
    found = claims.find("true.py") + claims.find("false.py")
    for room in (claims, claims.registry):
        monkeypatch.setattr(room, "catalogue", lambda: {claim.id: claim for claim in found})
    assert call("verify", "--json", "out.json").exit_code == 1
    assert [v["id"] for v in verdicts("out.json")] == ["given.true", "given.false"]


# Info, and the command itself


def test_info_names_versions_and_devices():
    result = call("info")
    assert result.exit_code == 0
    for word in ("python", "jax", jax.__version__, "diffrax", "cpu", "float64", "CPUs"):
        assert word in result.stdout


def test_the_manual_is_printed_without_a_command():
    shown = call().output
    for command in ("sweep", "verify", "info"):
        assert command in shown


def test_the_installed_command_runs_and_refuses(tmp_path):
    command = Path(sys.executable).with_name("jaxflow")
    arguments = ["sweep", "--data", "digits", "--precision", "float32", "--rtol", "1e-8"]
    found = subprocess.run([command, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("error: rtol=1e-08 is out of reach in float32")
    assert len(found.stderr.strip().splitlines()) == 1
    assert os.listdir(tmp_path) == []
