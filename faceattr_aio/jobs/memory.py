"""Jobs in this process, on the workers that also serve requests. Requests have priority: a picture of a job is started
only when a worker would otherwise be idle.
"""

import asyncio
import logging
import math
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from cachetools import TTLCache

from faceattr_aio.cache.results import Results
from faceattr_aio.config.schema import JobsConfig
from faceattr_aio.errors import ClientGone, Draining, FaceattrError, InternalError, Overloaded, Unavailable, UnknownJob
from faceattr_aio.inference.executor import Executor
from faceattr_aio.jobs.capacity import JobCapacity
from faceattr_aio.jobs.model import CANCELLED, DONE, FAILED, POLL_S, Notify, Submission, conclude, describe, repeat
from faceattr_aio.pipeline import Outcome, Task
from faceattr_aio.schemas import Document, Job, picture_body

log = logging.getLogger("faceattr_aio.memory_jobs")


@dataclass(eq=False)
class ActiveJob:
    """A job that has not ended. `release` returns its capacity; times are seconds of the monotonic clock."""

    id: str
    submission: Submission
    release: Callable[[], None]
    accepted_at: float = field(default_factory=time.monotonic)
    started_at: float | None = None
    bodies: dict[int, Document] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def describe(self) -> Job:
        seconds = None if self.started_at is None else time.monotonic() - self.started_at
        return describe(self.id, self.submission.pipeline, len(self.bodies), len(self.submission.items), seconds)


class MemoryJobs:
    """See `Jobs`. The last `settings.kept` jobs that have ended are kept for `settings.keep_s` seconds."""

    def __init__(
        self, settings: JobsConfig, executor: Executor, results: Results, capacity: JobCapacity, notify: Notify
    ) -> None:
        self.capacity = capacity
        self.ended = Counter[str]()
        self._executor, self._results, self._notify = executor, results, notify
        self._active: dict[str, ActiveJob] = {}
        self._over: TTLCache[str, tuple[str, Job]] = TTLCache(settings.kept, settings.keep_s)
        self._queue: deque[tuple[ActiveJob, int]] = deque()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_end = 0.0

    @property
    def waiting(self) -> int:
        return sum(job.started_at is None for job in self._active.values())

    @property
    def running(self) -> int:
        return len(self._active) - self.waiting

    @property
    def is_idle(self) -> bool:
        return not self._active

    async def start(self) -> None:
        self._executor.limiter.on_release(partial(self._on_release, asyncio.get_running_loop()))
        self._spawn(repeat(self._start_items, log))

    async def stop(self) -> None:
        self.capacity.limiter.drain()
        for job in tuple(self._active.values()):
            self._conclude(job, [picture_body(Draining(), job.submission.request)])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    close = stop

    def check(self, client: str) -> None:
        self.capacity.check(client)

    async def submit(self, submission: Submission) -> Job:
        release = self.capacity.acquire(submission.client, sum(item.size for item in submission.items))
        job = ActiveJob(secrets.token_urlsafe(16), submission, release)
        self._active[job.id] = job
        for number, item in enumerate(submission.items):
            if isinstance(item.task, Task):
                self._queue.append((job, number))
            else:
                job.bodies[number] = picture_body(item.task, submission.request)
        self._wake.set()
        accepted = job.describe()
        self._conclude_if_done(job)
        return accepted

    async def wait(self, identity: str, owner: str, seconds: float) -> Job:
        if (job := self._active.get(identity)) and job.submission.owner == owner:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await job.over.wait()
        return self._find(identity, owner)

    async def remove(self, identity: str, owner: str) -> None:
        self._find(identity, owner)
        self._over.pop(identity, None)
        if job := self._active.get(identity):
            self._end(job, CANCELLED)

    def _find(self, identity: str, owner: str) -> Job:
        if (active := self._active.get(identity)) and active.submission.owner == owner:
            return active.describe()
        job_owner, job = self._over.get(identity, ("", None))
        if job is None or job_owner != owner:
            raise UnknownJob
        return job

    def _on_release(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake the queue. Called in any thread, also after the end of the loop."""
        if self._queue:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._wake.set)

    async def _start_items(self) -> None:
        """Wait for an item or a released slot, then start items while a worker is idle."""
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S if self._queue else None):  # autoscaling may have added a worker
                await self._wake.wait()
        self._wake.clear()
        while entry := self._next():
            self._queue.remove(entry)
            settled = asyncio.Event()
            self._spawn(self._process(*entry, settled))
            await settled.wait()  # the limiter counts the item by then

    def _next(self) -> tuple[ActiveJob, int] | None:
        """Return the first item that an idle worker could start now."""
        try:
            self._executor.pool.check()
        except Unavailable:
            return None
        limiter_of = self._executor.limiter_of
        return next((entry for entry in self._queue if limiter_of(entry[0].submission.pipeline).is_idle), None)

    async def _process(self, job: ActiveJob, number: int, settled: asyncio.Event) -> None:
        """Process an item, from the cache if possible. `settled` is set once it has a slot or needs none."""
        job.started_at = job.started_at or time.monotonic()
        item, pipeline = job.submission.items[number], job.submission.pipeline

        async def work(tasks: Sequence[Task]) -> list[Outcome]:
            asyncio.get_running_loop().call_soon(settled.set)  # after the slot was acquired
            return await self._executor.run_all(pipeline, tasks, item.resources, lambda: not job.over.is_set())

        try:
            (outcome,) = await self._results.get_or_run([item.task], [item.key()], work, math.inf)
        except Overloaded:  # a request was faster
            self._queue.appendleft((job, number))
            return
        except ClientGone:  # the job was cancelled
            return
        except FaceattrError as error:
            outcome = error
        except Exception:
            log.exception("picture %d of job %s failed", number, job.id)
            outcome = InternalError()
        finally:
            settled.set()
        item.resources.close()
        job.bodies[number] = picture_body(outcome, job.submission.request)
        self._conclude_if_done(job)

    def _conclude_if_done(self, job: ActiveJob) -> None:
        if len(job.bodies) == len(job.submission.items) and not job.over.is_set():
            self._conclude(job, [job.bodies[number] for number in sorted(job.bodies)])

    def _conclude(self, active: ActiveJob, bodies: Sequence[Document]) -> None:
        job = conclude(active.describe(), active.submission.request, bodies)
        self._over[job.id] = active.submission.owner, job
        now = time.monotonic()
        self.capacity.limiter.observe(now - max(active.accepted_at, self._last_end))
        self._last_end = now
        self._end(active, DONE if job.error is None else FAILED)
        self._notify(job, active.submission.callback)

    def _end(self, job: ActiveJob, end: str) -> None:
        """Remove the job and return its capacity. A worker that is at one of its pictures keeps that file."""
        del self._active[job.id]
        self._queue = deque(entry for entry in self._queue if entry[0] is not job)
        submission = job.submission
        submission.close()
        job.release()
        self.ended[end] += 1
        job.over.set()
        log.info("job %s of request %s: %s, %d pictures", job.id, submission.request, end, len(submission.items))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
