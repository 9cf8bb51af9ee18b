"""Many claims at once: on CPU in several processes, since most of the time goes into compiling."""

import concurrent.futures
import multiprocessing
import os
from collections.abc import Iterator, Sequence

import jax
from threadpoolctl import threadpool_limits

from ..machine import keep_programs
from ..machine.arguments import integer
from .experiments import shared_runs
from .registry import find
from .verdict import Verdict
from .verify import verify

PART = 7  # claims of a paper that stay together, at most
Part = list[tuple[str, str]]  # ids of claims, and the names by which they were asked for


def verify_all(
    names: Sequence[str], *, preset: str = "quick", jobs: int | None = None
) -> Iterator[Verdict]:
    """The verdicts on all claims that `names` mean, as they come in.

    **Arguments:** ids, papers or paths of Python files, as in `find`; the `preset`; and the number
    of processes, by default one per core on CPU if there is more than one paper, else 1.

    Claims of a paper, or of a group of papers, share experiments and compiled programs, and stay
    together.

    **Raises:** `ValueError` for a name that means no claim, or `jobs` below 1.
    """
    if jobs is not None:
        jobs = integer("jobs", jobs)
    papers: dict[str, dict[str, str]] = {}
    for name in names:
        for claim in find(name):
            paper = name if name.endswith(".py") else claim.group or claim.id.split(".")[0]
            papers.setdefault(paper, {})[claim.id] = name
    # The longest first: what is left at the end is short.
    groups = [list(group.items()) for group in papers.values()]
    parts = [
        group[i : i + PART]
        for group in sorted(groups, key=lambda group: -len(group))
        for i in range(0, len(group), PART)
    ]
    # Names that mean nothing have been refused by now, not when the first verdict is asked for.
    return _verdicts(parts, preset, _processes(jobs, len(papers)))


def _verdicts(parts: list[Part], preset: str, count: int) -> Iterator[Verdict]:
    if count == 1:
        for part in parts:
            yield from _judged(part, preset)
        return
    context = multiprocessing.get_context("spawn")
    settings = (bool(jax.config.read("jax_enable_x64")),)
    with concurrent.futures.ProcessPoolExecutor(count, context, _begin, settings) as pool:
        tasks = [pool.submit(_all_judged, part, preset) for part in parts]
        try:
            for task in concurrent.futures.as_completed(tasks):
                yield from task.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _processes(jobs: int | None, papers: int) -> int:
    if jobs is None:
        jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        if jax.default_backend() != "cpu":
            jobs = 1
    return max(min(jobs, papers), 1)


def _begin(x64: bool) -> None:
    jax.config.update("jax_enable_x64", x64)
    keep_programs()
    threadpool_limits(1, user_api="blas")


def _judged(part: Part, preset: str) -> Iterator[Verdict]:
    found = {claim.id: claim for _, name in part for claim in find(name)}
    with shared_runs():
        for id, _ in part:
            yield verify(found[id], preset=preset)


def _all_judged(part: Part, preset: str) -> list[Verdict]:
    return list(_judged(part, preset))
