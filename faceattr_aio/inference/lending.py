"""Which workers are idle and which are lent, one task at a time; none is lent again once it has ended or was retired.
Knows neither how workers come to be nor how many there should be.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from faceattr_aio.errors import DeadlineExceeded, Unavailable
from faceattr_aio.inference.process import WorkerHandle


class Lending:
    """`hopeless` says why there is no worker and none to come, if that is so."""

    def __init__(self, hopeless: Callable[[], str | None]) -> None:
        self._hopeless = hopeless
        self._idle: list[WorkerHandle] = []
        self._lent: set[WorkerHandle] = set()
        self._retired: set[WorkerHandle] = set()
        self._waiting = deque[object]()
        """Those who want a worker: first come, first served."""
        self._changed = threading.Condition()
        self.closed = threading.Event()
        """Set once all are to end: there are to be no more."""

    @property
    def is_empty(self) -> bool:
        """Whether there is no worker, idle or lent."""
        return not (self._idle or self._lent)

    def check(self) -> None:
        """Raises Unavailable when there is no worker and none to come."""
        if fault := self._hopeless():
            raise Unavailable(log=fault)

    @contextmanager
    def lend(self, timeout_s: float) -> Iterator[WorkerHandle]:
        """A worker for one task. Raises DeadlineExceeded when none becomes free in time, Unavailable when none will."""
        worker = self._take(timeout_s)
        try:
            yield worker
        finally:
            self.admit(worker)

    def admit(self, worker: WorkerHandle) -> None:
        """Makes a worker lendable that is new or comes back; one that is not to be lent any more is closed instead."""
        with self._changed:
            self._lent.discard(worker)
            if worker.alive and worker not in self._retired and not self.closed.is_set():
                self._idle.append(worker)
                self._changed.notify_all()
                return
            self._retired.discard(worker)
        worker.close()

    def retire(self, worker: WorkerHandle) -> None:
        """Closes a worker, after its task when it is lent."""
        with self._changed:
            if worker in self._lent:
                self._retired.add(worker)
            if worker not in self._idle:
                return
            self._idle.remove(worker)
        worker.close()

    def look_again(self) -> None:
        """Those who wait find out whether it has become hopeless."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Ends all workers, also those at work."""
        with self._changed:
            self.closed.set()
            idle, self._idle = self._idle, []
            self._changed.notify_all()
            for worker in self._lent:
                worker.kill()
        for worker in idle:
            worker.close()

    def _take(self, timeout_s: float) -> WorkerHandle:
        with self._changed, self._in_line() as need_not_wait:
            if not self._changed.wait_for(need_not_wait, timeout_s):
                raise DeadlineExceeded
            self.check()
            if self.closed.is_set():
                raise Unavailable
            worker = self._idle.pop()
            self._lent.add(worker)
        return worker

    @contextmanager
    def _in_line(self) -> Iterator[Callable[[], bool]]:
        """A place in the line, and what tells there that it is one's turn, or that waiting is vain."""
        place = object()
        self._waiting.append(place)
        try:
            yield lambda: self._is_vain() or (bool(self._idle) and self._waiting[0] is place)
        finally:
            self._waiting.remove(place)
            self._changed.notify_all()

    def _is_vain(self) -> bool:
        return self.closed.is_set() or bool(self._hopeless())
