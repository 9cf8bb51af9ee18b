"""The time that a block of code takes, and how much of it is compilation."""

import time
from types import TracebackType

import jax

_compiling = 0.0


def _listen(event: str, duration_secs: float, **_: str | int) -> None:
    global _compiling
    # Tracing, lowering and the backend's compilation, of all programs of this process.
    if event.startswith("/jax/core/compile/"):
        _compiling += duration_secs


jax.monitoring.register_event_duration_secs_listener(_listen)


class Stopwatch:
    """Use as `with Stopwatch() as watch: ...`; then read `watch.seconds` and `watch.compile`."""

    def __enter__(self) -> "Stopwatch":
        self._wall, self._compiling = time.perf_counter(), _compiling
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._wall
        self.compile = min(self.seconds, _compiling - self._compiling)

    @property
    def run(self) -> float:
        """Seconds not spent compiling."""
        return self.seconds - self.compile
