"""What `jaxflow info` says: versions and devices, and what is slow on this machine and why."""

from typing import Any

from rich import box
from rich.table import Table


def environment_table(found: dict[str, Any], programs: str) -> Table:
    """The table of an `environment()`; `programs` is the folder of compiled programs."""
    table = Table(box=box.SIMPLE, show_header=False)
    for name, version in found["versions"].items():
        table.add_row(name, version)
    table.add_row("machine", f"{found['system']} {found['machine']}, {found['cpus']} CPUs")
    table.add_row("devices", ", ".join(found["devices"]) + f" ({found['backend']})")
    table.add_row("precision", "float64 in this command; your own code must enable it")
    table.add_row("compiled programs", programs)
    return table


def remarks(found: dict[str, Any]) -> list[str]:
    """What a user should know about the speed of this machine."""
    lines = []
    if found["backend"] == "cpu":
        lines.append(
            "There is no GPU: every core is used as a device, with up to 64 trajectories side by "
            "side. A GPU is faster for thousands of trajectories; install the extra 'cuda' to use "
            "one."
        )
    else:
        lines.append(
            "On a GPU, small problems spend their time on launching kernels: use large chunks "
            "(thousands of trajectories)."
        )
    lines.append(
        "Real data makes stiff problems. Sweeps recognize them by the spectrum and use an implicit "
        "solver, whose number of steps hardly grows with the condition number of X^T X (try "
        "jaxflow sweep --samples 50)."
    )
    lines.append(
        "The first solve with arrays of new shapes compiles for several seconds; the program is "
        "then kept on disk. In your own code, call jf.use_all_cores() before the first computation "
        "to use every core."
    )
    return lines
