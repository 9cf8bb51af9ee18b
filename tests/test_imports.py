"""Imports go one way, every file fits on a few screens, and the whole stays small."""

import ast
from pathlib import Path

import pytest

import jaxflow as jf

ROOT = Path(jf.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

# The main line: a room may import from those before it.
LINE = (
    *("machine", "data", "networks", "dynamics", "measures", "sweeps", "falsify", "claims"),
    *("papers", "studies"),
)
MAY = {room: {"_types", *LINE[:number]} for number, room in enumerate(LINE)}
MAY["machine"] = set()
# A measure may read a predicted rate. `theory` itself knows data and networks only.
for room in ("measures", "sweeps", "falsify", "claims", "papers", "studies"):
    MAY[room] |= {"theory"}
MAY["_types"] = {"data", "networks"}
MAY["theory"] = {"_types", "machine", "data", "networks"}
# Reads results: it may name their types, and simulates nothing.
MAY["report"] = {"_types", "machine", "data", "networks", "theory", "sweeps", "claims"}
MAY["studies"] |= {"report"}  # a study returns its figure
MAY["cli"] = {*LINE, "_types", "theory", "report"}
# The engine walks the shelf of papers when it is asked for a claim.
EXCEPTIONS = {"claims/registry.py": {"papers"}}


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    """The rooms of jaxflow that a file imports from, wherever in it."""
    package = ("jaxflow", *path.relative_to(ROOT).parts[:-1])
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            modules |= {(*base, alias.name) for alias in node.names}
    return {module[1] for module in modules if module[0] == "jaxflow" and len(module) > 1}


def lines(path):
    return len(path.read_text().splitlines())


def test_every_room_has_its_place_in_the_order():
    assert {room_of(path) for path in FILES} - {"__init__"} <= set(MAY)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_go_one_way(path):
    here = room_of(path)
    if here != "__init__":
        known = EXCEPTIONS.get(path.relative_to(ROOT).as_posix(), set())
        assert imported(path) - {here} - known <= MAY[here]


def test_the_import_reader_sees_what_is_there():
    assert "claims" in imported(ROOT / "cli" / "verify.py")
    assert {"data", "networks"} <= imported(ROOT / "theory" / "rates" / "imbalance.py")
    assert "data" in imported(ROOT / "sweeps" / "plan.py")


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_file_has_at_most_400_lines(path):
    assert lines(path) <= 400


def test_the_engine_and_the_whole_stay_small():
    assert sum(map(lines, ROOT.glob("claims/**/*.py"))) <= 1_130
    assert sum(map(lines, FILES)) <= 26_450
