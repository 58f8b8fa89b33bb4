"""Jobs in Redis, worked on by Celery wherever a worker runs: what a server does of it. A job is accepted once Redis has
it, and whatever becomes of the server after that, it is not lost. Knows no HTTP.
"""

import asyncio
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from faceattr_aio.config.schema import JobsConfig
from faceattr_aio.errors import FaceattrError, Overloaded, StorageUnavailable, UnknownJob
from faceattr_aio.jobs import redis_scripts as job_steps
from faceattr_aio.jobs import redis_store as job_store
from faceattr_aio.jobs.capacity import JobCapacity
from faceattr_aio.jobs.celery_app import make_app
from faceattr_aio.jobs.model import CANCELLED, DONE, FAILED, Submission, Tell
from faceattr_aio.jobs.redis_store import ItemKey, Meta, meta_of, read_job
from faceattr_aio.pipeline import Task
from faceattr_aio.schemas import Job, Progress, picture_body
from faceattr_aio.uploads.spool import IoThreads

log = logging.getLogger("faceattr_aio.celery_jobs")

_TIMEOUT_S = 5.0
_LOOK_S = 1.0
_AT_A_TIME = 4
"""Orders whose pictures are in memory, on their way to Redis."""
_FAULTS = (RedisError, OSError, TimeoutError)


class CeleryJobs:
    """At most `settings.waiting` that are not over, of all servers together."""

    def __init__(self, settings: JobsConfig, room: JobCapacity, tell: Tell) -> None:
        self.room = room
        self.ended = Counter[str]()
        self.waiting = self.running = 0
        self._settings, self._tell = settings, tell
        self._most = job_steps.JobLimits(settings.waiting, room.most_bytes)
        self._redis = Redis.from_url(
            settings.url, decode_responses=True, socket_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 1)
        )
        self._celery = make_app(settings)
        self._threads = IoThreads(_AT_A_TIME, "faceattr-jobs")
        self._turns = asyncio.Semaphore(_AT_A_TIME)
        self._waiters: dict[str, asyncio.Event] = {}
        self._closed = False
        self._known: Counter[str] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_idle(self) -> bool:
        """Nothing is lost with us."""
        return True

    async def start(self) -> None:
        for work in (self._count, self._listen, self._call_back):
            self._tasks.append(asyncio.create_task(_again_and_again(work)))

    async def stop(self) -> None:
        self._closed = True
        self.room.limiter.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiter in self._waiters.values():
            waiter.set()

    async def close(self) -> None:
        await self.stop()
        await self._redis.aclose()
        self._threads.shutdown(wait=False)

    def check(self, client: str) -> None:
        """As it was at most a second ago; Redis has the last word."""
        self.room.check(client)
        if self.waiting + self.running >= self._settings.waiting:
            raise self._overloaded(self.waiting + self.running)

    async def submit(self, order: Submission) -> Job:
        identity = secrets.token_urlsafe(16)
        async with self._turns:
            with _reaching_redis():
                await self._accept(identity, order)
        for picture in order.pictures:
            picture.file.close()
        await self._threads.run(self._send, identity, order)
        return Job(
            id=identity, status="queued", pipeline=order.pipeline, progress=Progress(done=0, of=len(order.pictures))
        )

    async def find(self, identity: str, owner: str) -> Job:
        with _reaching_redis():
            job, _ = await self._find(identity, owner)
        return job

    async def wait(self, identity: str, owner: str, seconds: float) -> Job:
        """Told at once that it is over; should that be missed, it is looked up every second."""
        ends = time.monotonic() + seconds
        over = self._waiters.setdefault(identity, asyncio.Event())
        try:
            while not (job := await self.find(identity, owner)).is_over:
                left = ends - time.monotonic()
                if left <= 0 or self._closed:
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _LOOK_S)):
                        await over.wait()
        finally:
            self._waiters.pop(identity, None)
        return job

    async def remove(self, identity: str, owner: str) -> None:
        with _reaching_redis():
            job, _ = await self._find(identity, owner)
            await self._step(job_steps.remove(identity, job.progress.of, CANCELLED))

    async def _accept(self, identity: str, order: Submission) -> None:
        """Raises Overloaded."""
        meta, now = meta_of(order, self._settings.keep_s), job_store.now()
        pictures = await self._threads.run(_read, order)
        due = now + self._settings.visibility_s
        live = await self._step(job_steps.accept(identity, meta, pictures, self._most, now, due))
        if live == job_steps.NO_BYTES:
            raise self.room.no_bytes()
        if live >= 0:
            raise self._overloaded(live)
        for number, picture in enumerate(order.pictures):
            if isinstance(picture.task, FaceattrError):
                told = json.dumps(picture_body(picture.task, order.request))
                how = FAILED if meta.of == 1 else DONE
                await self._step(job_steps.finish(ItemKey(identity, number), meta, told, how, now))

    def _send(self, identity: str, order: Submission) -> None:
        """The messages; those that do not arrive are sent again by a worker."""
        try:
            for number, picture in enumerate(order.pictures):
                if isinstance(picture.task, Task):
                    self._celery.send_task(job_store.MESSAGE, (identity, number), retry=False)
        except Exception as error:  # noqa: BLE001  # whatever it is, the job is accepted
            log.info("job %s is not announced: %s", identity, error)

    async def _find(self, identity: str, owner: str) -> tuple[Job, Meta]:
        """Raises UnknownJob."""
        known = await self._hash(job_store.job_key(identity))
        if "meta" not in known:
            raise UnknownJob
        meta = Meta.model_validate_json(known["meta"])
        if meta.owner != owner:
            raise UnknownJob
        return read_job(identity, meta, known), meta

    async def _step(self, step: job_steps.Script) -> int:
        return int(await self._redis.eval(*step.words))

    async def _hash(self, key: str) -> dict[str, str]:
        return {str(name): str(value) for name, value in (await self._redis.hgetall(key)).items()}

    def _overloaded(self, live: int) -> Overloaded:
        wait_s = live * self.room.limiter.service_s
        most = self._settings.waiting
        said = f"{live} jobs are not done and {most} is the limit; try again later."
        return Overloaded(said, retry_after_s=wait_s, retry_after_ms=round(wait_s * 1e3), limit=most, in_flight=live)

    async def _count(self) -> None:
        """What all servers have taken in, and what workers have done with it since we began."""
        live, running = await self._redis.zcard(job_store.LIVE), await self._redis.scard(job_store.RUNNING)
        self.waiting, self.running = max(0, live - running), running
        ended = Counter({how: int(number) for how, number in (await self._hash(job_store.ENDED)).items()})
        if self._known is not None and (done := ended - self._known):
            self.ended += done
            self.room.limiter.observe(_LOOK_S / done.total())
        self._known = ended
        await asyncio.sleep(_LOOK_S)

    async def _listen(self) -> None:
        """Wakes those who wait for a job that is over."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(job_store.OVER)
            while True:
                message = await channel.get_message(timeout=_LOOK_S)
                if message and (waiter := self._waiters.get(str(message["data"]))):
                    waiter.set()

    async def _call_back(self) -> None:
        """Takes the next job that is over and has somebody to be told."""
        found = await self._redis.blpop([job_store.TELL], timeout=_TIMEOUT_S / 2)
        if found is None:
            return
        known = await self._hash(job_store.job_key(str(found[1])))
        if "meta" in known:  # it may be forgotten by now
            meta = Meta.model_validate_json(known["meta"])
            self._tell(read_job(str(found[1]), meta, known), meta.callback)


@contextmanager
def _reaching_redis() -> Iterator[None]:
    """Raises StorageUnavailable when that cannot be done."""
    try:
        yield
    except _FAULTS as error:
        raise StorageUnavailable.from_exception(
            error, "Where jobs are kept cannot be reached; try again shortly."
        ) from error


async def _again_and_again(work: Callable[[], Awaitable[None]]) -> None:
    """Also after Redis was away."""
    while True:
        try:
            await work()
        except _FAULTS as error:
            log.debug("Redis cannot be reached: %s", error)
            await asyncio.sleep(_LOOK_S)


def _read(order: Submission) -> list[bytes]:
    """The pictures; nothing for one that is refused already."""
    return [one.task.path.read_bytes() if isinstance(one.task, Task) else b"" for one in order.pictures]
