"""As many workers as there are threads to wait for them: lends them one task at a time and replaces those that died.
Knows no event loop and no admission.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from faceattr_aio.errors import DeadlineExceeded, StartError
from faceattr_aio.worker import ModelHashes
from faceattr_aio.workers import Lendable

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


class Pool:
    """`size` workers, each started by `start_worker`."""

    def __init__(self, start_worker: Callable[[], Lendable], size: int) -> None:
        self.size = size
        self.models: ModelHashes = {}
        self.started = False
        self._start_worker = start_worker
        self._idle: queue.LifoQueue[Lendable] = queue.LifoQueue()
        self._lent: set[Lendable] = set()
        self._faults: dict[int, str] = {}
        self._closed = threading.Event()

    @property
    def fault(self) -> str | None:
        """Why no worker could be started in place of a dead one, as long as one is missing."""
        return next(iter(tuple(self._faults.values())), None)

    def start(self) -> None:
        """Starts all workers and returns once each is loaded. Raises StartError."""
        workers: list[Lendable] = []
        try:
            workers.extend(self._start_worker() for _ in range(self.size))
            for worker in workers:
                self.models = worker.hello()
        except StartError:
            for worker in workers:
                worker.close()
            raise
        for worker in workers:
            self._idle.put(worker)
        self.started = True

    @contextmanager
    def lend(self, timeout_s: float) -> Iterator[Lendable]:
        """A worker for one task. Raises DeadlineExceeded when none becomes free in time."""
        try:
            worker = self._idle.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            raise DeadlineExceeded(log=self.fault or "") from None
        self._lent.add(worker)
        if self._closed.is_set():
            worker.kill()
        try:
            yield worker
        finally:
            if worker.alive:
                self._give_back(worker)
            else:
                self._lent.discard(worker)
                threading.Thread(target=self._replace, name="faceattr-replace", daemon=True).start()

    def close(self) -> None:
        """Ends all workers, also those at work."""
        self._closed.set()
        self._close_idle()
        for worker in tuple(self._lent):
            worker.kill()

    def _give_back(self, worker: Lendable) -> None:
        self._lent.discard(worker)
        self._idle.put(worker)
        if self._closed.is_set():
            self._close_idle()

    def _close_idle(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _replace(self) -> None:
        """Starts a worker for one that died, and tries again, ever more slowly, until one is loaded."""
        pause = _FIRST_PAUSE_S
        while not self._closed.is_set():
            try:
                worker = self._start_worker()
                self.models = worker.hello()
            except StartError as error:
                self._faults[threading.get_ident()] = str(error)
                log.error("no worker could be started in place of a dead one: %s", error)  # noqa: TRY400  # it says all
                self._closed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                self._faults.pop(threading.get_ident(), None)
                self._give_back(worker)
                return
