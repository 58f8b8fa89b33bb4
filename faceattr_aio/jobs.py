"""What one request wants of the workers, done in a thread that waits for them; and the threads, which give a job's slot
and files back when its work is over. Knows no event loop, no limit and no HTTP.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from faceattr_aio.errors import ClientGone, DeadlineExceeded, FaceattrError, WorkerGone
from faceattr_aio.pipeline import Reply, Task
from faceattr_aio.pool import Pool

Outcome = Reply | FaceattrError


@dataclass(frozen=True)
class Job:
    """Pictures for one pipeline, one after another; a task that is a failure already stays one.

    A picture that a worker has taken up is given `timeout_s` seconds, however long it had waited; none is taken up
    after `allowed_s`. `wanted` tells whether anybody still waits, `owned` is closed when the work is over, `observe` is
    told the seconds it took without its waiting.
    """

    pool: Pool
    name: str
    tasks: Sequence[Task | FaceattrError]
    timeout_s: float
    wanted: Callable[[], bool]
    owned: ExitStack
    observe: Callable[[float], None]
    submitted: float = field(default_factory=time.monotonic)

    @property
    def allowed_s(self) -> float:
        """Seconds from its submission that the caller waits: `timeout_s` for each picture."""
        return self.timeout_s * sum(isinstance(task, Task) for task in self.tasks)

    def __call__(self) -> list[Outcome]:
        """Raises ClientGone when nobody waits any more."""
        outcomes: list[Outcome] = []
        waiting_since, worked = self.submitted, 0.0
        for task in self.tasks:
            began, outcome = self._perform(task, waiting_since) if isinstance(task, Task) else (waiting_since, task)
            waiting_since = time.monotonic()
            worked += waiting_since - began
            outcomes.append(outcome)
        self.observe(worked)
        return outcomes

    def _perform(self, task: Task, waiting_since: float) -> tuple[float, Outcome]:
        """When a worker took the task up, and what came of it."""
        if not self.wanted():
            raise ClientGone
        began = time.monotonic()
        try:
            with self.pool.lend(self._in_time()) as worker:
                began = time.monotonic()
                reply = worker.call(self.name, task, self.timeout_s)
        except WorkerGone:
            return self._perform(task, waiting_since)
        except FaceattrError as error:
            return began, error
        return began, replace(reply, laps={"queue": (began - waiting_since) * 1e3, **reply.laps})

    def _in_time(self) -> float:
        """Seconds until the deadline. Raises DeadlineExceeded."""
        left = self.submitted + self.allowed_s - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded
        return left


class JobThreads(ThreadPoolExecutor):
    """Gives back what a job owns in the callback of the concurrent future: that one ends with the work itself, or with
    its removal from the queue. The future that a caller awaits ends with the caller's patience.
    """

    def submit(self, job: Job) -> Future[list[Outcome]]:  # type: ignore[override]  # takes jobs alone
        try:
            future = super().submit(job)
        except RuntimeError:  # shut down in the meantime
            job.owned.close()
            raise
        future.add_done_callback(lambda _: job.owned.close())
        return future
