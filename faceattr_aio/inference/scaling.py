"""How many workers there should be, by how long newcomers wait for one and how many have something to do. Decides, and
does nothing: knows no worker.
"""

import time
from collections import deque
from collections.abc import Callable

_LONG_WAIT = 1.0
"""Of the time for one task: who waits longer on average would be served sooner by one more worker."""
_LITTLE_TO_DO = 0.5
"""Share of the workers that would be left: when they would have less to do on average, one is too many. Twice as much
work is between this and a long wait, so that what was added is not taken away again at once.
"""
UP_S, DOWN_S = 2.0, 30.0


class Mean:
    """Of what was seen in the last `seconds`; None until so long was looked."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> float | None:
        self._seen.append((now, value))
        is_full = now - self._seen[0][0] >= self._seconds
        while now - self._seen[0][0] > self._seconds:
            self._seen.popleft()
        return sum(one for _, one in self._seen) / len(self._seen) if is_full else None

    def forget(self) -> None:
        self._seen.clear()


class Scaling:
    """One worker more or fewer at a time, from `fewest` to `most`. Before each change it looks for `up_s` or `down_s`
    seconds anew.
    """

    def __init__(
        self,
        fewest: int,
        most: int,
        up_s: float = UP_S,
        down_s: float = DOWN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fewest, self._most = fewest, most
        self._waiting, self._busy = Mean(up_s), Mean(down_s)
        self._clock = clock

    def look(self, workers: int, busy: int, wait: float) -> int:
        """1, 0 or -1: the change in their number. `busy` of the `workers` have a task; a newcomer would wait for one
        `wait` times as long as a task takes.
        """
        now = self._clock()
        change = self._change(workers, self._waiting.add(now, wait), self._busy.add(now, busy))
        if change:
            self._waiting.forget()
            self._busy.forget()
        return change

    def _change(self, workers: int, waiting: float | None, busy: float | None) -> int:
        if waiting is not None and waiting > _LONG_WAIT and workers < self._most:
            return 1
        if busy is not None and busy < _LITTLE_TO_DO * (workers - 1) and workers > self._fewest:
            return -1
        return 0
