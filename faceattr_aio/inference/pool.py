"""Pool of workers: one FIFO queue of batches, and for each worker a thread that runs them, picture by picture.

Theory of operation. A slot is a place for one worker. Its worker changes in one way only: start a worker, wait until it
is ready, swap it in, close the previous one after its task. Restarts, reloads, recycling and autoscaling all do that.

Each worker has a thread of its own, which ends with the worker. It takes the first batch that may run, runs one picture
of it, and puts the batch back at the end of the queue while it has more pictures, so that batches take turns. When the
worker has exited by itself, its thread starts the next worker of the slot, with a backoff of 0.1 to 5 s.

A crash costs the picture that the worker was processing. A worker that exits while idle costs nothing: its thread is
woken to restart it, and a batch that it took at that moment goes back to the head of the queue.
"""

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent import futures
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from faceattr_aio.errors import StartError, Unavailable, WorkerGone
from faceattr_aio.inference.batch import Batch, Work
from faceattr_aio.inference.process import Starter, WorkerHandle, start_workers
from faceattr_aio.inference.worker import ModelHashes
from faceattr_aio.pipeline import Outcome, Task

log = logging.getLogger("faceattr_aio.pool")
restart_log = logging.getLogger("faceattr_aio.seat")

REASONS = CRASHED, RECYCLED, RELOADED, SCALED = "crashed", "recycled", "reloaded", "scaled"
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 5.0


@dataclass(eq=False)
class WorkerSlot:
    """A place for one worker. `start` starts its workers; `fault` says why the last start failed while it has none.

    `changing` is held while a worker is started for the slot.
    """

    start: Starter
    worker: WorkerHandle | None = None
    fault: str | None = None
    changing: threading.RLock = field(default_factory=threading.RLock)


class Pool(futures.Executor):
    """`size` workers that `start_worker` starts. `restarts` counts, by reason, the workers that were replaced, added or
    removed since. Thread-safe.
    """

    def __init__(self, start_worker: Starter, size: int) -> None:
        self.size: int = size
        self.started: bool = False
        self.restarts: Counter[str] = Counter()
        self._start_worker = start_worker
        self._slots: list[WorkerSlot] = []
        self._queue: deque[Work] = deque()
        self._serving: dict[WorkerHandle, Work | None] = {}
        """The workers that have a thread, and the batch that each is at."""
        self._hopeless: str | None = None
        """The reason while no slot has a worker and none can get one."""
        self.on_task: Callable[[WorkerHandle], None] = lambda _: None
        """Called in the thread of a worker after each of its tasks."""
        self._closed = threading.Event()
        self._changed = threading.Condition()
        """Guards the queue and the workers; idle threads wait for it."""
        self._changing = threading.Lock()
        """Held by a reload and by each change of the number of workers, so that there is one at a time."""

    @property
    def models(self) -> ModelHashes:
        """The models in use; empty before the start and after the end."""
        return next((slot.worker.models for slot in tuple(self._slots) if slot.worker), {})

    @property
    def fault(self) -> str | None:
        """The reason if a slot has no worker and cannot get one, or if all workers are being started."""
        fault = next((slot.fault for slot in tuple(self._slots) if slot.fault), None)
        starting = self.started and not self._serving
        return fault or ("All workers have ended; new ones are being started." if starting else None)

    @property
    def resident(self) -> int:
        """Bytes of memory of all worker processes."""
        return sum(slot.worker.resident for slot in tuple(self._slots) if slot.worker)

    def check(self) -> None:
        """Raises Unavailable when there is no worker and none can be started."""
        if self._hopeless is not None:
            raise Unavailable(log=self._hopeless)

    def submit(self, batch: Batch, /) -> Work:  # type: ignore[override]  # a pool of loaded workers runs batches only
        """Queue a batch. It is cancelled at once when the pool is closed, and fails when no worker can be started."""
        work = Work(batch, self._withdraw)
        self._enqueue(work, self._queue.append)
        return work

    def call(self, name: str, task: Task, timeout_s: float) -> Outcome:
        """Run one task and wait for its outcome, however long it is queued. Raises Unavailable when no worker can be
        started or the pool is closed.
        """
        batch = Batch(name, [task], timeout_s, math.inf, lambda: True, ExitStack(), lambda _: None)
        try:
            (outcome,) = self.submit(batch).result()
        except futures.CancelledError:
            raise Unavailable from None
        if isinstance(outcome, Unavailable) and not batch.has_progress:
            raise outcome
        return outcome

    def wake(self) -> None:
        """Let the idle threads look at their worker and the queue again."""
        with self._changed:
            self._changed.notify_all()

    def start(self) -> None:
        """Start all workers and return when all are ready. Raises StartError."""
        for worker in start_workers(self._start_worker, self.size):
            self._put(WorkerSlot(self._start_worker), worker)
        self.started = True

    def reload(self, start_worker: Starter) -> None:
        """Replace all workers, one after another, by workers that `start_worker` starts. Raises StartError when one
        cannot be started. Slots that were replaced by then get workers of the previous kind again; a slot for which
        that fails too keeps its new worker, and an error is logged.
        """
        with self._changing:
            changed: list[WorkerSlot] = []
            try:
                for slot in self._slots:
                    self._replace(slot, start_worker, RELOADED)
                    changed.append(slot)
                    self._check_open()
            except Exception:
                self._roll_back(changed)
                raise
            self._start_worker = start_worker

    def recycle(self, is_due: Callable[[WorkerHandle], bool]) -> bool:
        """Replace the first worker that is due; returns whether there was one. Raises StartError; then it stays."""
        with self._changing:
            for slot in self._slots:
                if slot.worker and slot.worker.alive and is_due(slot.worker):
                    self._replace(slot, slot.start, RECYCLED)
                    return True
        return False

    def grow(self) -> None:
        """Add one worker. Raises StartError."""
        with self._changing:
            (worker,) = start_workers(self._start_worker, 1)
            self._put(WorkerSlot(self._start_worker), worker, SCALED)
            self.size += 1

    def shrink(self) -> None:
        """Remove one worker, after its task."""
        with self._changing:
            with self._changed:
                if not self._slots:  # closed
                    return
                slot = self._slots.pop()
                self.restarts[SCALED] += 1
            self.size -= 1
            with slot.changing:
                slot.worker = None
            self._reject_queue()
            self.wake()

    def close(self, wait_s: float = 10.0) -> None:
        """End all workers and cancel the queue. Wait up to `wait_s` seconds until the workers have ended: a task in a
        thread cannot be stopped.
        """
        with self._changed:
            self._closed.set()
            self._slots = []
            for worker, work in self._serving.items():
                if work:
                    worker.kill()
            self._changed.notify_all()
        self._reject_queue()
        with self._changed:
            self._changed.wait_for(lambda: not self._serving, wait_s)

    # The queue.

    def _enqueue(self, work: Work, put: Callable[[Work], None]) -> None:
        with self._changed:
            put(work)
            self._changed.notify()
        if self._hopeless is not None or self._closed.is_set():
            self._reject_queue()

    def _withdraw(self, work: Work) -> bool:
        """Remove the work from the queue; returns whether it was there."""
        with self._changed, suppress(ValueError):
            self._queue.remove(work)
            return True
        return False

    def _reject_queue(self) -> None:
        """Cancel or fail the queue if no worker will take anything from it."""
        with self._changed:
            faults = [slot.fault for slot in self._slots]
            self._hopeless = faults[0] if faults and all(faults) else None
            queued = tuple(self._queue)
        closed = self._closed.is_set()
        if self._hopeless is None and not closed:
            return
        error = Unavailable(log=self._hopeless or "")
        for work in queued:
            if closed and not work.batch.has_progress:
                work.cancel()
            elif self._withdraw(work):
                work.set_result(work.batch.fail(error))

    def _is_runnable(self, work: Work) -> bool:
        quota = work.batch.quota
        if quota is None:
            return True
        at_work = [other for other in self._serving.values() if other and other.batch.quota is quota]
        return len(at_work) < quota.workers

    # The thread of a worker.

    def _serve(self, slot: WorkerSlot, worker: WorkerHandle) -> None:
        """Run work until the worker exits or is replaced; restart the slot when the worker exited by itself."""
        try:
            while work := self._take(slot, worker):
                self._run(work, worker)
                del work  # while the thread is idle, it must not keep the files of a request
                self.on_task(worker)
        except Exception:
            log.exception("the thread of a worker failed; the worker is replaced")
        self._close(worker)
        self._restart(slot, worker)

    def _take(self, slot: WorkerSlot, worker: WorkerHandle) -> Work | None:
        """Wait for work; None when the worker has exited or is to be closed."""
        with self._changed:
            while slot.worker is worker and worker.alive and not self._closed.is_set():
                work = next(filter(self._is_runnable, self._queue), None)
                if work:
                    self._queue.remove(work)
                    self._serving[worker] = work
                    return work
                self._changed.wait()
        return None

    def _run(self, work: Work, worker: WorkerHandle) -> None:
        """Run one picture; end the work, or put it back into the queue."""
        put: Callable[[Work], None] | None = None
        try:
            outcomes = work.batch(worker)
            if work.batch.is_complete:
                work.set_result(outcomes)
            else:
                put = self._queue.append
        except WorkerGone:
            put = self._queue.appendleft
        except BaseException as error:  # noqa: BLE001  # the caller gets it
            work.set_exception(error)
        with self._changed:
            self._serving[worker] = None
        if put:
            self._enqueue(work, put)

    def _close(self, worker: WorkerHandle) -> None:
        try:
            worker.close()
        except Exception:
            log.exception("a worker could not be closed")
        with self._changed:
            del self._serving[worker]
            self._changed.notify_all()

    def _restart(self, slot: WorkerSlot, ended: WorkerHandle) -> None:
        """Start workers for the slot until one is ready or the slot has got another one."""
        pause_s = 0.0
        while slot.worker is ended and not self._closed.wait(pause_s):
            pause_s = min(max(2 * pause_s, _FIRST_BACKOFF_S), _MAX_BACKOFF_S)
            try:
                self._replace(slot, slot.start, CRASHED, ended)
            except Exception as error:  # noqa: BLE001  # whatever it is, the slot must not stay empty
                self._record_fault(slot, ended, str(error) or type(error).__name__)
                restart_log.error("a worker that exited could not be replaced: %s", error)

    def _record_fault(self, slot: WorkerSlot, ended: WorkerHandle, fault: str) -> None:
        """Set the fault of a slot, unless a reload has given it another worker in the meantime."""
        with self._changed:
            if slot.worker is ended:
                slot.fault = fault
        self._reject_queue()

    # The workers of the slots.

    def _replace(self, slot: WorkerSlot, start: Starter, reason: str, ended: WorkerHandle | None = None) -> None:
        """Start a worker, wait until it is ready, swap it in; the previous one ends after its task. Does nothing if the
        slot has got another worker than the one that `ended`. Raises StartError; then nothing has changed.
        """
        with slot.changing:
            if ended and slot.worker is not ended:
                return
            (worker,) = start_workers(start, 1)
            self._put(slot, worker, reason)
            slot.start = start

    def _put(self, slot: WorkerSlot, worker: WorkerHandle, reason: str | None = None) -> None:
        """Give a slot, which may be new, a worker that is ready, and the worker a thread. Count it under `reason`.
        Raises StartError when no thread can be started.
        """
        thread = threading.Thread(target=self._serve, args=(slot, worker), name="faceattr-worker", daemon=True)
        try:
            worker.watch(self.wake)
            with self._changed:
                if self._closed.is_set():
                    worker.close()
                    return
                thread.start()  # it waits for the lock
                if slot not in self._slots:
                    self._slots.append(slot)
                slot.worker, slot.fault, self._hopeless = worker, None, None
                self._serving[worker] = None
                if reason:
                    self.restarts[reason] += 1
                self._changed.notify_all()
        except RuntimeError as error:
            worker.close()
            raise StartError(f"A worker could not be started: {error}.") from error

    def _roll_back(self, slots: list[WorkerSlot]) -> None:
        for slot in slots:
            try:
                self._check_open()
                self._replace(slot, self._start_worker, RELOADED)
            except StartError as error:
                log.error("rollback failed, one slot keeps a worker with the new models: %s", error)  # noqa: TRY400  # a sentence

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise StartError("The workers are being ended.")
