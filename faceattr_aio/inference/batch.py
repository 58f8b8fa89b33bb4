"""Batch: the pictures of one request, which the pool runs one after another, with the resources that belong to the
work; and its future outcomes.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from faceattr_aio.admission.limiter import Quota
from faceattr_aio.errors import ClientGone, DeadlineExceeded, FaceattrError
from faceattr_aio.inference.process import WorkerHandle
from faceattr_aio.pipeline import Outcome, Task


@dataclass(eq=False)
class Batch:
    """Pictures for the pipeline `name`.

    A worker has `timeout_s` seconds for each picture, however long it waited. No picture starts after `deadline` (on
    the monotonic clock), or once `is_wanted` returns False; it is called from another thread. The pool closes
    `resources` when the work is over. `observe` receives the seconds that workers needed for the batch. A `quota`
    limits how many workers run such batches at a time.

    The outcome of a picture does not depend on the others: a failed picture does not end the batch.
    """

    name: str
    tasks: Sequence[Task]
    timeout_s: float
    deadline: float
    is_wanted: Callable[[], bool]
    resources: ExitStack
    observe: Callable[[float], None]
    quota: Quota | None = None
    outcomes: list[Outcome] = field(default_factory=list, init=False)
    _free_since: float = field(default_factory=time.monotonic, init=False)
    _worked_s: float = field(default=0.0, init=False)

    @property
    def is_complete(self) -> bool:
        """True when each task has its outcome."""
        return len(self.outcomes) == len(self.tasks)

    @property
    def has_progress(self) -> bool:
        """True when a worker has processed a picture of it."""
        return self._worked_s > 0

    def __call__(self, worker: WorkerHandle) -> list[Outcome]:
        """Run the next picture on `worker` and return the outcomes so far.

        Raises ClientGone when the batch is not wanted any more, and WorkerGone when the worker had exited before it
        received the picture; then the batch is as before.
        """
        if not self.is_wanted():
            raise ClientGone
        if time.monotonic() >= self.deadline:
            return self.fail(DeadlineExceeded())
        self.outcomes.append(self._run(worker, self.tasks[len(self.outcomes)]))
        self._free_since = time.monotonic()
        if self.is_complete:
            self.observe(self._worked_s)
        return self.outcomes

    def fail(self, error: FaceattrError) -> list[Outcome]:
        """Make this the outcome of each picture that has not started, and return the outcomes."""
        self.outcomes += [error] * (len(self.tasks) - len(self.outcomes))
        if self.has_progress:
            self.observe(self._worked_s)
        return self.outcomes

    def _run(self, worker: WorkerHandle, task: Task) -> Outcome:
        started = time.monotonic()
        try:
            reply = worker.call(self.name, task, self.timeout_s)
            outcome: Outcome = replace(reply, laps={"queue": (started - self._free_since) * 1e3, **reply.laps})
        except FaceattrError as error:
            outcome = error.without_traceback()
        self._worked_s += time.monotonic() - started
        return outcome


class Work(Future[list[Outcome]]):
    """A batch in the pool and its future outcomes.

    The resources of the batch are closed in the callback of this future: it ends with the work itself, or with its
    removal from the queue, whereas the future that a caller awaits ends when the caller stops waiting.
    """

    def __init__(self, batch: Batch, withdraw: "Callable[[Work], bool]") -> None:
        super().__init__()
        self.batch = batch
        self._withdraw = withdraw
        self.add_done_callback(lambda _: batch.resources.close())

    def cancel(self) -> bool:
        """Remove the batch from the queue; False while a worker processes one of its pictures, and after the end."""
        return self.cancelled() or (self._withdraw(self) and super().cancel())
