"""`jaxflow cite`: the papers behind the claims, in BibTeX."""

import re
from importlib import resources
from typing import Annotated

import typer

from .. import claims, papers
from .common import checked


def bibliography() -> dict[str, str]:
    """The entries of `references.bib`, beside the papers' claims, by key."""
    text = resources.files(papers).joinpath("references.bib").read_text("utf-8")
    entries = re.findall(r"^@\w+\{.+?^\}", text, re.DOTALL | re.MULTILINE)
    return {re.split("[{,]", entry, maxsplit=2)[1]: entry for entry in entries}


def papers_known() -> list[str]:
    """The ids of the papers."""
    return sorted({key.split("-")[0] for key in bibliography()})


def keys(name: str) -> list[str]:
    """The keys of a paper, or of a claim's paper: its id, and those that continue it by a hyphen.

    **Raises:** `ValueError` for a name that is neither a paper's nor a claim's.
    """
    paper, dot, _ = name.partition(".")
    found = [key for key in bibliography() if key.split("-")[0] == paper]
    if not found:
        known = ", ".join(papers_known())
        raise ValueError(f"No paper is called {paper!r}: choose one of {known}.")
    if dot and name not in claims.catalogue():
        known = ", ".join(claim.id for claim in claims.find(paper))
        raise ValueError(f"No claim is called {name!r}: choose one of {known}.")
    return found


def cite(
    names: Annotated[list[str], typer.Argument(help="Ids of claims or papers.")],
) -> None:
    """Print the BibTeX of papers, or of the papers that claims are about."""
    found = checked(lambda: [key for name in names for key in keys(name)])
    # As it is: neither wrapped to the width of the terminal nor taken for markup.
    print("\n\n".join(bibliography()[key] for key in dict.fromkeys(found)))
