"""Looks after a pool from a thread of its own: replaces workers that have grown old or large, one at a time, and adds
or takes away one as the load asks. Knows no event loop.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import StartError
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import WorkerHandle
from faceattr_aio.inference.scaling import Scaling

log = logging.getLogger("faceattr_aio.upkeep")

_PERIOD_S, _PAUSE_S = 0.2, 10.0
"""Between two looks; and after a worker could not be started."""
_FEWEST_TASKS = 100
"""Of a worker that is replaced for its memory: one that is too large from the start would be so again."""


@dataclass(frozen=True)
class Recycling:
    """When a worker has grown old: after so many tasks, or above so many bytes of memory; 0 is never."""

    after: int
    over_bytes: int

    def is_due(self, worker: WorkerHandle) -> bool:
        if 0 < self.after <= worker.served:
            return True
        return bool(self.over_bytes) and worker.served >= _FEWEST_TASKS and worker.resident > self.over_bytes


class Upkeep:
    """`resized` is called after each change in the number of workers."""

    def __init__(
        self, pool: Pool, limiter: Limiter, recycling: Recycling, scaling: Scaling, resized: Callable[[], None]
    ) -> None:
        self.recycling = recycling
        self._pool, self._limiter = pool, limiter
        self._scaling, self._resized = scaling, resized
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="faceattr-upkeep", daemon=True).start()

    def stop(self) -> None:
        """Without waiting for what is being done."""
        self._stopped.set()

    def look(self) -> None:
        """Does what is due now. Raises StartError when a worker could not be started."""
        self._pool.recycle(self.recycling.is_due)
        change = self._scaling.look(self._pool.size, self._limiter.busy, self._limiter.longest_queue)
        if change:
            self._resize(change)

    def _resize(self, change: int) -> None:
        if change > 0:
            self._pool.grow()
        else:
            self._pool.shrink()
        self._resized()
        log.info("%s: %d workers", "more to do" if change > 0 else "less to do", self._pool.size)

    def _run(self) -> None:
        pause = _PERIOD_S
        while not self._stopped.wait(pause):
            try:
                self.look()
                pause = _PERIOD_S
            except StartError as error:
                pause = _PAUSE_S
                log.error("no worker could be started to replace one or to join: %s", error)  # noqa: TRY400  # a sentence
