"""`jaxflow sweep`: the main job."""

import json
import warnings
from pathlib import Path
from typing import Annotated

import jax
import typer
from rich.markup import escape

from .. import data as problems, report
from ..data import Regression
from ..machine.progress import Progress, bar
from ..report.tables import LEGEND, exponent_line, problem_line, verdict_panel, width_table
from ..studies import WidthStudy, width
from ..studies.width import CURVES
from .common import (
    checked,
    interrupted,
    keep,
    out,
    reachable,
    set_precision,
    spaced,
    write_json,
)

WIDEST = 2**53  # the last integer before floats leave gaps


def sweep(
    data: Annotated[
        str, typer.Option(help="digits, iris, ..., or the path of a .npz, .csv or .parquet file.")
    ] = "digits",
    samples: Annotated[
        int | None, typer.Option(help="Rows to use.", show_default="12 of digits, else all")
    ] = None,
    targets: Annotated[
        str | None, typer.Option(help="Target columns of a table, separated by commas.")
    ] = None,
    x: Annotated[str | None, typer.Option("--x", help="Array X of a .npz, if not X.")] = None,
    y: Annotated[str | None, typer.Option("--y", help="Array Y of a .npz, if not Y.")] = None,
    missing: Annotated[
        str, typer.Option(help="Rows with missing values: refuse, or drop.")
    ] = "refuse",
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
        set_precision(precision)
        with warnings.catch_warnings():
            if precision == "float32":  # asked for
                warnings.filterwarnings("ignore", message="float64 data is being rounded")
            return problems.load(
                data,
                samples=12 if samples is None and data == "digits" else samples,
                targets=targets.split(",") if targets else None,
                x=x,
                y=y,
                missing=missing,
            )

    problem = checked(load)
    path = checked(lambda: _destination(store, Path(data).stem))

    def study(progress: Progress) -> WidthStudy:
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
        with bar(out, lambda: out.print(problem_line(data, problem))) as progress:
            found = checked(lambda: study(progress))
    except KeyboardInterrupt:
        interrupted(f"To resume, repeat it with [bold]--store {escape(str(path))}[/].")
    verdict, settings = found.verdict, json.loads(found.dataset.settings)
    keep(lambda: report.save_figure(found.figure, path.with_suffix(".png")))
    record = {"settings": settings, "verdicts": [verdict.to_json()]}
    keep(lambda: write_json(path.with_suffix(".json"), record))
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
            values = spaced(low, high, count)
    except (ValueError, OverflowError, TypeError):
        raise ValueError(shape) from None
    if min(values) < 1:
        raise ValueError(f"A width must be at least 1, got {min(values)}.")
    if max(values) > WIDEST:
        raise ValueError(f"A width may be at most {WIDEST:,}, got {max(values):,}.")
    return sorted(set(values))


def _seed(key: int) -> int:
    if not 0 <= key < 2**32:
        raise ValueError(f"key must lie between 0 and 2^32 - 1, got {key}.")
    return key


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
    reachable(store)
    return store
