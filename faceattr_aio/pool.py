"""Seats for workers, each of which is always taken. There is one way in which that changes: start a worker, await its
hello, swap it in, retire the one of before after its task. When, is decided by its end here, and by `upkeep` and those
who ask for a reload elsewhere. Knows no event loop and no admission.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from faceattr_aio.errors import StartError
from faceattr_aio.lending import Lending
from faceattr_aio.worker import ModelHashes
from faceattr_aio.workers import Lendable, Starter

log = logging.getLogger(__name__)

REASONS = CRASHED, RECYCLED, RELOADED, SCALED = "crashed", "recycled", "reloaded", "scaled"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


@dataclass(eq=False)
class Seat:
    """A place for a worker, how one for it is started, and why it stays empty, if it does."""

    start: Starter
    worker: Lendable | None = None
    fault: str | None = None
    changing: threading.RLock = field(default_factory=threading.RLock)


class Pool:
    """`size` workers, each started by `start_worker`. `restarts` counts those that were replaced, added or taken away
    since, by reason.
    """

    def __init__(self, start_worker: Starter, size: int) -> None:
        self.size = size
        self.models: ModelHashes = {}
        self.started = False
        self.restarts = Counter[str]()
        self._start_worker = start_worker
        self._seats: list[Seat] = []
        self._lending = Lending(self._hopeless)
        self._planned, self._counting = threading.Lock(), threading.Lock()
        self._closed = threading.Event()

    @property
    def fault(self) -> str | None:
        """Why a seat is empty and stays so, or that all are for the moment."""
        fault = next((seat.fault for seat in tuple(self._seats) if seat.fault), None)
        nobody = self.started and self._lending.is_empty
        return fault or ("All workers have ended; new ones are being started." if nobody else None)

    @property
    def resident(self) -> int:
        """Bytes of memory of all worker processes."""
        return sum(seat.worker.resident for seat in tuple(self._seats) if seat.worker)

    def check(self) -> None:
        """Raises Unavailable when no seat is taken and none can be."""
        self._lending.check()

    def lend(self, timeout_s: float) -> AbstractContextManager[Lendable]:
        """A worker for one task. Raises DeadlineExceeded when none becomes free in time, Unavailable when none will."""
        return self._lending.lend(timeout_s)

    def start(self) -> None:
        """Starts all workers and returns once each is loaded. Raises StartError."""
        for worker in self._hire(self._start_worker, self.size):
            seat = Seat(self._start_worker)
            self._seats.append(seat)
            self._swap(seat, worker)
        self.started = True

    def reload(self, start_worker: Starter) -> None:
        """Puts a worker started by `start_worker` into each seat, one after another. Raises StartError when one cannot
        be started; by then workers as before are in all seats again.
        """
        with self._planned:
            changed: list[Seat] = []
            try:
                for seat in self._seats:
                    self._replace(seat, start_worker, RELOADED)
                    changed.append(seat)
                    self._check_open()
            except Exception:
                self._roll_back(changed)
                raise
            self._start_worker = start_worker

    def recycle(self, is_due: Callable[[Lendable], bool]) -> None:
        """Replaces one worker that is due, if there is one. Raises StartError, and then it stays."""
        with self._planned:
            for seat in self._seats:
                if seat.worker and seat.worker.alive and is_due(seat.worker):
                    self._replace(seat, seat.start, RECYCLED)
                    return

    def grow(self) -> None:
        """One more worker. Raises StartError."""
        with self._planned:
            seat = Seat(self._start_worker)
            (worker,) = self._hire(seat.start)
            self._seats.append(seat)
            self.size += 1
            self._count(SCALED)
            self._swap(seat, worker)

    def shrink(self) -> None:
        """One worker fewer, as soon as it has done its task."""
        with self._planned:
            seats = self._seats
            if not seats:  # closed
                return
            seat = seats.pop()
            self.size -= 1
            self._count(SCALED)
            with seat.changing:
                worker, seat.worker = seat.worker, None
        if worker:
            self._lending.retire(worker)

    def close(self) -> None:
        """Ends all workers, also those at work."""
        self._closed.set()
        self._seats = []
        self._lending.close()

    def _replace(self, seat: Seat, start: Starter, reason: str) -> None:
        """Starts a worker, awaits its hello, swaps it in. Raises StartError, and then nothing has changed."""
        with seat.changing:
            (worker,) = self._hire(start)
            seat.start = start
            self._count(reason)
            self._swap(seat, worker)

    def _hire(self, start: Starter, number: int = 1) -> list[Lendable]:
        """Workers that are loaded. Raises StartError, and then none is left."""
        workers: list[Lendable] = []
        try:
            workers.extend(start() for _ in range(number))
            for worker in workers:
                self.models = worker.hello()
        except Exception:
            for worker in workers:
                worker.close()
            raise
        return workers

    def _swap(self, seat: Seat, worker: Lendable) -> None:
        """The worker takes the seat; the one of before is retired after its task."""
        before, seat.worker, seat.fault = seat.worker, worker, None
        self._lending.admit(worker)
        if before:
            self._lending.retire(before)
        threading.Thread(target=self._keep, args=(seat, worker), name="faceattr-seat", daemon=True).start()

    def _keep(self, seat: Seat, worker: Lendable) -> None:
        """When the worker has ended and still has its seat, puts another one there, trying ever more slowly."""
        worker.wait()
        self._lending.retire(worker)
        pause = 0.0
        while seat.worker is worker and not self._closed.wait(pause):
            self._mend(seat, worker)
            pause = min(max(2 * pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

    def _mend(self, seat: Seat, ended: Lendable) -> None:
        with seat.changing:
            if seat.worker is not ended:
                return
            try:
                self._replace(seat, seat.start, CRASHED)
            except Exception as error:  # noqa: BLE001  # whatever it is, the seat must not stay empty
                self._tell_fault(seat, error)

    def _tell_fault(self, seat: Seat, error: Exception) -> None:
        seat.fault = str(error)
        self._lending.look_again()
        log.error("no worker could be started in place of one that ended: %s", error)

    def _roll_back(self, seats: list[Seat]) -> None:
        for seat in seats:
            try:
                self._check_open()
                self._replace(seat, self._start_worker, RELOADED)
            except StartError as error:
                log.error("one worker stays as reloaded: %s", error)  # noqa: TRY400  # a sentence

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise StartError("The workers are being ended.")

    def _hopeless(self) -> str | None:
        seats = self._seats
        return seats[0].fault if seats and all(seat.fault for seat in seats) else None

    def _count(self, reason: str) -> None:
        with self._counting:
            self.restarts[reason] += 1
