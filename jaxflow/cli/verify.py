"""`jaxflow verify`: judge claims."""

import functools
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import claims, report as plotting
from ..claims import Claim, Verdict
from ..machine import Stopwatch, environment, versions
from ..machine.versions import code
from ..report.tables import summary_line, verdict_panel
from .common import checked, keep, out, set_precision, writable_file, writable_folder, write_json

PAGE = 20.0  # seconds between two pages


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
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Take verdicts that --json or --report hold already, if they come from the same "
            "code, versions and preset.",
        ),
    ] = False,
) -> None:
    """Judge claims by experiment. The exit code is 0 only if all came out as expected.

    The files of --json and --report grow as verdicts come in.
    """

    def plan() -> dict[str, list[Claim]]:
        if preset not in claims.PRESETS:
            raise ValueError(
                f"No preset is called {preset!r}: choose one of {', '.join(claims.PRESETS)}."
            )
        if resume and json_path is None and report is None:
            raise ValueError("--resume takes verdicts from --json or --report: give one of them.")
        if json_path is not None:
            writable_file("--json", json_path)
        for folder in (report, figures):
            if folder is not None:
                writable_folder(folder)
        set_precision("float64")  # before a user's file makes its data
        return {name: claims.find(name) for name in names or claims.catalogue()}

    found = checked(plan)
    chosen = list(found)
    order = [claim.id for each in found.values() for claim in each]
    own = {claim.id for name in chosen if name.endswith(".py") for claim in found[name]}
    record = Record({"preset": preset, "claims": chosen}, order, json_path, report)
    if resume:
        # What a user's own file imports may have changed.
        checked(lambda: record.take(set(order) - own))
    left = [
        part
        for name, each in found.items()
        for part in ([name] if name.endswith(".py") else [claim.id for claim in each])
        if part not in record.verdicts
    ]
    total, start = len(order), len(record.verdicts)
    if start:
        out.print(f"{start} of {total} claims were judged before", highlight=False)
    with Stopwatch() as clock, out.status(f"{start} of {total} claims") as status:
        for verdict in checked(lambda: claims.verify_all(left, preset=preset, jobs=jobs)):
            out.print(verdict_panel(verdict))
            keep(functools.partial(record.add, verdict))
            status.update(f"{len(record.verdicts)} of {total} claims")
    keep(record.write)
    verdicts = record.ordered
    if figures is not None:
        keep(lambda: _draw(verdicts, figures))
    out.print(summary_line(verdicts, clock.seconds, own=own), soft_wrap=True)
    raise typer.Exit(0 if all(verdict.as_expected for verdict in verdicts) else 1)


class Record:
    """Verdicts as they come in, and the files that grow with them."""

    def __init__(
        self, settings: dict[str, Any], order: list[str], json: Path | None, report: Path | None
    ):
        self.settings, self.order, self.page = settings, order, report
        self.files = [path for path in (json, report and report / "verdicts.json") if path]
        self.verdicts: dict[str, Verdict] = {}
        self.drawn = time.monotonic()

    @property
    def ordered(self) -> list[Verdict]:
        """In the order asked for, not the order in which they came."""
        return [self.verdicts[id] for id in self.order if id in self.verdicts]

    def take(self, ids: set[str]) -> None:
        """Take verdicts of these claims from the files, if they come from the same code."""
        for path in self.files:
            if not path.exists():
                continue
            try:
                found = json.loads(path.read_text())
                same = (found["code"], found["versions"], found["settings"]["preset"])
                verdicts = [Verdict.from_json(one) for one in found["verdicts"]]
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{path} holds no verdicts: leave out --resume.") from None
            if same == (code(), versions(), self.settings["preset"]):
                self.verdicts |= {v.id: v for v in verdicts if v.id in ids}

    def add(self, verdict: Verdict) -> None:
        """Keep a verdict; the page, which takes longer to write, follows now and then."""
        self.verdicts[verdict.id] = verdict
        self.write(page=time.monotonic() - self.drawn > PAGE)

    def write(self, *, page: bool = True) -> None:
        """Write the files."""
        rows = [verdict.to_json() for verdict in self.ordered]
        for path in self.files:
            write_json(path, {"settings": self.settings, "code": code(), "verdicts": rows})
        if page and self.page is not None:
            ran = {**environment(), "settings": self.settings}
            plotting.write_report(self.page / "index.html", self.ordered, ran)
            self.drawn = time.monotonic()
            for verdict in self.ordered:
                if verdict.certificate is not None:
                    folder = self.page / "certificates"
                    folder.mkdir(exist_ok=True)
                    verdict.certificate.save(folder / f"{verdict.id}.json")


def _draw(verdicts: list[Verdict], folder: Path) -> None:
    for verdict in verdicts:
        figure = plotting.verdict_figure(verdict)
        if figure is not None:
            plotting.save_figure(figure, folder / f"{verdict.id}.png")
