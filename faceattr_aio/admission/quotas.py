"""The portion of a pipeline that may not have everything: so many of the slots, and so many of the workers at a time.
What is in a portion has a line and a service time of its own; its slots count in the whole as well. Knows no pipeline.
"""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import DeadlineExceeded, Unavailable

_DIGITS = 6
"""Of a share times a number: 0.7 x 10 is 7, and a little more in binary."""


class Quota(Limiter):
    """A `share` (0 to 1) of a limiter's slots, rounded up, and of its workers, rounded down; at least one of each."""

    def __init__(self, whole: Limiter, share: float, what: str) -> None:
        self._whole, self._share = whole, share
        super().__init__(*self._numbers(), what)
        self._running = 0
        self._ended = threading.Condition()
        whole.portions.append(self)
        whole.freed.append(self._tell_freed)  # who waits for a slot here may have waited for that one

    def fit(self) -> None:
        """Takes over what the whole has now."""
        self.limit, self.workers = self._numbers()

    @property
    def is_idle(self) -> bool:
        return super().is_idle and self._whole.is_idle

    def check(self, within_s: float = math.inf) -> None:
        """See Limiter; refuses also when the whole does."""
        self._whole.check()
        super().check(within_s)

    def acquire(self, within_s: float = math.inf, *, promised: bool = False) -> Callable[[], None]:
        """See Limiter; takes a slot of the whole too."""
        release = super().acquire(within_s, promised=promised)
        try:
            release_whole = self._whole.acquire(promised=promised)
        except Unavailable:
            release()
            raise

        def release_both() -> None:
            release_whole()
            release()

        return release_both

    @contextmanager
    def turn(self, timeout_s: float) -> Iterator[None]:
        """Waits, in a thread, until fewer than its workers are at it. Raises DeadlineExceeded."""
        with self._ended:
            if not self._ended.wait_for(lambda: self._running < self.workers, timeout_s):
                raise DeadlineExceeded
            self._running += 1
        try:
            yield
        finally:
            with self._ended:
                self._running -= 1
                self._ended.notify()

    def _numbers(self) -> tuple[int, int]:
        slots, workers = (round(self._share * of, _DIGITS) for of in (self._whole.limit, self._whole.workers))
        return max(1, math.ceil(slots)), max(1, math.floor(workers))
