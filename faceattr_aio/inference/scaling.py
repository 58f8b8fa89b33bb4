"""Recycling and autoscaling of the workers of a pool: the policies decide, and a maintenance thread applies them."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import StartError
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import WorkerHandle

log = logging.getLogger("faceattr_aio.upkeep")

_LONG_WAIT = 1.0
"""Mean wait for a worker, in service times, above which one more worker would serve newcomers sooner."""
_LOW_LOAD = 0.5
"""Busy share of the workers that would be left below which one worker is too many. The load between this and a long
wait differs by a factor of two, so that a worker that was added is not removed again at once.
"""
UP_S, DOWN_S = 2.0, 30.0
_MIN_TASKS = 100
"""Tasks of a worker before it is recycled for its memory: one that starts too large would be again."""


@dataclass(frozen=True)
class RecyclePolicy:
    """Replace a worker after `max_tasks` tasks or above `max_bytes` bytes of memory; 0 is never."""

    max_tasks: int
    max_bytes: int

    def is_due(self, worker: WorkerHandle) -> bool:
        return self.is_old(worker) or (
            bool(self.max_bytes) and worker.served >= _MIN_TASKS and worker.resident > self.max_bytes
        )

    def is_old(self, worker: WorkerHandle) -> bool:
        """True when the worker has done its number of tasks; cheap."""
        return 0 < self.max_tasks <= worker.served


class WindowMean:
    """Mean of the values of the last `seconds`; None until values have been added for that long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._values: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> float | None:
        self._values.append((now, value))
        is_full = now - self._values[0][0] >= self._seconds
        while now - self._values[0][0] > self._seconds:
            self._values.popleft()
        return sum(value for _, value in self._values) / len(self._values) if is_full else None

    def clear(self) -> None:
        self._values.clear()


class Autoscaler:
    """Adds or removes one worker at a time, between `min_workers` and `max_workers`, by the load of the last `up_s` or
    `down_s` seconds; after each change it waits that long again.
    """

    def __init__(
        self,
        min_workers: int,
        max_workers: int,
        up_s: float = UP_S,
        down_s: float = DOWN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._min_workers, self._max_workers = min_workers, max_workers
        self._wait, self._busy = WindowMean(up_s), WindowMean(down_s)
        self._clock = clock

    @property
    def is_fixed(self) -> bool:
        """True when the number of workers never changes."""
        return self._min_workers == self._max_workers

    def decide(self, workers: int, busy: int, wait: float) -> int:
        """Return the change in the number of workers: 1, 0 or -1.

        Args:
            workers: their number now.
            busy: how many of them have work.
            wait: how long new work would wait for a worker, in service times.

        """
        now = self._clock()
        change = self._change(workers, self._wait.add(now, wait), self._busy.add(now, busy))
        if change:
            self._wait.clear()
            self._busy.clear()
        return change

    def _change(self, workers: int, wait: float | None, busy: float | None) -> int:
        if wait is not None and wait > _LONG_WAIT and workers < self._max_workers:
            return 1
        if busy is not None and busy < _LOW_LOAD * (workers - 1) and workers > self._min_workers:
            return -1
        return 0


class Maintenance:
    """Recycles and scales the workers of `pool` in a thread of its own.

    The load is that of `limiter` and its quotas. `on_resize` is called after each change in the number of workers. The
    thread looks every `period_s` seconds when memory or load decide, and else only when a worker has done its number of
    tasks. After a failure it pauses for `pause_s` seconds.
    """

    def __init__(
        self, pool: Pool, limiter: Limiter, autoscaler: Autoscaler, policy: RecyclePolicy, on_resize: Callable[[], None]
    ) -> None:
        self.policy = policy
        self.period_s, self.pause_s = 0.2, 10.0
        self._pool, self._limiter = pool, limiter
        self._autoscaler, self._on_resize = autoscaler, on_resize
        self._wake = threading.Event()
        self._stopped = threading.Event()

    def start(self) -> None:
        self._pool.on_task = self._check_age
        threading.Thread(target=self._run, name="faceattr-maintenance", daemon=True).start()

    def stop(self) -> None:
        """Stop after the current change, without waiting for it."""
        self._stopped.set()
        self._wake.set()

    def change_policy(self, policy: RecyclePolicy) -> None:
        """Recycle by another policy from now on."""
        self.policy = policy
        self._wake.set()

    def run_once(self) -> None:
        """Recycle or scale if it is due. Raises StartError when a worker could not be started."""
        if self._pool.recycle(self.policy.is_due):
            self._wake.set()  # others may be due
        if not self._autoscaler.is_fixed:
            wait = max(one.queue_s / one.service_s for one in (self._limiter, *self._limiter.quotas))
            self.resize(self._autoscaler.decide(self._pool.size, self._limiter.busy, wait))

    def resize(self, change: int) -> None:
        """Add a worker (1), remove one (-1) or do nothing (0). Raises StartError."""
        if change:
            (self._pool.grow if change > 0 else self._pool.shrink)()
            self._on_resize()
            log.info("%s: %d workers", "high load" if change > 0 else "low load", self._pool.size)

    def _check_age(self, worker: WorkerHandle) -> None:
        if self.policy.is_old(worker):
            self._wake.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            polls = self.policy.max_bytes or not self._autoscaler.is_fixed
            self._wake.wait(self.period_s if polls else None)
            self._wake.clear()
            try:
                if not self._stopped.is_set():
                    self.run_once()
            except StartError as error:
                log.error("no worker could be started for recycling or scaling: %s", error)  # noqa: TRY400  # a sentence
                self._pause()
            except Exception:
                log.exception("recycling or scaling failed")
                self._pause()

    def _pause(self) -> None:
        self._stopped.wait(self.pause_s)
        self._wake.set()  # try again
