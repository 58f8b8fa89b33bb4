"""The workers, each in its seat: how many there are, what they have loaded, and what can be done with all of them or
with one more or fewer. One such change at a time. Knows no event loop and no admission, and decides nothing.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager

from faceattr_aio.errors import StartError
from faceattr_aio.inference.lending import Lending
from faceattr_aio.inference.process import Starter, WorkerHandle
from faceattr_aio.inference.seat import CRASHED, Seat, hire
from faceattr_aio.inference.worker import ModelHashes

log = logging.getLogger("faceattr_aio.pool")

RECYCLED, RELOADED, SCALED = "recycled", "reloaded", "scaled"
REASONS = CRASHED, RECYCLED, RELOADED, SCALED


class Pool:
    """`size` workers, each started by `start_worker`. `restarts` counts those that were replaced, added or taken away
    since, by reason.
    """

    def __init__(self, start_worker: Starter, size: int) -> None:
        self.size: int = size
        self.started: bool = False
        self.restarts: Counter[str] = Counter()
        self._start_worker = start_worker
        self._seats: list[Seat] = []
        self._lending = Lending(self._hopeless)
        self._planned, self._counting = threading.Lock(), threading.Lock()

    @property
    def models(self) -> ModelHashes:
        """Those in use; none before the start and after the end."""
        workers = (seat.worker for seat in tuple(self._seats))
        return next((worker.models for worker in workers if worker), {})

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

    def lend(self, timeout_s: float) -> AbstractContextManager[WorkerHandle]:
        """A worker for one task. Raises DeadlineExceeded when none becomes free in time, Unavailable when none will."""
        return self._lending.lend(timeout_s)

    def start(self) -> None:
        """Starts all workers and returns once each is loaded. Raises StartError."""
        for worker in hire(self._start_worker, self.size):
            seat = self._new_seat()
            self._seats.append(seat)
            seat.take(worker)
        self.started = True

    def reload(self, start_worker: Starter) -> None:
        """Puts a worker started by `start_worker` into each seat, one after another. Raises StartError when one cannot
        be started; by then workers as before are in all seats again.
        """
        with self._planned:
            changed: list[Seat] = []
            try:
                for seat in self._seats:
                    seat.replace(start_worker, RELOADED)
                    changed.append(seat)
                    self._check_open()
            except Exception:
                self._roll_back(changed)
                raise
            self._start_worker = start_worker

    def recycle(self, is_due: Callable[[WorkerHandle], bool]) -> None:
        """Replaces one worker that is due, if there is one. Raises StartError, and then it stays."""
        with self._planned:
            for seat in self._seats:
                if seat.worker and seat.worker.alive and is_due(seat.worker):
                    seat.replace(seat.start, RECYCLED)
                    return

    def grow(self) -> None:
        """One more worker. Raises StartError."""
        with self._planned:
            (worker,) = hire(self._start_worker, 1)
            seat = self._new_seat()
            self._seats.append(seat)
            self.size += 1
            self._count(SCALED)
            seat.take(worker)

    def shrink(self) -> None:
        """One worker fewer, as soon as it has done its task."""
        with self._planned:
            seats = self._seats
            if not seats:  # closed
                return
            self.size -= 1
            self._count(SCALED)
            seats.pop().leave()

    def close(self) -> None:
        """Ends all workers, also those at work."""
        self._seats = []
        self._lending.close()

    def _new_seat(self) -> Seat:
        return Seat(self._start_worker, self._lending, self._count)

    def _roll_back(self, seats: list[Seat]) -> None:
        for seat in seats:
            try:
                self._check_open()
                seat.replace(self._start_worker, RELOADED)
            except StartError as error:
                log.error("one worker stays as reloaded: %s", error)  # noqa: TRY400  # a sentence

    def _check_open(self) -> None:
        if self._lending.closed.is_set():
            raise StartError("The workers are being ended.")

    def _hopeless(self) -> str | None:
        seats = self._seats
        return seats[0].fault if seats and all(seat.fault for seat in seats) else None

    def _count(self, reason: str) -> None:
        with self._counting:
            self.restarts[reason] += 1
