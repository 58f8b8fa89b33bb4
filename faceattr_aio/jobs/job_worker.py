"""What works on jobs that lie in Redis: takes a picture that a message tells of, runs it on workers like those of a
server, and leaves the outcome, of which the first counts. Knows Celery's messages, no HTTP, and no pipeline by name.
"""

import json
import logging
import secrets
import tempfile
import threading
from pathlib import Path
from typing import Any

from celery import Celery
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from faceattr_aio.config.schema import Config
from faceattr_aio.errors import FaceattrError, InternalError, Unavailable
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import WorkerCrashed
from faceattr_aio.jobs import redis_scripts as job_steps
from faceattr_aio.jobs import redis_store as job_store
from faceattr_aio.jobs.model import DONE, FAILED
from faceattr_aio.jobs.redis_store import ItemKey, Meta, item_key
from faceattr_aio.pipeline import Outcome, Task
from faceattr_aio.schemas import picture_body

log = logging.getLogger("faceattr_aio.job_worker")

_MOST_TRIES = 5
"""After that it is the picture that ends its workers."""
_LONG_OVERDUE_S = 60.0
_PAUSE_S = 0.2
_RETRIES = 10
"""With pauses up to a second: a restart of Redis is sat out."""
_FAULTS = (RedisError, OSError)


class JobWorker:
    """Works with the pipelines of `config` on `pool`, which is started. `work` is called from many threads."""

    def __init__(self, config: Config, pool: Pool, celery: Celery) -> None:
        self._config, self._pool, self._celery = config, pool, celery
        retry = Retry(ExponentialBackoff(cap=1.0, base=0.05), _RETRIES)
        self._redis = Redis.from_url(config.jobs.url, retry=retry, socket_timeout=5.0)
        self._token = secrets.token_hex(8)
        self._visible_ms = round(config.jobs.visibility_s * 1e3)
        self._places: set[ItemKey] = set()
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="faceattr-leases", daemon=True)

    def start(self) -> None:
        self._keeper.start()

    def close(self) -> None:
        self._closed.set()
        self._keeper.join()
        self._redis.close()

    def work(self, identity: str, number: int) -> None:
        """One picture, unless it needs no work or has somebody at it. Raises RedisError when Redis stays away; then
        somebody will do it later.
        """
        place = ItemKey(identity, number)
        found = self._step(job_steps.claim(place, self._token, self._visible_ms, job_store.now()))
        if not found:
            return
        self._places.add(place)
        try:
            meta = Meta.model_validate_json(found[0])
            outcome = self._outcome(meta, found[1], tries=found[2])
            how = FAILED if meta.of == 1 and isinstance(outcome, FaceattrError) else DONE
            told = json.dumps(picture_body(outcome, meta.request))
            self._step(job_steps.finish(place, meta, told, how, job_store.now()))
            log.info("picture %s of request %s: %s", place.member, meta.request, how)
        finally:
            self._places.discard(place)

    def _outcome(self, meta: Meta, picture: bytes, tries: int) -> Outcome:
        name = meta.pipeline
        if name not in self._config.pipelines or not picture or tries > _MOST_TRIES:
            log.error("a picture of request %s was given up after %d tries", meta.request, tries - 1)
            return InternalError()
        options = self._config.pipelines[name].declaration.options.model_validate_json(meta.options)
        with tempfile.NamedTemporaryFile(dir=self._config.upload.dir, prefix="faceattr-job-") as file:
            file.write(picture)
            file.flush()
            return self._call(name, Task(Path(file.name), options, probed=True), tries)

    def _call(self, name: str, task: Task, tries: int) -> Outcome:
        """Run the task, again when its worker process crashes, up to `_MOST_TRIES` tries in all.

        Raises Unavailable when this process ends before a worker can be started.
        """
        while tries <= _MOST_TRIES:
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
        """Keeps the leases of what is worked on here, and has an eye on what nobody works on."""
        while not self._closed.wait(self._config.jobs.visibility_s / 3):
            try:
                for place in tuple(self._places):
                    self._redis.eval(*job_steps.renew(place, self._token, self._visible_ms).words)
                self._sweep()
            except _FAULTS as error:
                log.warning("Redis cannot be reached: %s", error)

    def _sweep(self) -> None:
        """Sends messages again that were lost on their way: nobody is at their picture, and they wait in no queue, or
        for very long. One worker at a time does that.
        """
        if not self._redis.set(job_store.SWEEPING, self._token, nx=True, px=self._visible_ms // 3):
            return
        now = job_store.now()
        latest = now if not self._redis.llen(job_store.QUEUE) else now - _LONG_OVERDUE_S
        members: Any = self._redis.zrangebyscore(job_store.DUE, "-inf", latest, start=0, num=1000)
        for place in (item_key(member.decode()) for member in members):
            self._redis.zadd(job_store.DUE, {place.member: now + self._config.jobs.visibility_s}, xx=True)
            if not self._redis.exists(place.lease):
                log.info("picture %s is announced again", place.member)
                self._celery.send_task(job_store.MESSAGE, (place.job, place.number), retry=False)

    def _step(self, step: job_steps.Script) -> Any:
        return self._redis.eval(*step.words)
