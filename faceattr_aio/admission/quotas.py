"""Quota: the share of the slots and workers that one pipeline may use, so that a slow pipeline leaves room for others
(a bulkhead).
"""

import math
from collections.abc import Callable

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import Unavailable

_DIGITS = 6
"""Digits that are kept of share x number: 0.7 x 10 is 7, and a little more in binary."""


class Quota(Limiter):
    """A `share` (0 to 1) of the slots of `parent`, rounded up, and of its workers, rounded down; at least one of each.

    A slot of the quota is a slot of the parent too. The queue and the service time are the quota's own. The pool runs
    its work on at most `workers` workers at a time.
    """

    def __init__(self, parent: Limiter, share: float, what: str) -> None:
        self._parent, self._share = parent, share
        super().__init__(*self._numbers(), what)
        parent.add_quota(self, on_resize=self._fit)

    @property
    def is_idle(self) -> bool:
        return super().is_idle and self._parent.is_idle

    def check(self, within_s: float = math.inf) -> None:
        """See Limiter; also raises what the parent raises."""
        self._parent.check()
        super().check(within_s)

    def acquire(self, within_s: float = math.inf, *, use_reserved: bool = False) -> Callable[[], None]:
        """See Limiter; acquires a slot of the parent too."""
        release = super().acquire(within_s, use_reserved=use_reserved)
        try:
            release_parent = self._parent.acquire(use_reserved=use_reserved)
        except Unavailable:
            release()
            raise

        def release_both() -> None:
            release_parent()
            release()

        return release_both

    def on_release(self, callback: Callable[[], None]) -> None:
        """See Limiter; work that waits for a slot of the quota may also wait for one of the parent."""
        super().on_release(callback)
        self._parent.on_release(callback)

    def _fit(self) -> None:
        self.resize(*self._numbers())

    def _numbers(self) -> tuple[int, int]:
        slots, workers = (round(self._share * of, _DIGITS) for of in (self._parent.limit, self._parent.workers))
        return max(1, math.ceil(slots)), max(1, math.floor(workers))
