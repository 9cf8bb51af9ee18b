"""`jaxflow verify`: judge claims."""

from pathlib import Path
from typing import Annotated

import typer

from .. import claims, report as plotting
from ..claims import Claim, Verdict
from ..machine import Stopwatch, environment
from ..report.tables import summary_line, verdict_panel
from .common import checked, keep, out, set_precision, writable_file, writable_folder, write_json


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

    def plan() -> dict[str, list[Claim]]:
        if preset not in claims.PRESETS:
            raise ValueError(
                f"No preset is called {preset!r}: choose one of {', '.join(claims.PRESETS)}."
            )
        if json_path is not None:
            writable_file("--json", json_path)
        for folder in (report, figures):
            if folder is not None:
                writable_folder(folder)
        set_precision("float64")  # before a user's file makes its data
        return {name: claims.find(name) for name in names or claims.catalogue()}

    found = checked(plan)
    chosen, verdicts = list(found), list[Verdict]()
    order = [claim.id for each in found.values() for claim in each]
    own = {claim.id for name in chosen if name.endswith(".py") for claim in found[name]}
    total = len(order)
    with Stopwatch() as clock, out.status(f"0 of {total} claims") as status:
        for verdict in checked(lambda: claims.verify_all(chosen, preset=preset, jobs=jobs)):
            verdicts.append(verdict)
            out.print(verdict_panel(verdict))
            status.update(f"{len(verdicts)} of {total} claims")
    # In the order asked for, not the order in which they came.
    verdicts.sort(key=lambda verdict: order.index(verdict.id))
    settings = {"preset": preset, "claims": chosen}
    record = {"settings": settings, "verdicts": [verdict.to_json() for verdict in verdicts]}
    if json_path is not None:
        keep(lambda: write_json(json_path, record))
    if report is not None:
        ran = {**environment(), "settings": settings}
        keep(lambda: plotting.write_report(report / "index.html", verdicts, ran))
        keep(lambda: write_json(report / "verdicts.json", record))
    if figures is not None:
        keep(lambda: _draw(verdicts, figures))
    out.print(summary_line(verdicts, clock.seconds, own=own), soft_wrap=True)
    raise typer.Exit(0 if all(verdict.as_expected for verdict in verdicts) else 1)


def _draw(verdicts: list[Verdict], folder: Path) -> None:
    for verdict in verdicts:
        figure = plotting.verdict_figure(verdict)
        if figure is not None:
            plotting.save_figure(figure, folder / f"{verdict.id}.png")
