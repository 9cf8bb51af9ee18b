"""What the benchmark scripts share: their options, their tables, and the record they leave."""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from jaxflow.machine import environment
from jaxflow.machine.files import atomic_write

RESULTS = Path(__file__).parent / "results"
console = Console(width=110)


def options(description: str) -> argparse.Namespace:
    """`--quick` (a smoke run that records nothing) and `--out DIR`; turns double precision on."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="few seeds, nothing recorded")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the record")
    chosen = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    return chosen


def show(title: str, headings: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def write(chosen: argparse.Namespace, name: str, results: dict[str, Any]) -> None:
    """Write `results` beside the environment they were measured in."""
    if chosen.quick:
        return
    path = chosen.out / f"{name}.json"
    with atomic_write(path) as partial:
        partial.write_text(json.dumps({"environment": environment(), **results}, indent=1) + "\n")
    console.print(f"wrote {path.name}")
