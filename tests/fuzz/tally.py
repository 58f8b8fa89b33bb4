"""The number of inputs, and the counts of their outcomes, which are printed at the end of the run."""

import os
import time
from collections import Counter

_ASKED_FOR = os.environ.get("FACEATTR_FUZZ_INPUTS")
IS_SLICE = _ASKED_FOR is None
"""Whether the inputs are the few, fixed ones of a normal test run."""
INPUTS = int(_ASKED_FOR or 1000)
EXAMPLES = max(20, INPUTS // 5)
"""Number of examples of one property."""
FIRST = int(os.environ.get("FACEATTR_FUZZ_FIRST", "0"))
"""The number of the first picture, to repeat a failed one or to continue a long run."""


class Tally:
    """The counts of one test."""

    lines: list[str] = []  # noqa: RUF012  # shared by all tests

    def __init__(self, name: str) -> None:
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self._name = name
        self._began = time.monotonic()

    def close(self) -> None:
        elapsed_s = time.monotonic() - self._began
        counted = ", ".join(f"{what} {number}" for what, number in sorted(self.counts.items()))
        head = f"{self._name}: {self.counts.total()} in {elapsed_s:.1f} s"
        self.lines.append("; ".join([head, counted, *self.notes]))
