"""What one request wants of the workers, done in a thread that waits for them; and the threads, which give its slot and
files back when its work is over. Knows no event loop, no limit and no HTTP.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from faceattr_aio.errors import ClientGone, DeadlineExceeded, FaceattrError, WorkerGone
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import WorkerHandle
from faceattr_aio.pipeline import Outcome, Reply, Task


@contextmanager
def no_wait(_: float) -> Iterator[None]:
    """The turn of those for whom a free worker is enough."""
    yield


@dataclass(frozen=True)
class Batch:
    """Pictures for one pipeline, one after another; a task that is a failure already stays one.

    A picture that a worker has taken up is given `timeout_s` seconds, however long it had waited; none is taken up
    after `allowed_s`, nor after the `deadline` on the monotonic clock. Before it waits for a worker it waits for its
    `turn`, which is told the seconds that are left. `wanted` tells whether anybody still waits, `owned` is closed when
    the work is over, `observe` is told the seconds that workers needed for all of it: the sum of `worked`.
    """

    pool: Pool
    name: str
    tasks: Sequence[Task | FaceattrError]
    timeout_s: float
    wanted: Callable[[], bool]
    owned: ExitStack
    observe: Callable[[float], None]
    deadline: float = math.inf
    turn: Callable[[float], AbstractContextManager[None]] = no_wait
    submitted: float = field(default_factory=time.monotonic)
    worked: list[float] = field(default_factory=list)

    @property
    def allowed_s(self) -> float:
        """Seconds from its submission that the caller waits: `timeout_s` for each picture, at most to the deadline."""
        pictures = sum(isinstance(task, Task) for task in self.tasks)
        return min(self.timeout_s * pictures, self.deadline - self.submitted)

    def __call__(self) -> list[Outcome]:
        """Raises ClientGone when nobody waits any more."""
        outcomes: list[Outcome] = []
        free_since = self.submitted
        for task in self.tasks:
            outcomes.append(self._perform(task, free_since) if isinstance(task, Task) else task)
            free_since = time.monotonic()
        if self.worked:
            self.observe(sum(self.worked))
        return outcomes

    def _perform(self, task: Task, free_since: float) -> Outcome:
        if not self.wanted():
            raise ClientGone
        try:
            with self.turn(self._in_time()), self.pool.lend(self._in_time()) as worker:
                return self._work(worker, task, free_since)
        except WorkerGone:
            return self._perform(task, free_since)
        except FaceattrError as error:
            return error.without_traceback()

    def _work(self, worker: WorkerHandle, task: Task, free_since: float) -> Reply:
        began = time.monotonic()
        try:
            reply = worker.call(self.name, task, self.timeout_s)
        finally:
            self.worked.append(time.monotonic() - began)
        return replace(reply, laps={"queue": (began - free_since) * 1e3, **reply.laps})

    def _in_time(self) -> float:
        """Seconds until the deadline. Raises DeadlineExceeded."""
        left = self.submitted + self.allowed_s - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded
        return left


class BatchThreads(ThreadPoolExecutor):
    """Gives back what a batch owns in the callback of the concurrent future: that one ends with the work itself, or
    with its removal from the queue. The future that a caller awaits ends with the caller's patience.
    """

    def submit(self, batch: Batch) -> Future[list[Outcome]]:  # type: ignore[override]  # takes batches alone
        try:
            future = super().submit(batch)
        except RuntimeError:  # shut down in the meantime
            batch.owned.close()
            raise
        future.add_done_callback(lambda _: batch.owned.close())
        return future
