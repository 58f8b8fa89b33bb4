"""Jobs in Redis that Celery workers process: the server's side, and the Celery application.

A job is accepted once Redis has stored it; it then outlives the server. A Celery message only names a picture; pictures
and results are stored in Redis.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from celery import Celery
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from faceattr_aio.admission.circuit_breaker import REDIS_FAULTS
from faceattr_aio.config.schema import JobsConfig
from faceattr_aio.errors import FaceattrError, Overloaded, StorageUnavailable, UnknownJob
from faceattr_aio.jobs import redis_store
from faceattr_aio.jobs.capacity import JobCapacity
from faceattr_aio.jobs.model import CANCELLED, POLL_S, Notify, Submission, describe, repeat
from faceattr_aio.jobs.redis_store import ItemKey, JobMeta, Script
from faceattr_aio.pipeline import Task
from faceattr_aio.schemas import Job
from faceattr_aio.uploads.spool import IoThreads

log = logging.getLogger("faceattr_aio.celery_jobs")

_TIMEOUT_S = 5.0
_CONCURRENCY = 4
"""Submissions that are read into memory and stored in Redis at a time."""


def make_celery(settings: JobsConfig) -> Celery:
    """Return the Celery application, not connected yet."""
    app = Celery("faceattr_aio", broker=settings.url, set_as_current=False)
    app.conf.update(
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "socket_timeout": _TIMEOUT_S,
            "socket_connect_timeout": _TIMEOUT_S,
            "socket_keepalive": True,
        },
        task_acks_late=True,
        task_default_queue=redis_store.QUEUE,
        task_ignore_result=True,
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=1,
        worker_redirect_stdouts=False,
    )
    return app


class CeleryJobs:
    """See `Jobs`. At most `settings.waiting` jobs have not ended, of all servers together."""

    is_idle = True
    """No job is lost with a server."""

    def __init__(self, settings: JobsConfig, capacity: JobCapacity, notify: Notify) -> None:
        self.capacity = capacity
        self.ended = Counter[str]()
        self.waiting = self.running = 0
        self._settings, self._notify = settings, notify
        self._redis = Redis.from_url(
            settings.url, decode_responses=True, socket_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 1)
        )
        self._celery = make_celery(settings)
        self._threads = IoThreads(_CONCURRENCY, "faceattr-jobs")
        self._accepting = asyncio.Semaphore(_CONCURRENCY)
        self._over: dict[str, asyncio.Event] = {}
        self._closed = False
        self._last_ended: Counter[str] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        for step in (self._count, self._listen, self._call_back):
            self._tasks.append(asyncio.create_task(repeat(step, log, REDIS_FAULTS)))

    async def stop(self) -> None:
        self._closed = True
        self.capacity.limiter.drain()
        pending = {task for task in self._tasks if not task.done()}
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=POLL_S)  # redis-py may swallow a cancellation
        for over in self._over.values():
            over.set()

    async def close(self) -> None:
        await self.stop()
        await self._redis.aclose()
        self._threads.shutdown(wait=False)

    def check(self, client: str) -> None:
        """See `Jobs`; the numbers are up to a second old, and `submit` decides."""
        self.capacity.check(client)
        if self.waiting + self.running >= self._settings.waiting:
            raise self._overloaded(self.waiting + self.running)

    async def submit(self, submission: Submission) -> Job:
        identity = secrets.token_urlsafe(16)
        async with self._accepting:
            with _storage_faults():
                await self._accept(identity, submission)
        submission.close()
        await self._threads.run(self._send, identity, submission)
        return describe(identity, submission.pipeline, 0, len(submission.items))

    async def wait(self, identity: str, owner: str, seconds: float) -> Job:
        end = time.monotonic() + seconds
        over = self._over.setdefault(identity, asyncio.Event())
        try:
            while not (job := await self._find(identity, owner)).is_over:
                left = end - time.monotonic()
                if left <= 0 or self._closed:
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, POLL_S)):  # the publication may have been missed
                        await over.wait()
        finally:
            self._over.pop(identity, None)
        return job

    async def remove(self, identity: str, owner: str) -> None:
        job = await self._find(identity, owner)
        with _storage_faults():
            await self._eval(redis_store.remove(identity, job.progress.of, CANCELLED))

    async def _accept(self, identity: str, submission: Submission) -> None:
        """Store the job. Raises Overloaded, StorageUnavailable or an error of Redis."""
        meta = redis_store.make_meta(submission, self._settings.keep_s)
        pictures = await self._threads.run(_read_pictures, submission)
        limits = self._settings.waiting, self.capacity.max_bytes
        live = await self._eval(redis_store.accept(identity, meta, pictures, *limits, self._settings.visibility_s))
        if live == redis_store.STORAGE_FULL:
            raise self.capacity.storage_full()
        if live >= 0:
            raise self._overloaded(live)
        for number, item in enumerate(submission.items):
            if isinstance(item.task, FaceattrError):
                await self._eval(redis_store.finish(ItemKey(identity, number), meta, item.task))

    def _send(self, identity: str, submission: Submission) -> None:
        """Send the messages; a worker later sends those that are missing."""
        try:
            for number, item in enumerate(submission.items):
                if isinstance(item.task, Task):
                    self._celery.send_task(redis_store.MESSAGE, (identity, number), retry=False)
        except Exception as error:  # noqa: BLE001  # the job is accepted, whatever the broker raises
            log.info("job %s: its messages were not sent: %s", identity, error)

    async def _find(self, identity: str, owner: str) -> Job:
        """Raises UnknownJob or StorageUnavailable."""
        if not identity.isascii():  # it may hold surrogates, which cannot be sent
            raise UnknownJob
        with _storage_faults():
            stored = await self._hash(redis_store.job_key(identity))
        meta = JobMeta.model_validate_json(stored["meta"]) if "meta" in stored else None
        if meta is None or meta.owner != owner:
            raise UnknownJob
        return redis_store.read_job(identity, meta, stored)

    async def _eval(self, script: Script) -> int:
        return int(await self._redis.eval(*script))

    async def _hash(self, key: str) -> dict[str, str]:
        return {str(name): str(value) for name, value in (await self._redis.hgetall(key)).items()}

    def _overloaded(self, live: int) -> Overloaded:
        wait_s, limit = live * self.capacity.limiter.service_s, self._settings.waiting
        detail = f"{live} jobs are not done and {limit} is the limit; try again later."
        return Overloaded(detail, retry_after_s=wait_s, retry_after_ms=round(wait_s * 1e3), limit=limit, in_flight=live)

    async def _count(self) -> None:
        """Read the numbers of jobs of all servers, and of the jobs that ended since the start of this one."""
        live, running = await self._redis.zcard(redis_store.LIVE), await self._redis.scard(redis_store.RUNNING)
        self.waiting, self.running = max(0, live - running), running
        ended = Counter({end: int(number) for end, number in (await self._hash(redis_store.ENDED)).items()})
        if self._last_ended is not None and (new := ended - self._last_ended):
            self.ended += new
            self.capacity.limiter.observe(POLL_S / new.total())
        self._last_ended = ended
        await asyncio.sleep(POLL_S)

    async def _listen(self) -> None:
        """Wake the clients that wait for a job that has ended."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(redis_store.OVER)
            while True:
                message = await channel.get_message(timeout=POLL_S)
                if message and (over := self._over.get(str(message["data"]))):
                    over.set()

    async def _call_back(self) -> None:
        """Take the next ended job that has a callback, and notify it."""
        found = await self._redis.blpop([redis_store.CALLBACKS], timeout=_TIMEOUT_S / 2)
        if found is None:
            return
        identity = str(found[1])
        stored = await self._hash(redis_store.job_key(identity))
        if "meta" in stored:  # the job may have expired
            meta = JobMeta.model_validate_json(stored["meta"])
            self._notify(redis_store.read_job(identity, meta, stored), meta.callback)


@contextmanager
def _storage_faults() -> Iterator[None]:
    """Raise StorageUnavailable when Redis cannot be reached."""
    try:
        yield
    except REDIS_FAULTS as error:
        detail = "The storage of jobs cannot be reached; try again shortly."
        raise StorageUnavailable.from_exception(error, detail) from error


def _read_pictures(submission: Submission) -> list[bytes]:
    """Return the bytes of each picture; empty for one that was refused."""
    return [item.task.path.read_bytes() if isinstance(item.task, Task) else b"" for item in submission.items]
