"""`faceattr-aio worker`: works on the jobs that servers leave in Redis, on as many machines as there are workers."""

import argparse
import logging
from functools import partial

from faceattr_aio.cli import flags
from faceattr_aio.cli.logs import set_up_log
from faceattr_aio.cli.opencv_env import bound_pixels
from faceattr_aio.config import extras
from faceattr_aio.config.load import load_config
from faceattr_aio.errors import StartError
from faceattr_aio.inference.loader import starter
from faceattr_aio.inference.pool import Pool

log = logging.getLogger(__name__)


def run(parsed: argparse.Namespace) -> int:
    """Until SIGTERM or SIGINT; what is being worked on then is ended first. Raises StartError."""
    config, _ = load_config(flags(parsed), parsed.config)
    config = config.with_auto_pool("process")
    if config.jobs.backend != "celery":
        raise StartError("There is nothing to work on: set jobs.backend to 'celery', here and for the servers.")
    set_up_log(config.logging)
    bound_pixels(config)
    pool = Pool(starter(config), config.inference.worker_count)
    make_worker = extras.load("faceattr_aio.jobs.celery_worker", "celery").make_worker
    pool.start()
    try:
        make_worker(config, pool, partial(print, "faceattr-aio: working on jobs", flush=True))()
    finally:
        pool.close()
    return 0
