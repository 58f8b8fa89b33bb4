"""Limiter: a fixed number of slots for work in flight, running and waiting together, and the estimates of waiting time
that follow from the mean service time. Quota: the share of the slots and workers that one pipeline may use, so that a
slow pipeline leaves room for others (a bulkhead).
"""

import math
import random
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from faceattr_aio.errors import DeadlineOutOfReach, Draining, Overloaded, Unavailable

_FIRST_GUESS_S = 0.1
"""The service time before the first observation."""
_WEIGHT = 0.1
"""Weight of the newest service time in the moving average: the last twenty or so decide."""
_DIGITS = 6
"""Digits that are kept of share x number: 0.7 x 10 is 7, and a little more in binary."""


class Limiter:
    """`limit` slots for work that `workers` do in parallel. Thread-safe.

    A slot belongs to the work, not to the caller that waits for it: `acquire` returns the release, which is called
    once, from any thread, when the work is over. Worst-case wait = limit / workers x service time. `limit` and
    `workers` change through `resize`; work that holds a slot above a lower limit keeps it.

    A quota is a limiter that shares the slots of a parent and has a queue of its own. The estimates of the parent leave
    out the work of its quotas and the workers that are busy with it.
    """

    def __init__(self, limit: int, workers: int, what: str = "requests") -> None:
        self.limit: int = limit
        self.workers: int = workers
        self.draining: bool = False
        self.reserved: int = 0
        """Free slots that newcomers leave to the wait queue, which uses `acquire(use_reserved=True)`."""
        self._what = what
        self._slots: set[object] = set()
        self._acquiring = threading.Lock()
        self.service_s: float = _FIRST_GUESS_S
        """Moving average of the seconds that one piece of work takes, without waiting; a guess at first."""
        self._observed = False
        self._release_callbacks: list[Callable[[], None]] = []
        self.quotas: list[Quota] = []
        """Their slots are slots of this limiter too."""

    @property
    def in_flight(self) -> int:
        """Slots in use: running and waiting."""
        return len(self._slots)

    @property
    def is_idle(self) -> bool:
        """True when new work would start at once."""
        return len(self._slots) + self.reserved < min(self.workers, self.limit)

    @property
    def busy(self) -> int:
        """Workers that have work."""
        if not self.quotas:
            return min(self.workers, len(self._slots))
        in_quotas = sum(quota.busy for quota in self.quotas)
        return min(self.workers, in_quotas + self._outside_quotas()[0])

    @property
    def waiting(self) -> int:
        """Slots with work that waits for a worker."""
        return len(self._slots) - self.busy

    @property
    def wait_s(self) -> float:
        """Seconds until everything in flight has finished: in flight / workers x mean service time."""
        in_flight, workers = self._outside_quotas()
        return in_flight / workers * self.service_s

    @property
    def queue_s(self) -> float:
        """Seconds that new work would wait for a worker."""
        in_flight, workers = self._outside_quotas()
        return max(0, in_flight + 1 - workers) / workers * self.service_s

    @property
    def answer_s(self) -> float:
        """Seconds until new work would be done."""
        return self.queue_s + self.service_s

    def check(self, within_s: float = math.inf) -> None:
        """Check that a newcomer could acquire a slot now, without acquiring one.

        Raises Overloaded, Draining, or DeadlineOutOfReach when its answer cannot be ready in `within_s` seconds.
        """
        if self.draining:
            raise self._refusal(Draining, Draining.default_detail)
        if len(self._slots) + self.reserved >= self.limit:
            raise self._overloaded()
        if within_s != math.inf:
            self._check_reach(within_s)

    def acquire(self, within_s: float = math.inf, *, use_reserved: bool = False) -> Callable[[], None]:
        """Acquire a slot without waiting and return its release, for any thread.

        Raises Overloaded or DeadlineOutOfReach, but not Draining: work that was admitted before is still done.
        """
        if within_s != math.inf:
            self._check_reach(within_s)
        slot = object()
        with self._acquiring:
            if len(self._slots) + (0 if use_reserved else self.reserved) >= self.limit:
                raise self._overloaded()
            self._slots.add(slot)
        return partial(self._release, slot)

    def observe(self, service_s: float) -> None:
        """Add the seconds that one piece of work took, without waiting, to the average."""
        self.service_s = self.service_s + _WEIGHT * (service_s - self.service_s) if self._observed else service_s
        self._observed = True

    def drain(self) -> None:
        """From now on `check` raises Draining; `acquire` still succeeds for requests that were checked before."""
        self.draining = True

    def resize(self, limit: int, workers: int) -> None:
        """Set both numbers and those of the quotas."""
        self.limit, self.workers = limit, workers
        for quota in self.quotas:
            quota.fit()

    def on_release(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each release, in the thread that released."""
        self._release_callbacks.append(callback)

    def _release(self, slot: object) -> None:
        self._slots.remove(slot)
        for callback in self._release_callbacks:
            callback()

    def _outside_quotas(self) -> tuple[int, int]:
        """Slots in use outside of quotas, and workers that quotas leave."""
        in_flight, workers = len(self._slots), self.workers
        for quota in self.quotas:
            in_flight -= quota.in_flight
            workers -= quota.busy
        return max(0, in_flight), max(1, workers)

    def _check_reach(self, within_s: float) -> None:
        if (answer_s := self.answer_s) > within_s:
            detail = f"The answer would take about {answer_s:.2g} s, and the deadline is in {max(0, within_s):.2g} s."
            raise self._refusal(DeadlineOutOfReach, detail)

    def _overloaded(self) -> Unavailable:
        detail = f"{len(self._slots)} {self._what} are in flight and {self.limit} is the limit; try again later."
        soonest_s = self.service_s / self.workers  # where quotas hold all slots, `wait_s` is 0
        return self._refusal(Overloaded, detail, soonest_s)

    def _refusal(self, kind: type[Unavailable], detail: str, least_s: float = 0.0) -> Unavailable:
        wait_s = max(self.wait_s, least_s)
        jitter = random.uniform(0.8, 1.2)  # noqa: S311  # spreads the retries; not a secret
        return kind(
            detail,
            retry_after_s=wait_s,
            limit=self.limit,
            in_flight=len(self._slots),
            retry_after_ms=round(wait_s * 1e3 * jitter),
        )


class Quota(Limiter):
    """A `share` (0 to 1) of the slots of `parent`, rounded up, and of its workers, rounded down; at least one of each.

    A slot of the quota is a slot of the parent too. The queue and the service time are the quota's own. The pool runs
    its work on at most `workers` workers at a time.
    """

    def __init__(self, parent: Limiter, share: float, what: str) -> None:
        self._parent, self._share = parent, share
        super().__init__(*self._numbers(), what)
        parent.quotas.append(self)

    @property
    def is_idle(self) -> bool:
        return super().is_idle and self._parent.is_idle

    def check(self, within_s: float = math.inf) -> None:
        """See Limiter; also raises what the parent raises."""
        self._parent.check()
        super().check(within_s)

    def acquire(self, within_s: float = math.inf, *, use_reserved: bool = False) -> Callable[[], None]:
        """See Limiter; acquires a slot of the parent too."""
        with ExitStack() as acquired:
            acquired.callback(super().acquire(within_s, use_reserved=use_reserved))
            acquired.callback(self._parent.acquire(use_reserved=use_reserved))
            return acquired.pop_all().close

    def on_release(self, callback: Callable[[], None]) -> None:
        """See Limiter; work that waits for a slot of the quota may also wait for one of the parent."""
        super().on_release(callback)
        self._parent.on_release(callback)

    def fit(self) -> None:
        """Adapt both numbers to those of the parent."""
        self.resize(*self._numbers())

    def _numbers(self) -> tuple[int, int]:
        slots, workers = (round(self._share * of, _DIGITS) for of in (self._parent.limit, self._parent.workers))
        return max(1, math.ceil(slots)), max(1, math.floor(workers))
