"""A Celery worker: threads that receive messages and process their pictures in worker processes.

Each picture in progress has a lease in Redis, because late acknowledgement, one stored result and a sweep of unfinished
pictures are not enough. kombu takes a message off its list before it records it as unacknowledged, so a worker that is
killed in between loses it, and the sweep must send another one without a sign that the first is lost. Without leases a
slow picture is then started again and again and fails as if it killed its workers: with `visibility_s = 1`, 3 of 3
pictures of 9 s (each started 6 times). Postponing the sweep of pictures in progress does not help against the copies of
a message in a long queue: 2 of 98 pictures of 4 s failed after 6 starts, in a trial that sends copies after a second.
With leases each was started once.
"""

import logging
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from celery import signals
from kombu.exceptions import OperationalError
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from faceattr_aio.config.schema import Config
from faceattr_aio.errors import FaceattrError, InternalError, Unavailable
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import WorkerCrashed
from faceattr_aio.jobs import redis_store
from faceattr_aio.jobs.celery_jobs import make_celery
from faceattr_aio.jobs.model import log_first
from faceattr_aio.jobs.redis_store import ItemKey, JobMeta
from faceattr_aio.pipeline import Outcome, Task

log = logging.getLogger("faceattr_aio.job_worker")

_MAX_TRIES = 5
"""After so many tries a picture fails: it probably kills its workers."""
_LONG_OVERDUE_S = 60.0
_SWEEP_SIZE = 1000
_PAUSE_S = 0.2
_RETRIES = 10
"""With pauses of up to a second, enough for a restart of Redis."""
_FAULTS = (RedisError, OSError, OperationalError)


def _configure_logging(**_: object) -> None:
    """Keep Celery from changing the loggers, which it does without a receiver, and drop its lines on each message."""
    logging.getLogger("celery").setLevel(logging.WARNING)


class JobWorker:
    """Processes pictures with the pipelines of `config` on `pool`, which has to be started.

    The pipelines and `jobs.url` have to be those of the servers. `work` is called from many threads.
    """

    def __init__(self, config: Config, pool: Pool) -> None:
        self._config, self._pool, self._celery = config, pool, make_celery(config.jobs)
        self._celery.task(name=redis_store.MESSAGE)(self.work)
        retry = Retry(ExponentialBackoff(cap=1.0, base=0.05), _RETRIES)
        self._redis = Redis.from_url(config.jobs.url, retry=retry, socket_timeout=5.0)
        self._lease_ms = round(config.jobs.visibility_s * 1e3)
        self._items: set[ItemKey] = set()
        self._closed = threading.Event()
        self._logged: set[type[Exception]] = set()
        self._keeper = threading.Thread(target=self._keep, name="faceattr-leases", daemon=True)

    def run(self, announce: Callable[[], None]) -> None:
        """Receive messages until SIGTERM or SIGINT; call `announce` once that begins."""
        signals.setup_logging.connect(_configure_logging, weak=False)
        signals.worker_ready.connect(lambda **_: announce(), weak=False)
        worker = self._celery.Worker(
            pool="threads",
            concurrency=self._config.inference.worker_count,
            without_gossip=True,
            without_heartbeat=True,
            without_mingle=True,
            quiet=True,
        )
        self.start()
        with closing(self):
            worker.start()

    def start(self) -> None:
        self._keeper.start()

    def close(self) -> None:
        self._closed.set()
        self._keeper.join()
        self._redis.close()

    def work(self, identity: str, number: int) -> None:
        """Process a picture that has no result and no lease. Raises RedisError when Redis stays away; the lease then
        expires and the picture is announced again.
        """
        item = ItemKey(identity, number)
        claimed: Any = self._redis.eval(*redis_store.claim(item, self._lease_ms))
        if not claimed:
            return
        self._items.add(item)
        try:
            meta = JobMeta.model_validate_json(claimed[0])
            outcome = self._process(meta, claimed[1], tries=claimed[2])
            self._redis.eval(*redis_store.finish(item, meta, outcome))
        finally:
            self._items.discard(item)
        log.info("picture %s of request %s: %s", item.member, meta.request, redis_store.end_of(meta, outcome))

    def _process(self, meta: JobMeta, picture: bytes, tries: int) -> Outcome:
        entry = self._config.pipelines.get(meta.pipeline)
        if not entry or not picture or tries > _MAX_TRIES:
            log.error("a picture of request %s failed after %d tries", meta.request, tries - 1)
            return InternalError()
        options = entry.declaration.options.model_validate_json(meta.options)
        with tempfile.NamedTemporaryFile(dir=self._config.upload.dir, prefix="faceattr-job-") as file:
            file.write(picture)
            file.flush()
            return self._call(meta.pipeline, Task(Path(file.name), options, probed=True), tries)

    def _call(self, name: str, task: Task, tries: int) -> Outcome:
        """Run the task, again when its worker process exits, up to `_MAX_TRIES` tries in all.

        Raises Unavailable when this process ends before a worker process can be started.
        """
        while tries <= _MAX_TRIES:
            try:
                outcome = self._pool.call(name, task, self._config.inference.timeout_s)
            except Unavailable:
                if self._closed.wait(_PAUSE_S):
                    raise
                continue
            if isinstance(outcome, FaceattrError) and outcome.log:
                log.warning("a picture failed: %s", outcome.log)
            if not isinstance(outcome, WorkerCrashed):
                return outcome
            tries += 1
        return InternalError()

    def _keep(self) -> None:
        """Renew the leases of this worker and announce overdue pictures, three times in `visibility_s`."""
        while not self._closed.wait(self._config.jobs.visibility_s / 3):
            try:
                self._renew()
                self._sweep()
            except _FAULTS as error:
                log.warning("Redis cannot be reached: %s", error)
            except Exception as error:  # noqa: BLE001  # the leases have to be renewed, whatever a round raises
                log_first(log, error, self._logged)

    def _renew(self) -> None:
        with self._redis.pipeline(transaction=False) as pipeline:
            for item in tuple(self._items):
                pipeline.pexpire(item.lease, self._lease_ms)
            pipeline.execute()

    def _sweep(self) -> None:
        """Send new messages for overdue pictures without a lease, in one worker at a time.

        While messages are queued, theirs may be among them, so only pictures that are long overdue get new ones.
        """
        if not self._redis.set(redis_store.SWEEPING, "", nx=True, px=self._lease_ms // 3):
            return
        now = redis_store.now()
        latest = now if not self._redis.llen(redis_store.QUEUE) else now - _LONG_OVERDUE_S
        members: Any = self._redis.zrangebyscore(redis_store.DUE, "-inf", latest, start=0, num=_SWEEP_SIZE)
        for member in members:
            try:
                item = ItemKey.parse(member.decode())
            except ValueError as error:
                self._redis.zrem(redis_store.DUE, member)
                log.warning("%s: %r is not a picture and was removed: %s", redis_store.DUE, member, error)
            else:
                self._announce_again(item, now + self._config.jobs.visibility_s)

    def _announce_again(self, item: ItemKey, due: float) -> None:
        self._redis.zadd(redis_store.DUE, {item.member: due}, xx=True)
        if not self._redis.exists(item.lease):
            log.info("picture %s is announced again", item.member)
            self._celery.send_task(redis_store.MESSAGE, (item.job, item.number), retry=False)
