"""Experiments run once, however many claims, mutants and controls look at them."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import xarray as xr

from ..machine.progress import Progress
from ..sweeps import Sweep, run

F = TypeVar("F", bound=Callable[..., Any])

# What has been run, by function and arguments; None outside of `shared_runs`.
_runs: dict[Any, Any] | None = None


@contextmanager
def shared_runs() -> Iterator[None]:
    """Keep the results of experiments until this block ends: claims judged in it share them.

    `verify` opens one for a claim, its mutant and its control, and `verify_all` one for the claims
    of a paper. Nothing is kept outside, so that an experiment that was edited is run again.
    """
    global _runs
    outer, _runs = _runs, {} if _runs is None else _runs
    try:
        yield
    finally:
        _runs = outer


def once(function: F) -> F:
    """An experiment: within `shared_runs` it runs once for the same arguments.

    Arguments that cannot be hashed, such as arrays, tell no two calls apart: nothing is kept then.
    `progress` only listens, and another listener is not another experiment.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def kept(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        key = function, tuple((n, v) for n, v in bound.arguments.items() if n != "progress")
        if _runs is None or not _hashable(key):
            return function(*args, **kwargs)
        if key not in _runs:
            _runs[key] = function(*args, **kwargs)
        return _runs[key]

    return kept  # type: ignore[return-value]


def _hashable(key: Any) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True


@once
def finished(sweep: Sweep, progress: Progress | bool = False) -> xr.Dataset:
    """The dataset of a sweep, which is run once."""
    return run(sweep, progress=progress)


def give(sweep: Sweep, dataset: xr.Dataset) -> None:
    """Within `shared_runs`, take this dataset for that of the sweep, which is not run again."""
    assert _runs is not None
    _runs[finished.__wrapped__, (("sweep", sweep),)] = dataset  # type: ignore[attr-defined]
