"""Many claims at once: on CPU in several processes, since most of the time goes into compiling."""

import concurrent.futures
import multiprocessing
import os
from collections.abc import Iterator, Sequence

import jax
from threadpoolctl import threadpool_limits

from ..machine.cores import keep_programs
from .base import Claim, Verdict
from .registry import find
from .verify import verify


def verify_all(
    names: Sequence[str], *, preset: str = "quick", jobs: int | None = None
) -> Iterator[Verdict]:
    """The verdicts on all claims that `names` mean, as they come in.

    **Arguments:** ids, papers or paths of Python files, as in `find`; the `preset`; and the number
    of processes: default one a core on CPU, where there is more than one paper, else 1.

    Claims of a paper share sweeps and compiled programs, and stay together.
    """
    claims = {claim.id: (claim, name) for name in names for claim in find(name)}
    papers: dict[str, list[tuple[Claim, str]]] = {}
    for claim, name in claims.values():
        papers.setdefault(f"{name if name.endswith('.py') else claim.id.split('.')[0]}", []).append(
            (claim, name)
        )
    # What cannot be used is said now, not when the first verdict is asked for.
    return _verdicts(claims, papers, preset, _jobs(jobs, len(papers)))


def _verdicts(
    claims: dict[str, tuple[Claim, str]],
    papers: dict[str, list[tuple[Claim, str]]],
    preset: str,
    count: int,
) -> Iterator[Verdict]:
    if count == 1:
        for claim, _ in claims.values():
            yield verify(claim, preset=preset)
        return
    context = multiprocessing.get_context("spawn")
    settings = bool(jax.config.read("jax_enable_x64"))
    # The longest first: what is left at the end is short.
    order = sorted(papers.values(), key=lambda group: -len(group))
    pool = concurrent.futures.ProcessPoolExecutor(count, context, _begin, (settings,))
    with pool:
        tasks = [
            pool.submit(_judge, [(claim.id, name) for claim, name in part], preset)
            for group in order
            for part in _parts(group)
        ]
        try:
            for task in concurrent.futures.as_completed(tasks):
                yield from task.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


PART = 7  # claims of a paper that stay together at most


def _parts(group: list[tuple[Claim, str]]) -> Iterator[list[tuple[Claim, str]]]:
    for i in range(0, len(group), PART):
        yield group[i : i + PART]


def _jobs(jobs: int | None, papers: int) -> int:
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}.")
    if jobs is None:
        jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        if jax.default_backend() != "cpu":
            jobs = 1
    return min(jobs, papers)


def _begin(x64: bool) -> None:
    jax.config.update("jax_enable_x64", x64)
    keep_programs()
    threadpool_limits(1, user_api="blas")


def _judge(chosen: list[tuple[str, str]], preset: str) -> list[Verdict]:
    found = {claim.id: claim for _, name in chosen for claim in find(name)}
    return [verify(found[id], preset=preset) for id, _ in chosen]
