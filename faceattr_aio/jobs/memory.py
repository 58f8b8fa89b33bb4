"""Jobs in this process, on the workers that answer requests too. Requests come first: a picture of a job is begun only
when a worker would otherwise be idle. Knows no HTTP.
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
from faceattr_aio.jobs.model import CANCELLED, DONE, FAILED, Submission, Tell, conclude
from faceattr_aio.pipeline import Outcome, Task
from faceattr_aio.schemas import Document, Job, Progress, picture_body

log = logging.getLogger("faceattr_aio.memory_jobs")

_LOOK_AGAIN_S = 1.0
"""Whether a worker is idle, when nobody has given a slot back: there may be a new one."""


@dataclass(eq=False)
class ActiveJob:
    """`release` gives its room back."""

    id: str
    order: Submission
    release: Callable[[], None]
    since: float = field(default_factory=time.monotonic)
    begun: float | None = None
    entries: dict[int, Document] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> Job:
        progress = Progress(done=len(self.entries), of=len(self.order.pictures))
        seconds = 0.0 if self.begun is None else time.monotonic() - self.begun
        return Job(
            id=self.id,
            status="queued" if self.begun is None else "running",
            pipeline=self.order.pipeline,
            progress=progress,
            processing_s=round(seconds, 6),
        )


class MemoryJobs:
    """As many as there is `room` for. Those that are over are kept for `settings.keep_s`, as far as they are among the
    last `settings.kept`.
    """

    def __init__(
        self, settings: JobsConfig, executor: Executor, results: Results, room: JobCapacity, tell: Tell
    ) -> None:
        self.room = room
        self.ended = Counter[str]()
        self._executor, self._results, self._tell = executor, results, tell
        self._live: dict[str, ActiveJob] = {}
        self._over: TTLCache[str, tuple[str, Job]] = TTLCache(settings.kept, settings.keep_s)
        self._queue: deque[tuple[ActiveJob, int]] = deque()
        self._look = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_end = 0.0

    @property
    def waiting(self) -> int:
        return sum(live.begun is None for live in self._live.values())

    @property
    def running(self) -> int:
        return len(self._live) - self.waiting

    @property
    def is_idle(self) -> bool:
        return not self._live

    async def start(self) -> None:
        self._executor.limiter.on_release(partial(self._released, asyncio.get_running_loop()))
        self._spawn(self._begin_all())

    async def close(self) -> None:
        await self.stop()

    async def stop(self) -> None:
        self.room.limiter.drain()
        for live in tuple(self._live.values()):
            self._conclude(live, [picture_body(Draining(), live.order.request)])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def check(self, client: str) -> None:
        self.room.check(client)

    async def submit(self, order: Submission) -> Job:
        size = sum(picture.size for picture in order.pictures)
        live = ActiveJob(secrets.token_urlsafe(16), order, self.room.take(order.client, size))
        self._live[live.id] = live
        for number, picture in enumerate(order.pictures):
            if isinstance(picture.task, Task):
                self._queue.append((live, number))
            else:
                live.entries[number] = picture_body(picture.task, order.request)
        self._look.set()
        queued = live.tell()
        self._conclude_if_done(live)
        return queued

    async def find(self, identity: str, owner: str) -> Job:
        if (live := self._live.get(identity)) and live.order.owner == owner:
            return live.tell()
        whose, job = self._over.get(identity, ("", None))
        if job is None or whose != owner:
            raise UnknownJob
        return job

    async def wait(self, identity: str, owner: str, seconds: float) -> Job:
        if (live := self._live.get(identity)) and live.order.owner == owner:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await live.over.wait()
        return await self.find(identity, owner)

    async def remove(self, identity: str, owner: str) -> None:
        await self.find(identity, owner)
        self._over.pop(identity, None)
        if live := self._live.get(identity):
            self._end(live, CANCELLED)

    def _released(self, loop: asyncio.AbstractEventLoop) -> None:
        """In any thread, also one that outlives the loop."""
        if self._queue:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._look.set)

    def _next(self) -> tuple[ActiveJob, int] | None:
        """The first picture for whose pipeline a worker is idle."""
        try:
            self._executor.pool.check()
        except Unavailable:
            return None
        idle = (entry for entry in self._queue if self._executor.limiter_of(entry[0].order.pipeline).is_idle)
        return next(idle, None)

    async def _begin_all(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_S if self._queue else None):
                    await self._look.wait()
            self._look.clear()
            while entry := self._next():
                self._queue.remove(entry)
                begun = asyncio.Event()
                self._spawn(self._perform(*entry, begun))
                await begun.wait()

    async def _perform(self, live: ActiveJob, number: int, begun: asyncio.Event) -> None:
        """One picture; `begun` is set once it has its slot, or needs none."""
        live.begun = live.begun or time.monotonic()
        try:
            live.entries[number] = await self._entry(live, number, begun)
        except Overloaded:  # a request was quicker
            self._queue.appendleft((live, number))
        except ClientGone:
            return
        else:
            live.order.pictures[number].file.close()
        finally:
            begun.set()
        self._conclude_if_done(live)

    async def _entry(self, live: ActiveJob, number: int, begun: asyncio.Event) -> Document:
        """What came of a picture. Raises Overloaded, and ClientGone when the job is over: its files are closed then."""
        order, picture = live.order, live.order.pictures[number]

        async def work(tasks: Sequence[Task]) -> list[Outcome]:
            asyncio.get_running_loop().call_soon(begun.set)
            return await self._executor.run_all(order.pipeline, tasks, picture.file, lambda: not live.over.is_set())

        try:
            (outcome,) = await self._results.get_or_run([picture.task], [picture.key()], work, math.inf)
            return picture_body(outcome, order.request)
        except (Overloaded, ClientGone):
            raise
        except FaceattrError as error:
            return picture_body(error, order.request)
        except Exception:
            log.exception("picture %d of job %s failed", number, live.id)
            return picture_body(InternalError(), order.request)

    def _conclude_if_done(self, live: ActiveJob) -> None:
        if len(live.entries) == len(live.order.pictures) and not live.over.is_set():
            self._conclude(live, [live.entries[number] for number in sorted(live.entries)])

    def _conclude(self, live: ActiveJob, entries: Sequence[Document]) -> None:
        job = conclude(live.tell(), live.order.request, entries)
        self._over[live.id] = live.order.owner, job
        now = time.monotonic()
        self.room.limiter.observe(now - max(live.since, self._last_end))
        self._last_end = now
        self._end(live, DONE if job.error is None else FAILED)
        self._tell(job, live.order.callback)

    def _end(self, live: ActiveJob, how: str) -> None:
        """Gives back all that it had. A worker that is at one of its pictures has that picture's file for itself."""
        del self._live[live.id]
        self._queue = deque(entry for entry in self._queue if entry[0] is not live)
        for picture in live.order.pictures:
            picture.file.close()
        live.release()
        self.ended[how] += 1
        live.over.set()
        log.info("job %s of request %s: %s, %d pictures", live.id, live.order.request, how, len(live.order.pictures))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
