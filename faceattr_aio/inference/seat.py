"""A place for a worker, always taken. There is one way in which that changes: start a worker, await its hello, swap it
in, retire the one of before after its task. When its worker has ended, a seat does that by itself; when else, others
decide. Knows nothing of other seats.
"""

import logging
import threading
from collections.abc import Callable

from faceattr_aio.inference.lending import Lending
from faceattr_aio.inference.process import Starter, WorkerHandle

log = logging.getLogger("faceattr_aio.seat")

CRASHED = "crashed"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


def hire(start: Starter, number: int) -> list[WorkerHandle]:
    """Workers that are loaded. Raises StartError, and then none is left."""
    workers: list[WorkerHandle] = []
    try:
        workers.extend(start() for _ in range(number))
        for worker in workers:
            worker.hello()
    except Exception:
        for worker in workers:
            worker.close()
        raise
    return workers


class Seat:
    """`start` makes its workers, who are lent by `lending`; `count` is told the reason of each that takes it."""

    def __init__(self, start: Starter, lending: Lending, count: Callable[[str], None]) -> None:
        self.start = start
        self.worker: WorkerHandle | None = None
        self.fault: str | None = None
        """Why it is empty and stays so, if it is."""
        self._lending, self._count = lending, count
        self._changing = threading.RLock()

    def replace(self, start: Starter, reason: str) -> None:
        """Puts a worker here that `start` makes, like all that come after it. Raises StartError, and then nothing has
        changed.
        """
        with self._changing:
            (worker,) = hire(start, 1)
            self.start = start
            self._count(reason)
            self.take(worker)

    def take(self, worker: WorkerHandle) -> None:
        """The worker, which is loaded, takes the seat; the one of before is retired after its task."""
        before, self.worker, self.fault = self.worker, worker, None
        self._lending.admit(worker)
        if before:
            self._lending.retire(before)
        threading.Thread(target=self._keep, args=(worker,), name="faceattr-seat", daemon=True).start()

    def leave(self) -> None:
        """Stays empty from now on; the worker is retired after its task."""
        with self._changing:
            worker, self.worker = self.worker, None
        if worker:
            self._lending.retire(worker)

    def _keep(self, worker: WorkerHandle) -> None:
        """When the worker has ended and still has the seat, puts another one there, trying ever more slowly."""
        worker.wait()
        self._lending.retire(worker)
        pause = 0.0
        while self.worker is worker and not self._lending.closed.wait(pause):
            self._mend(worker)
            pause = min(max(2 * pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

    def _mend(self, ended: WorkerHandle) -> None:
        with self._changing:
            if self.worker is not ended:
                return
            try:
                self.replace(self.start, CRASHED)
            except Exception as error:  # noqa: BLE001  # whatever it is, the seat must not stay empty
                self._tell_fault(error)

    def _tell_fault(self, error: Exception) -> None:
        self.fault = str(error)
        self._lending.look_again()
        log.error("no worker could be started in place of one that ended: %s", error)
