"""The command line: `jaxflow sweep | verify | info`."""

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import jax
import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import claims, data as problems, report as plotting
from .claims import Verdict
from .data import Regression
from .machine import Stopwatch, environment
from .machine.cores import keep_programs, use_all_cores
from .machine.files import atomic_write
from .report.info import environment_table, remarks
from .report.tables import (
    LEGEND,
    exponent_line,
    problem_line,
    summary_line,
    verdict_panel,
    width_table,
)
from .studies import WidthStudy, width
from .studies.width import CURVES, TRAJECTORIES

WIDEST = 2**53  # the last integer before floats leave gaps
app = typer.Typer(
    help="A laboratory for gradient-flow theory.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
)
out, err = Console(), Console(stderr=True)


def main() -> None:
    """Entry point of the `jaxflow` command."""
    app()


@app.command()
def sweep(
    data: Annotated[
        str, typer.Option(help="digits, diabetes, or the path of a .npz or .csv file.")
    ] = "digits",
    samples: Annotated[
        int | None, typer.Option(help="Rows to use.", show_default="12 of digits, else all")
    ] = None,
    targets: Annotated[
        str | None, typer.Option(help="Target columns of a .csv, separated by commas.")
    ] = None,
    widths: Annotated[
        str,
        typer.Option(help="a:b[:k] for k log-spaced widths (default 7), or a list 64,256,1024."),
    ] = "64:4096",
    seeds: Annotated[int, typer.Option(help="Random initializations per width.")] = 64,
    alpha: Annotated[
        float,
        typer.Option(help="Entries are N(0, h^(-2 alpha)), h the width; 1/4 < alpha <= 1/2."),
    ] = 0.5,
    scale: Annotated[
        str | None, typer.Option(help="su,sv: standard deviations of U and V, instead of alpha.")
    ] = None,
    key: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    rtol: Annotated[
        float | None,
        typer.Option(
            help="Relative tolerance of the solver.", show_default="1e-8; 1e-5 in float32"
        ),
    ] = None,
    chunk: Annotated[
        int | None,
        typer.Option(help="Trajectories solved side by side.", show_default="by the device"),
    ] = None,
    curves: Annotated[
        bool | None,
        typer.Option(
            "--curves/--no-curves",
            help="Keep the loss at all saved times, not only statistics.",
            show_default=f"--curves up to {CURVES:,} trajectories",
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    store: Annotated[
        Path | None,
        typer.Option(
            help="Zarr directory for the dataset. If it holds a part of this sweep, the sweep is "
            "resumed.",
            show_default="next free runs/NAME-N.zarr",
        ),
    ] = None,
) -> None:
    """Train two-layer linear networks of many widths and judge the bound on their rate.

    Every trajectory is an exact gradient flow, followed until its excess loss L - L* has fallen to
    1e-20 of its start. Prints a table, and writes the dataset (.zarr), a figure (.png) and the
    verdict (.json). The time does not depend on the widths: 1000000000 takes as long as 100.
    """

    def load() -> Regression:
        _precision(precision)
        with warnings.catch_warnings():
            if precision == "float32":  # asked for
                warnings.filterwarnings("ignore", message="float64 data is being rounded")
            return problems.load(
                data,
                samples=12 if samples is None and data == "digits" else samples,
                targets=targets.split(",") if targets else None,
            )

    problem = _checked(load)
    path = _checked(lambda: _destination(store, Path(data).stem))
    bar = _progress()
    task = bar.add_task("")

    def progress(stage: str, done: int, total: int) -> None:
        if not bar.live.is_started:  # the first call: nothing was refused
            out.print(problem_line(data, problem))
            bar.start()
        if stage == TRAJECTORIES and not done:
            stage = f"compiling, then {total:,} {stage}"
        bar.update(task, description=stage, completed=done, total=total or None)

    def study() -> WidthStudy:
        return width(
            problem,
            parse_widths(widths),
            seeds=seeds,
            alpha=alpha,
            scale=None if scale is None else _floats("scale", scale),
            key=jax.random.key(_seed(key)),
            rtol=rtol,
            chunk=chunk,
            curves=curves,
            store=path,
            title=Path(data).name,
            progress=progress,
        )

    try:
        found = _checked(study)
    except KeyboardInterrupt:
        err.print(
            f"Interrupted. To resume, repeat it with [bold]--store {escape(str(path))}[/].",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    finally:
        if bar.live.is_started:
            bar.stop()
    verdict, settings = found.verdict, json.loads(found.dataset.settings)
    _keep(lambda: plotting.save_figure(found.figure, path.with_suffix(".png")))
    _keep(lambda: _write_json(path.with_suffix(".json"), [verdict], settings))
    out.print(width_table(found.rows), crop=False, soft_wrap=True)
    total, failed = found.sweep.trajectories, sum(row.failed for row in found.rows)
    if failed:
        out.print(f"[bold red]{failed:,} of {total:,} trajectories failed[/]; see `status`")
    out.print(LEGEND, style="dim", markup=False)
    out.print(exponent_line(found.fit, found.why, found.dataset))
    out.print(verdict_panel(verdict))
    out.print(
        f"{total:,} trajectories in {found.time.seconds:.1f} s, {found.time.compile:.1f} s of it "
        "compiling; this includes judging: a part of the sweep again with a 100 times smaller "
        "tolerance, and networks on which the bound is attained\n"
        f"data {path}   figure {path.with_suffix('.png')}   verdict {path.with_suffix('.json')}",
        highlight=False,
        soft_wrap=True,
    )
    raise typer.Exit(0 if verdict.holds is not False and verdict.sound else 1)


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of claims, papers, or Python files.", show_default="all"),
    ] = None,
    preset: Annotated[str, typer.Option(help="quick, paper or large.")] = "quick",
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the verdicts to this file.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a page, index.html, and verdicts.json to this folder."),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Write a figure per claim, ID.png, to this folder.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes.", show_default="one per core on CPU")
    ] = None,
) -> None:
    """Judge claims by experiment. The exit code is 0 only if all came out as expected."""

    def plan() -> list[str]:
        if preset not in claims.PRESETS:
            raise ValueError(
                f"No preset is called {preset!r}: choose one of {', '.join(claims.PRESETS)}."
            )
        if json_path is not None:
            if json_path.is_dir():
                raise ValueError(f"{json_path} is a folder: give --json the path of a file.")
            if not json_path.parent.is_dir():
                raise ValueError(f"There is no folder {json_path.parent}: create it first.")
            if not os.access(json_path.parent, os.W_OK):
                raise ValueError(f"{json_path.parent} cannot be written to.")
        for folder in (report, figures):
            if folder is not None:
                _writable(folder)
        chosen = names or list(claims.catalogue())
        several = len({claim.id.split(".")[0] for n in chosen for claim in claims.find(n)}) > 1
        if several and jobs != 1:  # each process of the pool configures its own device
            jax.config.update("jax_enable_x64", True)
        else:
            _precision("float64")
        return chosen

    chosen = _checked(plan)
    verdicts: list[Verdict] = []
    order = [claim.id for name in chosen for claim in claims.find(name)]
    own = {claim.id for name in chosen if name.endswith(".py") for claim in claims.find(name)}
    total = len(order)
    with Stopwatch() as clock, out.status(f"0 of {total} claims") as status:
        for verdict in _checked(lambda: claims.verify_all(chosen, preset=preset, jobs=jobs)):
            verdicts.append(verdict)
            out.print(verdict_panel(verdict))
            status.update(f"{len(verdicts)} of {total} claims")
    # In the order asked for, not the order in which they came.
    verdicts.sort(key=lambda verdict: order.index(verdict.id))
    settings = {"preset": preset, "claims": chosen}
    if json_path is not None:
        _keep(lambda: _write_json(json_path, verdicts, settings))
    if report is not None:
        record = {**environment(), "settings": settings}
        _keep(lambda: plotting.write_report(report / "index.html", verdicts, record))
        _keep(lambda: _write_json(report / "verdicts.json", verdicts, settings))
    if figures is not None:
        _keep(lambda: _draw(verdicts, figures))
    out.print(summary_line(verdicts, clock.seconds, own=own), soft_wrap=True)
    raise typer.Exit(0 if all(verdict.as_expected for verdict in verdicts) else 1)


@app.command()
def info() -> None:
    """Show versions, devices and precision, and what is slow on this machine and why."""
    _precision("float64")
    found = environment()
    out.print(environment_table(found, str(keep_programs() or "not kept on disk")))
    for remark in remarks(found):
        out.print(f"- {remark}", highlight=False)


def parse_widths(text: str) -> list[int]:
    """The widths of `a:b[:k]`, k (default 7) log-spaced ones, or of a list `64,256`."""
    shape = f"widths must look like 64:4096, 64:4096:7 or 64,256,1024, got {text!r}."
    try:
        if ":" not in text:
            values = [int(part) for part in text.split(",")]
        else:
            parts = [int(part) for part in text.split(":")]
            if len(parts) not in (2, 3):
                raise ValueError
            low, high, count = (*parts, 7)[:3]
            if low < 1 or high < low or count < 1:
                raise ValueError
            values = [round(w) for w in np.geomspace(low, high, count)]
    except (ValueError, OverflowError, TypeError):
        raise ValueError(shape) from None
    if min(values) < 1:
        raise ValueError(f"A width must be at least 1, got {min(values)}.")
    if max(values) > WIDEST:
        raise ValueError(f"A width may be at most {WIDEST:,}, got {max(values):,}.")
    return sorted(set(values))


def _precision(name: str) -> None:
    if name not in ("float64", "float32"):
        raise ValueError(f"precision must be float64 or float32, got {name!r}.")
    jax.config.update("jax_enable_x64", name == "float64")
    use_all_cores()
    keep_programs()


def _seed(key: int) -> int:
    if not 0 <= key < 2**32:
        raise ValueError(f"key must lie between 0 and 2^32 - 1, got {key}.")
    return key


def _writable(folder: Path) -> None:
    """Create the folder; `ValueError` if that fails, or if it cannot be written to."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"The folder {folder} cannot be created: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{folder} cannot be written to.")


def _floats(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{name} must be numbers separated by commas, got {text!r}.") from None


def _destination(store: Path | None, name: str) -> Path:
    if store is None:
        number = 1
        while any(Path("runs").glob(f"{name}-{number}.*")):
            number += 1
        store = Path("runs") / f"{name}-{number}.zarr"
    if store.suffix != ".zarr":
        raise ValueError(f"The store must end in .zarr, got {store}.")
    if store.exists():  # `run` resumes it, or refuses it if it is not the store of this sweep
        return store
    for path in (store.with_suffix(".png"), store.with_suffix(".json")):
        if path.exists():
            raise ValueError(f"{path} exists already: choose another --store, or move it away.")
    existing = next(parent for parent in store.absolute().parents if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise ValueError(
            f"{existing} is not a folder that can be written to: choose another --store."
        )
    return store


def _write_json(path: Path, verdicts: list[Verdict], settings: dict[str, Any]) -> None:
    record = {
        **environment(),
        "settings": settings,
        "verdicts": [verdict.to_json() for verdict in verdicts],
    }
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n")


def _draw(verdicts: list[Verdict], folder: Path) -> None:
    for verdict in verdicts:
        figure = plotting.verdict_figure(verdict)
        if figure is not None:
            plotting.save_figure(figure, folder / f"{verdict.id}.png")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=out,
        transient=True,
    )


def _fail(sentence: object) -> NoReturn:
    err.print(f"[bold red]error:[/] {escape(str(sentence))}", highlight=False, soft_wrap=True)
    raise typer.Exit(2)


def _checked(plan: Callable[[], Any]) -> Any:
    """The result of `plan`; bad input ends the command with one sentence and exit code 2."""
    try:
        return plan()
    except (ValueError, OSError) as error:
        _fail(error)


def _keep(write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        _fail(f"could not write the result: {error}")
