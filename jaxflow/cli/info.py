"""`jaxflow info`: versions, devices, and what is slow on this machine."""

from ..machine import environment, keep_programs
from ..report.info import environment_table, remarks
from .common import out, set_precision


def info() -> None:
    """Show versions, devices and precision, and what is slow on this machine and why."""
    set_precision("float64")
    found = environment()
    out.print(environment_table(found, str(keep_programs() or "not kept on disk")))
    for remark in remarks(found):
        out.print(f"- {remark}", highlight=False)
