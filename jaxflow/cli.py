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
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import claims, data as problems, measures, report as plotting, theory
from .claims import Verdict
from .data import Regression
from .machine import Stopwatch, environment
from .machine.cores import keep_programs, use_all_cores
from .machine.files import atomic_write
from .networks.init import Gaussian
from .papers.min2021 import Rate, allowance, rate_sweep
from .report.tables import LEGEND, exponent_line, verdict_panel, width_table
from .sweeps import Sweep, refuse, run
from .sweeps.summary import by_width, width_exponent

WIDEST = 2**53  # the last integer before floats leave gaps
CURVES = 4096  # trajectories, up to which whole curves are kept unless told otherwise
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
        typer.Option(
            help="a:b[:k] for k log-spaced widths (7 unless said), or a list 64,256,1024."
        ),
    ] = "64:4096",
    seeds: Annotated[int, typer.Option(help="Random initializations a width.")] = 64,
    alpha: Annotated[
        float, typer.Option(help="Entries are N(0, h^(-2 alpha)); 1/4 < alpha <= 1/2.")
    ] = 0.5,
    scale: Annotated[
        str | None, typer.Option(help="su,sv: standard deviations of U and V, instead of alpha.")
    ] = None,
    key: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    rtol: Annotated[
        float | None, typer.Option(help="Tolerance.", show_default="1e-8; 1e-5 in float32")
    ] = None,
    chunk: Annotated[
        int | None, typer.Option(help="Trajectories side by side.", show_default="by device")
    ] = None,
    curves: Annotated[
        bool | None,
        typer.Option(
            "--curves/--no-curves",
            help="Keep the loss at all times, not only statistics.",
            show_default=f"up to {CURVES:,} trajectories",
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    store: Annotated[
        Path | None,
        typer.Option(
            help="Where the dataset goes; an interrupted one is gone on with.",
            show_default="next free runs/NAME-N.zarr",
        ),
    ] = None,
) -> None:
    """Sweep the two-layer linear network over widths and seeds, and judge its rate bound.

    Every trajectory is the exact gradient flow, followed until its excess loss has fallen to
    1e-20 of the start. Leaves a table here, and a dataset (.zarr), a figure (.png) and a verdict
    (.json) on disk. A width costs nothing: 1000000000 takes as long as 100.
    """

    def plan() -> tuple[Sweep, Path]:
        _precision(precision)
        with warnings.catch_warnings():
            if precision == "float32":  # asked for
                warnings.filterwarnings("ignore", message="float64 data is being rounded")
            problem = problems.load(
                data,
                samples=12 if samples is None and data == "digits" else samples,
                targets=targets.split(",") if targets else None,
            )
        sizes = parse_widths(widths)
        keep = len(sizes) * seeds <= CURVES if curves is None else curves
        law = Gaussian(alpha) if scale is None else Gaussian(scale=_floats("scale", scale))
        planned = rate_sweep(
            problem,
            law,
            widths=sizes,
            measures=(*measures.standard(), *(measures.curves() if keep else ())),
            seeds=seeds,
            key=jax.random.key(_seed(key)),
            rtol=rtol,
            chunk=chunk,
        )
        path = _destination(store, Path(data).stem)
        refuse(planned, path)
        return planned, path

    planned, path = _checked(plan)
    problem = planned.cells[0].data
    out.print(
        f"[bold]{escape(data)}[/]: {problem.samples} samples, {problem.features} features, "
        f"{problem.outputs} targets; rank {problem.rank}, condition of X^T X "
        f"{float(problem.condition):.3g}, optimal loss {float(problem.optimal_loss):.3g}"
    )
    claim = Rate.on(planned)
    with Stopwatch() as clock:
        with _progress() as bar:
            task = bar.add_task("trajectories", total=planned.trajectories)
            dataset = _run(planned, path, lambda done, _: bar.update(task, completed=done))
        dataset["off_span_law"] = ("width", _law(planned))
        dataset["off_span_law"].attrs["long_name"] = "wide-network law of the off-span distance"
        with out.status("the same check on a mutant and a control"):
            verdict = claims.judge(
                claim, claim.gather(dataset, allowance(planned, dataset)), "quick"
            )
    fit, why = width_exponent(dataset, features=problem.features, rank=problem.rank)
    figure = plotting.sweep_figure(dataset, fit=fit, title=_title(data, problem, planned))
    _keep(lambda: plotting.save_figure(figure, path.with_suffix(".png")))
    _keep(lambda: _write_json(path.with_suffix(".json"), [verdict], json.loads(dataset.settings)))
    rows = by_width(dataset)
    out.print(width_table(rows), crop=False, soft_wrap=True)
    failed = sum(row.failed for row in rows)
    if failed:
        out.print(
            f"[bold red]{failed} of {planned.trajectories} trajectories failed[/]; see `status`"
        )
    out.print(LEGEND, style="dim")
    out.print(exponent_line(fit, why, dataset))
    out.print(verdict_panel(verdict))
    compile_seconds = min(clock.compile, clock.seconds)
    out.print(
        f"{planned.trajectories} trajectories in {clock.seconds:.1f} s, {compile_seconds:.1f} s "
        f"of it compiling\ndata {path}   figure {path.with_suffix('.png')}   verdict "
        f"{path.with_suffix('.json')}",
        highlight=False,
        soft_wrap=True,
    )
    raise typer.Exit(0 if verdict.holds is not False and verdict.sound else 1)


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Claims: ids, papers, or Python files.", show_default="all"),
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
        Path | None, typer.Option(help="Write a figure a claim, ID.png, to this folder.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes.", show_default="one a core on CPU")
    ] = None,
) -> None:
    """Judge claims by experiment. Exit code 0 only if every one came out as expected."""

    def plan() -> list[str]:
        if preset not in claims.PRESETS:
            raise ValueError(
                f"No preset is called {preset!r}: choose one of {', '.join(claims.PRESETS)}."
            )
        if json_path is not None:
            if json_path.is_dir():
                raise ValueError(f"{json_path} is a folder: give --json the path of a file.")
            if not json_path.parent.is_dir():
                raise ValueError(f"There is no folder {json_path.parent}: make it first.")
            if not os.access(json_path.parent, os.W_OK):
                raise ValueError(f"{json_path.parent} cannot be written to.")
        for folder in (report, figures):
            if folder is not None:
                _writable(folder)
        chosen = names or list(claims.catalogue())
        several = len({claim.id.split(".")[0] for n in chosen for claim in claims.find(n)}) > 1
        if several and jobs != 1:  # each process has a device of its own
            jax.config.update("jax_enable_x64", True)
        else:
            _precision("float64")
        return chosen

    chosen = _checked(plan)
    verdicts: list[Verdict] = []
    order = [claim.id for name in chosen for claim in claims.find(name)]
    total = len(order)
    with Stopwatch() as clock, out.status(f"0 of {total} claims") as status:
        for verdict in _checked(lambda: claims.verify_all(chosen, preset=preset, jobs=jobs)):
            verdicts.append(verdict)
            out.print(verdict_panel(verdict))
            status.update(f"{len(verdicts)} of {total} claims")
    verdicts.sort(key=lambda verdict: order.index(verdict.id))  # as asked, not as they came in
    settings = {"preset": preset, "claims": chosen}
    if json_path is not None:
        _keep(lambda: _write_json(json_path, verdicts, settings))
    if report is not None:
        record = {**environment(), "settings": settings}
        _keep(lambda: plotting.write_report(report / "index.html", verdicts, record))
        _keep(lambda: _write_json(report / "verdicts.json", verdicts, settings))
    if figures is not None:
        _keep(lambda: _draw(verdicts, figures))
    good = sum(verdict.as_expected for verdict in verdicts)
    out.print(f"{good} of {total} claims as expected, in {clock.seconds:.0f} s")
    raise typer.Exit(0 if good == total else 1)


@app.command()
def info() -> None:
    """Versions, devices, precision, and what is slow here and why."""
    _precision("float64")
    found = environment()
    table = Table(box=box.SIMPLE, show_header=False)
    for name, version in found["versions"].items():
        table.add_row(name, version)
    table.add_row("machine", f"{found['system']} {found['machine']}, {found['cpus']} CPUs")
    table.add_row("devices", ", ".join(found["devices"]) + f" ({found['backend']})")
    table.add_row("precision", "float64 here and in `jaxflow sweep`; your own code must enable it")
    table.add_row("compiled programs", str(keep_programs() or "not kept"))
    out.print(table)
    for remark in remarks(found):
        out.print(f"- {remark}", highlight=False)


def remarks(found: dict[str, Any]) -> list[str]:
    """What a user of this machine should know about its speed."""
    lines = []
    if found["backend"] == "cpu":
        lines.append(
            "No GPU: every core is a device here, with up to 64 trajectories side by side. A GPU "
            'pays from thousands of trajectories on; install with the extra "cuda" to use one.'
        )
    else:
        lines.append(
            "A small ODE is bound by kernel launches on a GPU: use large chunks (thousands)."
        )
    lines.append(
        "Real data is stiff: where the spectrum says so, sweeps take the implicit solver, whose "
        "steps hardly grow with the condition number of X^T X (jaxflow sweep --samples 50)."
    )
    lines.append(
        "The first solve of a shape compiles for several seconds; after that the program is kept. "
        "In your own code every core is a device only after "
        "jf.use_all_cores(), called before the first computation."
    )
    return lines


def parse_widths(text: str) -> list[int]:
    """`a:b[:k]` as k log-spaced widths (7 unless said), or a list `64,256`."""
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


def _run(planned: Sweep, path: Path, progress: Callable[[int, int], None]) -> Any:
    try:
        return _checked(lambda: run(planned, store=path, progress=progress))
    except KeyboardInterrupt:
        err.print(
            f"interrupted; the same command with [bold]--store {escape(str(path))}[/] goes on",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(130) from None


def _law(planned: Sweep) -> list[float]:
    law = planned.init
    options = {"alpha": law.alpha} if law.scale is None else {"scale": law.scale}
    problem = planned.cells[0].data
    return [float(theory.bias_law(problem, w, **options)) for w in planned.axes["width"]]


def _title(name: str, problem: Regression, planned: Sweep) -> str:
    return (
        f"{Path(name).name}: {problem.samples} samples, D = {problem.features}, "
        f"m = {problem.outputs}, rank {problem.rank}; {planned.seeds} seeds a width"
    )


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
    """Make the folder; `ValueError` if it cannot be, or be written to."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"The folder {folder} cannot be made: {error.strerror}.") from error
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
    if store.exists():  # to be gone on with, if it is the store of this sweep
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
    """What `plan` returns; bad input ends here with one sentence and exit code 2."""
    try:
        return plan()
    except (ValueError, OSError) as error:
        _fail(error)


def _keep(write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        _fail(f"could not write the result: {error}")
