"""`jaxflow run`: the experiments of a user's file."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from matplotlib.backend_bases import FigureCanvasBase
from rich.markup import escape

from .. import report
from ..dynamics import Solution
from ..machine import Stopwatch
from ..machine.files import plain
from ..machine.progress import bar
from ..machine.user_files import located
from ..report.tables import GRID_LEGEND, MEASURES_LEGEND, grid_tables, plural
from ..sweeps import Sweep
from ..sweeps.grid import Cell, by_cell, of_solution
from ..sweeps.run import run as run_sweep
from .common import (
    fail,
    interrupted,
    keep,
    of_devices,
    out,
    reachable,
    set_precision,
    writable_file,
    write_json,
)
from .experiments import Experiment, beside, find

ROWS = 60  # of a table, at most
FORMATS = FigureCanvasBase.get_supported_filetypes()


def run(
    target: Annotated[
        str, typer.Argument(metavar="FILE[:NAME]", help="A Python file, and one of its names.")
    ],
    store: Annotated[
        Path | None,
        typer.Option(
            help="Zarr directory for the dataset of a sweep. If it holds a part of it, the sweep "
            "is resumed.",
            show_default="none; results are printed only",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Trajectories per point of the grid.", show_default="FILE's")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE[,VALUE]",
            help="Change an axis (width=64,1024 or width=64:4096:7), a setting (t1=10), or an "
            "argument of the function that makes the experiment. Can be repeated.",
        ),
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Write a figure: .png, .pdf or .svg.")] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the numbers to this file.")
    ] = None,
) -> None:
    """Run the sweeps, flows and descents of a Python file.

    These are its jf.Sweep and Solution values at top level, and its functions without arguments
    that are annotated to return one, such as `def width() -> jf.Sweep`. FILE:NAME runs one of them,
    or any other function without arguments. Double precision is switched on before the file is
    loaded. If several are run, out.png stands for out-NAME.png, and likewise a store. Start with
    `jaxflow new experiment`.
    """

    def plan() -> list[Experiment]:
        set_precision("float64")
        for option, path in (("--figure", figure), ("--json", json_path)):
            if path is not None:
                writable_file(option, path)
        if figure is not None and figure.suffix[1:].lower() not in FORMATS:
            raise ValueError(f"A figure is a .png, .pdf or .svg file, got {figure}.")
        if store is not None:
            reachable(store.expanduser())
        changes = [*(settings or []), *([] if seeds is None else [f"seeds={seeds}"])]
        return [experiment.changed(changes) for experiment in find(target)]

    try:
        records = _all(_own(plan), figure, store)
    except KeyboardInterrupt:
        interrupted(
            "Repeat the command to resume."
            if store is not None
            else "Give --store PATH to be able to resume a sweep."
        )
    if json_path is not None:
        record = {"settings": {"file": target}, "experiments": records}
        keep(lambda: write_json(json_path, record))
        out.print(f"numbers {json_path}", highlight=False, soft_wrap=True)


def _all(chosen: list[Experiment], figure: Path | None, store: Path | None) -> list[dict[str, Any]]:
    """Run one experiment after another; their records for `--json`."""
    several = len(chosen) > 1
    records = []
    for experiment in chosen:
        name = experiment.name
        with out.status(f"{name}: solving"), Stopwatch() as clock:
            made = _own(experiment.made)
        drawing = None if figure is None else beside(figure, name, several)
        if isinstance(made, Sweep):
            path = None if store is None else beside(store.expanduser(), name, several)
            records.append(_sweep(name, made, path, drawing))
        else:
            if store is not None and not several:
                fail(f"{name!r} is one trajectory, and a store is for a Sweep: use --json.")
            records.append(_solution(name, made, clock, drawing))
    return records


def _own(plan: Callable[[], Any]) -> Any:
    """The result of `plan`; an error of the user's code, too, ends the command with a sentence."""
    try:
        return plan()
    except Exception as error:
        for cause in (error, error.__cause__):
            if cause is not None and (said := of_devices(cause)):
                fail(said)
        # The line of the user's own function, where an error of ours was raised from its error.
        said = (error.__cause__ and located(error.__cause__)) or located(error)
        if said is None and not isinstance(error, (ValueError, OSError)):
            raise
        fail(said or error)


def _sweep(name: str, sweep: Sweep, store: Path | None, drawing: Path | None) -> dict[str, Any]:
    """Run a sweep, print its table and write its figure; the record for `--json`."""

    def begin() -> None:
        out.print(f"[bold]{escape(name)}[/]  {escape(repr(sweep))}", highlight=False)

    with bar(out, begin) as listener:
        dataset = _own(lambda: run_sweep(sweep, store=store, progress=listener))
    rows = by_cell(dataset)
    _print(rows)
    legend = GRID_LEGEND + (MEASURES_LEGEND if rows[0].measures else "")
    out.print(legend, style="dim", markup=False, highlight=False)
    failed = sum(row.failed for row in rows)
    if failed:
        out.print(f"[bold red]{failed:,} of {sweep.trajectories:,} trajectories failed[/]")
    seconds, compiling = (dataset.attrs[f"seconds_{n}"] for n in ("run", "compile"))
    said = (
        f"{plural(sweep.trajectories, 'trajectories')} in {seconds + compiling:.1f} s, "
        f"{compiling:.1f} s of it compiling"
    )
    if store is not None:
        said += f"\ndata {store}"
    if drawing is not None:
        keep(lambda: report.save_figure(report.grid_figure(dataset, title=name), drawing))
        said += f"\nfigure {drawing}"
    out.print(said + "\n", highlight=False, soft_wrap=True)
    return {
        "name": name,
        "kind": "sweep",
        "settings": plain(sweep.describe()),
        "store": None if store is None else str(store),
        "seconds": seconds + compiling,
        "rows": [row.to_json() for row in rows],
    }


def _solution(
    name: str, solution: Solution, clock: Stopwatch, drawing: Path | None
) -> dict[str, Any]:
    """Print a solution and write its figure; the record for `--json`."""
    row = of_solution(solution)
    out.print(f"[bold]{escape(name)}[/]  {solution.call.name}", highlight=False)
    _print([row])
    try:
        solution.check()
    except RuntimeError as error:
        out.print(f"[bold red]{escape(str(error))}[/]", highlight=False, soft_wrap=True)
    said = f"{clock.seconds:.1f} s, {clock.compile:.1f} s of it compiling"
    if drawing is not None:
        keep(lambda: report.save_figure(report.trajectory(solution, title=name), drawing))
        said += f"\nfigure {drawing}"
    out.print(said + "\n", highlight=False, soft_wrap=True)
    along = {n: v for n, v in solution.measures.items() if hasattr(v, "__array__")}
    return {
        "name": name,
        "kind": solution.call.name,
        "seconds": clock.seconds,
        "row": row.to_json(),
        "optimal_loss": plain(solution.optimal_loss),
        "ts": plain(solution.ts),
        "log_excess": plain(solution.log_excess),
        "measures": {n: plain(v) for n, v in along.items()},
    }


def _print(rows: list[Cell]) -> None:
    """Print the table of the first rows."""
    for table in grid_tables(rows[:ROWS], out.width):
        out.print(table, crop=False, soft_wrap=True)
    if len(rows) > ROWS:
        out.print(f"and {plural(len(rows) - ROWS, 'more rows')}: see --json or --store")
