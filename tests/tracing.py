"""Counting traces: a measure with a side effect on the host."""

import logging
from typing import ClassVar

import jaxflow as jf


class Traces(jf.Measure):
    """Logs a line whenever it is traced. It holds no count: that would make it another measure."""

    name: ClassVar[str] = "traces"

    def finish(self, ts, saved, last, fixed):
        logging.getLogger("traces").info("traced")
        return ts[0]


class _Counter(logging.Handler):
    def __init__(self):
        super().__init__()
        self.count = 0

    def emit(self, record):
        self.count += 1


_COUNTER = _Counter()
logging.getLogger("traces").setLevel(logging.INFO)
logging.getLogger("traces").addHandler(_COUNTER)


def traced():
    """How often the measure has been traced; read the difference, since all tests share it."""
    return _COUNTER.count
