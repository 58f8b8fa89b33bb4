"""A Celery worker of ours: threads that take messages and wait for worker processes."""

import logging
from collections.abc import Callable

from celery import Celery, signals

from faceattr_aio.config.schema import Config
from faceattr_aio.inference.pool import Pool
from faceattr_aio.jobs.celery_app import make_app
from faceattr_aio.jobs.job_worker import JobWorker
from faceattr_aio.jobs.redis_store import MESSAGE


def make_worker(config: Config, pool: Pool, announce: Callable[[], None]) -> Callable[[], None]:
    """What runs until SIGTERM or SIGINT, on a pool that is started; `announce` is called once it takes messages."""
    app = make_app(config.jobs)
    jobs = JobWorker(config, pool, app)
    app.task(name=MESSAGE, ignore_result=True)(jobs.work)

    def run() -> None:
        signals.setup_logging.connect(_leave_logs_alone, weak=False)
        signals.worker_ready.connect(lambda **_: announce(), weak=False)
        jobs.start()
        try:
            _consume(app, config)
        finally:
            jobs.close()

    return run


def _leave_logs_alone(**_: object) -> None:
    """That somebody listens is enough for Celery not to change them. What it says of each message we say better."""
    logging.getLogger("celery").setLevel(logging.WARNING)


def _consume(app: Celery, config: Config) -> None:
    worker = app.Worker(
        pool="threads",
        concurrency=config.inference.worker_count,
        without_gossip=True,
        without_heartbeat=True,
        without_mingle=True,
        quiet=True,
    )
    worker.start()
