"""Counting traces: a measure with a side effect on the host."""

from typing import ClassVar

import jaxflow as jf


class Traces(jf.Measure):
    """Counts how often it is traced; read the difference, since all tests share the count."""

    name: ClassVar[str] = "traces"
    count: ClassVar[list[int]] = [0]

    def finish(self, ts, saved, last, fixed):
        self.count[0] += 1
        return ts[0]
