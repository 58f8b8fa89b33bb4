"""How much is tried, and what came of it: one line for each test at the end of the run."""

import os
import time
from collections import Counter

_ASKED_FOR = os.environ.get("FACEATTR_FUZZ_INPUTS")
IS_SLICE = _ASKED_FOR is None
"""Whether only so much is tried as fits into every run of the tests, and the same each time."""
INPUTS = int(_ASKED_FOR or 1000)
EXAMPLES = max(20, INPUTS // 5)
"""Of one property."""
FIRST = int(os.environ.get("FACEATTR_FUZZ_FIRST", "0"))
"""The number of the first picture: one that failed can be tried alone, and a long run can be continued."""


class Tally:
    """What one test tried."""

    lines: list[str] = []  # noqa: RUF012  # of all tests

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
