"""The Celery application: how messages go between servers and workers by way of Redis. A message only says that there
is a picture to be worked on; the picture is elsewhere, and so is what came of it.
"""

from celery import Celery

from faceattr_aio.config.schema import JobsConfig
from faceattr_aio.jobs.redis_store import QUEUE

_REDELIVERED_S = 3600
"""By Celery itself. Long before, whoever is at a picture has renewed its lease, or another one is told of it."""
_TIMEOUT_S = 5.0


def make_app(settings: JobsConfig) -> Celery:
    """Nothing is connected yet."""
    app = Celery("faceattr_aio", broker=settings.url, set_as_current=False)
    app.conf.update(
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": _REDELIVERED_S,
            "socket_timeout": _TIMEOUT_S,
            "socket_connect_timeout": _TIMEOUT_S,
            "socket_keepalive": True,
        },
        task_acks_late=True,
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_reject_on_worker_lost=True,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
        worker_redirect_stdouts=False,
    )
    return app
