"""The command line: `jaxflow sweep | run | verify | cite | new | info | completion`."""

from typing import Any

import typer
import typer.core

from .cite import cite
from .common import FAILURES, fail, of_devices
from .completion import completion
from .info import info
from .new import new
from .run import run
from .sweep import sweep
from .verify import verify


class _Commands(typer.core.TyperGroup):
    """The commands; whichever runs, what JAX says of its devices becomes one sentence."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):  # RuntimeErrors, too
            raise
        except FAILURES as error:
            said = of_devices(error)
            if said is None:
                raise
            fail(said)


app = typer.Typer(
    cls=_Commands,
    help="A laboratory for gradient-flow theory.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,  # each use of the Tab key would import JAX: see `completion`
    pretty_exceptions_enable=False,
)
for command in (sweep, run, verify, cite, new, info, completion):
    app.command()(command)


def main() -> None:
    """Entry point of the `jaxflow` command."""
    app()
