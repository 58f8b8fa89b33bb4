"""As many workers as there are threads to wait for them: lends them one task at a time, and keeps every seat taken by
starting a new worker where one has ended. Knows no event loop and no admission.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from faceattr_aio.errors import DeadlineExceeded, Unavailable
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
        self._idle: list[Lendable] = []
        self._lent: set[Lendable] = set()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._faults: dict[int, str] = {}

    @property
    def fault(self) -> str | None:
        """Why a seat is empty and stays so, or that all are for the moment."""
        if self._faults:
            return next(iter(tuple(self._faults.values())), None)
        nobody = self.started and not (self._idle or self._lent)
        return "All workers have ended; new ones are being started." if nobody else None

    def check(self) -> None:
        """Raises Unavailable when no seat is taken and none can be."""
        if len(self._faults) >= self.size:
            raise Unavailable(log=self.fault or "")

    def start(self) -> None:
        """Starts all workers and returns once each is loaded. Raises StartError."""
        workers: list[Lendable] = []
        try:
            workers.extend(self._start_worker() for _ in range(self.size))
            for worker in workers:
                self.models = worker.hello()
        except Exception:
            for worker in workers:
                worker.close()
            raise
        for worker in workers:
            self._seat(worker)
            threading.Thread(target=self._keep_seat, args=(worker,), name="faceattr-seat", daemon=True).start()
        self.started = True

    @contextmanager
    def lend(self, timeout_s: float) -> Iterator[Lendable]:
        """A worker for one task. Raises DeadlineExceeded when none becomes free in time, Unavailable when none will."""
        with self._changed:
            if not self._changed.wait_for(self._may_lend, timeout_s):
                raise DeadlineExceeded(log=self.fault or "")
            self.check()
            if self._closed.is_set():
                raise Unavailable
            worker = self._idle.pop()
            self._lent.add(worker)
        try:
            yield worker
        finally:
            self._seat(worker)

    def close(self) -> None:
        """Ends all workers, also those at work."""
        with self._changed:
            self._closed.set()
            idle, self._idle = self._idle, []
            self._changed.notify_all()
            for worker in self._lent:
                worker.kill()
        for worker in idle:
            worker.close()

    def _may_lend(self) -> bool:
        return bool(self._idle) or self._closed.is_set() or len(self._faults) >= self.size

    def _seat(self, worker: Lendable) -> None:
        """Makes an idle worker lendable; one that has ended, or is no longer wanted, is closed instead."""
        with self._changed:
            self._lent.discard(worker)
            if worker.alive and not self._closed.is_set():
                self._idle.append(worker)
                self._changed.notify()
                return
        worker.close()

    def _keep_seat(self, worker: Lendable | None) -> None:
        """For as long as the pool is open, puts a new worker where one has ended."""
        while worker is not None:
            worker.wait()
            with self._changed:
                was_idle = worker in self._idle
                if was_idle:
                    self._idle.remove(worker)
            if was_idle:
                worker.close()  # one that was lent is closed by its borrower
            worker = self._replace()

    def _replace(self) -> Lendable | None:
        """A new worker in its seat, tried for ever more slowly; None once the pool is closed."""
        pause = 0.0
        while not self._closed.wait(pause):
            try:
                worker = self._hire()
            except Exception as error:  # noqa: BLE001  # whatever it is, the seat must not stay empty
                self._tell_fault(error)
                pause = min(max(2 * pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            else:
                self._faults.pop(threading.get_ident(), None)
                self._seat(worker)
                return worker
        return None

    def _hire(self) -> Lendable:
        """A worker that is loaded. Raises StartError."""
        worker = self._start_worker()
        try:
            self.models = worker.hello()
        except Exception:
            worker.close()
            raise
        return worker

    def _tell_fault(self, error: Exception) -> None:
        with self._changed:
            self._faults[threading.get_ident()] = str(error)
            self._changed.notify_all()
        log.error("no worker could be started in place of one that ended: %s", error)
