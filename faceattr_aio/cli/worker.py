"""`faceattr-aio worker`: processes the jobs that servers queue in Redis. Any number of machines can run one."""

import argparse
import logging
from functools import partial

from faceattr_aio.cli.logs import set_up_log
from faceattr_aio.cli.settings import limit_decoder, load
from faceattr_aio.config import load_extra
from faceattr_aio.errors import StartError
from faceattr_aio.inference.loader import starter
from faceattr_aio.inference.pool import Pool

log = logging.getLogger(__name__)


def run(parsed: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT, then finish the tasks in progress. Raises StartError."""
    config = load(parsed)
    if config.jobs.backend != "celery":
        raise StartError("No jobs are queued: set jobs.backend to 'celery' for this worker and for the servers.")
    set_up_log(config.logging)
    limit_decoder(config.image.max_pixels)
    pool = Pool(starter(config), config.inference.worker_count)
    job_worker = load_extra("faceattr_aio.jobs.celery_worker", "celery").JobWorker
    pool.start()
    try:
        job_worker(config, pool).run(partial(print, "faceattr-aio: processing jobs", flush=True))
    finally:
        pool.close()
    return 0
