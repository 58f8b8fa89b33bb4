"""How many may be in flight, and whether one more may come in now. Counts what is running and waiting together, and
estimates from the mean service time when there will be room. Knows nothing of what is done in a slot.
"""

import math
import random
import threading
from collections.abc import Callable
from functools import partial

from faceattr_aio.errors import DeadlineOutOfReach, Draining, Overloaded, Unavailable

_FIRST_GUESS_S = 0.1
"""The service time until one was observed."""
_WEIGHT = 0.1
"""Weight of the newest service time in the moving average: the last twenty or so decide."""


class Limiter:
    """`limit` slots for work done `workers` at a time.

    A slot belongs to the work, not to whoever waits for it: `acquire` returns the release, which is called from any
    thread, once, when the work is really over. Worst-case wait = limit / workers x service time. Both numbers may be
    changed at any time; who is in beyond a lower limit stays until the work is over.
    """

    def __init__(self, limit: int, workers: int, what: str = "requests") -> None:
        self.limit: int = limit
        self.workers: int = workers
        self.draining: bool = False
        self.portions: list[Limiter] = []
        """Limiters whose slots are among these, and whose work has a line of its own."""
        self.promised = 0
        """Slots that newcomers leave to others who wait for them."""
        self.freed: list[Callable[[], None]] = []
        """Called from any thread, when a slot was given back."""
        self._what = what
        self._held: set[object] = set()
        self._entering = threading.Lock()
        self._service_s: float | None = None

    @property
    def in_flight(self) -> int:
        """Slots in use: running and waiting."""
        return len(self._held)

    @property
    def is_idle(self) -> bool:
        """Whether work that came in now would be begun at once."""
        return self.in_flight + self.promised < min(self.workers, self.limit)

    @property
    def busy(self) -> int:
        """Workers that have something to do."""
        return min(self.workers, self._in_portions + self._in_line)

    @property
    def waiting(self) -> int:
        """Slots in use beyond what workers can be at."""
        return self.in_flight - self.busy

    @property
    def service_s(self) -> float:
        """Mean seconds of one piece of work, without its waiting."""
        return _FIRST_GUESS_S if self._service_s is None else self._service_s

    @property
    def wait_s(self) -> float:
        """Seconds until all that is in flight has drained: in flight / workers x mean service time."""
        return self._in_line / self._workers_left * self.service_s

    @property
    def queue_s(self) -> float:
        """Seconds that a newcomer's work would wait for a worker."""
        return max(0, self._in_line + 1 - self._workers_left) / self._workers_left * self.service_s

    @property
    def answer_s(self) -> float:
        """Seconds until a newcomer's work would be done."""
        return self.queue_s + self.service_s

    @property
    def longest_queue(self) -> float:
        """Of the newcomers in any line: how long they would wait, in times that their work takes."""
        return max(line.queue_s / line.service_s for line in (self, *self.portions))

    @property
    def _in_line(self) -> int:
        """Slots in use, but for those with a line of their own."""
        return max(0, self.in_flight - sum(portion.in_flight for portion in self.portions))

    @property
    def _in_portions(self) -> int:
        """Workers that have something to do for portions."""
        return sum(portion.busy for portion in self.portions)

    @property
    def _workers_left(self) -> int:
        return max(1, self.workers - self._in_portions)

    def check(self, within_s: float = math.inf) -> None:
        """Whether a newcomer may come in, without taking a slot.

        Raises Overloaded, Draining, or DeadlineOutOfReach when its answer is wanted sooner than can be.
        """
        if self.draining:
            raise self._refusal(Draining, Draining.sentence)
        if self.in_flight + self.promised >= self.limit:
            raise self._overloaded()
        self._check_reach(within_s)

    def acquire(self, within_s: float = math.inf, *, promised: bool = False) -> Callable[[], None]:
        """Takes a slot and returns its release. Never waits. Raises Overloaded or DeadlineOutOfReach, but not Draining:
        who was let in before is not turned away now.
        """
        self._check_reach(within_s)
        slot = object()
        with self._entering:
            if self.in_flight + (0 if promised else self.promised) >= self.limit:
                raise self._overloaded()
            self._held.add(slot)
        return partial(self._release, slot)

    def observe(self, service_s: float) -> None:
        """Takes the seconds one piece of work needed, without its waiting, into the average."""
        mean = service_s if self._service_s is None else self._service_s
        self._service_s = mean + _WEIGHT * (service_s - mean)

    def resize(self, limit: int, workers: int) -> None:
        self.limit, self.workers = limit, workers

    def drain(self) -> None:
        """Lets no newcomer in from now on; who is in goes on to the end."""
        self.draining = True

    def _release(self, slot: object) -> None:
        self._held.remove(slot)
        self._tell_freed()

    def _tell_freed(self) -> None:
        for tell in self.freed:
            tell()

    def _check_reach(self, within_s: float) -> None:
        if self.answer_s > within_s:
            said = f"The answer would take about {self.answer_s:.2g} s and is wanted within {max(0, within_s):.2g} s."
            raise self._refusal(DeadlineOutOfReach, said)

    def _overloaded(self) -> Unavailable:
        said = f"{self.in_flight} {self._what} are in flight and {self.limit} is the limit; try again later."
        soonest_s = self.service_s / self.workers  # also where portions have all slots, and nothing is in this line
        return self._refusal(Overloaded, said, soonest_s)

    def _refusal(self, kind: type[Unavailable], said: str, least_s: float = 0.0) -> Unavailable:
        wait_s = max(self.wait_s, least_s)
        jitter = random.uniform(0.8, 1.2)  # noqa: S311  # so that not all come back at once; no secret
        return kind(
            said,
            retry_after_s=wait_s,
            limit=self.limit,
            in_flight=self.in_flight,
            retry_after_ms=round(wait_s * 1e3 * jitter),
        )
