"""`jaxflow new`: a small file to start from."""

from pathlib import Path
from typing import Annotated

import typer

from .common import checked, out

TEMPLATES = Path(__file__).with_name("templates")
KINDS = {  # what runs the file
    "network": "run",
    "law": "run",
    "claim": "verify",
    "experiment": "run",
}


def new(
    kind: Annotated[str, typer.Argument(help="network, law, claim or experiment.")],
    path: Annotated[
        Path | None, typer.Argument(help="The file to write.", show_default="my_KIND.py")
    ] = None,
) -> None:
    """Write a small file that runs as it is: a network, a law, a claim or an experiment."""

    def write() -> Path:
        if kind not in KINDS:
            raise ValueError(f"There is no {kind!r}: choose one of {', '.join(KINDS)}.")
        file = Path(f"my_{kind}.py") if path is None else path.expanduser()
        if file.suffix != ".py":
            raise ValueError(f"{file} is no Python file: let its name end in .py.")
        if not file.parent.is_dir():
            raise ValueError(f"There is no folder {file.parent}: create it first.")
        text = (TEMPLATES / f"{kind}.py").read_text().replace(f"my_{kind}.py", file.name)
        try:
            with open(file, "x") as out:
                out.write(text)
        except FileExistsError:
            raise ValueError(f"{file} exists already: choose another name.") from None
        return file

    file = checked(write)
    out.print(f"Wrote {file}. Run it: jaxflow {KINDS[kind]} {file}", soft_wrap=True)
