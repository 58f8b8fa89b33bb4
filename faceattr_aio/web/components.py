"""Factory functions for the parts of an app; `web/app.py` assembles them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from faceattr_aio.admission.clients import ClientConcurrency, ClientLimits, RateLimiter
from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.admission.wait_queue import WaitQueue
from faceattr_aio.cache.results import Results
from faceattr_aio.config import Config, load_extra
from faceattr_aio.inference.executor import Executor
from faceattr_aio.jobs.capacity import JobCapacity
from faceattr_aio.jobs.memory import MemoryJobs
from faceattr_aio.jobs.model import Jobs
from faceattr_aio.jobs.webhooks import Webhooks
from faceattr_aio.pipeline import JSON
from faceattr_aio.telemetry.record import RequestRecord
from faceattr_aio.uploads.receive import Uploads
from faceattr_aio.uploads.spool import Spool
from faceattr_aio.web.auth import ApiKeys, Authenticator
from faceattr_aio.web.handlers import Endpoint
from faceattr_aio.web.jobs import JobEndpoint, JobRoutes
from faceattr_aio.web.stream import OpenStreams, StreamEndpoint

if TYPE_CHECKING:
    from faceattr_aio.admission.redis_state import RedisState  # needs the extra `redis`

_FAIR_SHARE = 0.5
"""Share of the slots, uploads and jobs for one client when `clients.fair` is set."""
_JOBS_SPOOL_SHARE = 0.5
"""Share of the spool for the pictures of jobs; the rest is for requests."""


def make_uploads(config: Config, executor: Executor) -> Uploads:
    """Return the uploads; their spool is started by the app."""
    upload = config.upload
    spool = Spool(upload.dir, upload.max_spool_bytes, executor.io)
    limiter = Limiter(upload.max_in_progress, upload.max_in_progress, "uploads")
    return Uploads(upload, spool, limiter, executor.probe, hashed=config.cache.backend != "none")


def make_redis_state(config: Config) -> "RedisState | None":
    """Return the state shared through Redis, or None. Raises StartError when the library is missing."""
    if config.shared.url is None:
        return None
    redis_state = load_extra("faceattr_aio.admission.redis_state", "redis")
    state: RedisState = redis_state.RedisState(config.shared, with_keys=config.auth.shared_keys)
    return state


def make_authenticator(config: Config, state: "RedisState | None") -> Authenticator:
    """Raises StartError when the file of API keys cannot be used."""
    keys = ApiKeys(config.auth.keys, config.auth.keys_file, state if config.auth.shared_keys else None)
    return Authenticator(keys, config.clients.trusted_proxies)


def make_admin_authenticator(config: Config) -> Authenticator | None:
    """Return None when there are no administrator keys. Raises StartError when their file cannot be used."""
    keys = ApiKeys(config.auth.admin_keys, config.auth.admin_keys_file)
    return Authenticator(keys) if keys.required else None


def client_share(config: Config) -> float:
    """Return the share of the slots that one client may hold; infinite without `clients.fair`."""
    return _FAIR_SHARE if config.clients.fair else math.inf


def make_endpoints(
    config: Config, executor: Executor, uploads: Uploads, results: Results, state: "RedisState | None"
) -> list[Endpoint]:
    """Return the endpoint of each pipeline; all have the same limits for a client."""
    auth = make_authenticator(config, state)
    share, per_minute = client_share(config), config.clients.requests_per_minute
    limits = ClientLimits(
        ClientConcurrency(executor.limiter, share, "requests are in progress"),
        ClientConcurrency(uploads.limiter, share, "uploads are in progress"),
        RateLimiter(per_minute) if per_minute else None,
        state.count if state else None,
    )
    control, deadline_s = config.cache.control, config.inference.deadline_s or math.inf
    return [
        Endpoint(name, entry.declaration, executor, uploads, auth, limits, results, control, deadline_s)
        for name, entry in config.pipelines.items()
    ]


def make_streams(
    config: Config, endpoints: Sequence[Endpoint], on_picture: Callable[[RequestRecord], None]
) -> OpenStreams:
    """Return the streams of all endpoints. Pipelines that share a limiter share one wait queue."""
    uploads = endpoints[0].uploads.limiter
    streams = OpenStreams(Limiter(config.upload.max_streams, config.upload.max_streams, "streams"), uploads)
    queues = {limiter: WaitQueue(limiter) for limiter in {one.executor.limiter_of(one.name) for one in endpoints}}
    for one in endpoints:
        queue, window = queues[one.executor.limiter_of(one.name)], config.upload.stream_window
        streams.endpoints[one.name] = StreamEndpoint(
            **vars(one), streams=streams, queue=queue, window=window, on_picture=on_picture
        )
    return streams


def make_jobs(config: Config, endpoints: Sequence[Endpoint]) -> JobRoutes | None:
    """Return the jobs for the endpoints that answer with JSON, or None when there are none.

    Raises StartError when a library is missing.
    """
    able = [one for one in endpoints if JSON in one.declaration.media_types]
    if config.jobs.backend == "none" or not able:
        return None
    webhooks = Webhooks(config.jobs.callbacks)
    max_bytes = int(config.upload.max_spool_bytes * _JOBS_SPOOL_SHARE)
    capacity = JobCapacity(config.jobs.waiting, max_bytes, client_share(config))
    jobs = _open_jobs(config, able[0], capacity, webhooks)
    uploads = able[0].uploads.for_batches(config.jobs.max_batch)
    return JobRoutes(jobs, webhooks, {one.name: _job_endpoint(one, uploads, jobs, webhooks) for one in able})


def _open_jobs(config: Config, endpoint: Endpoint, capacity: JobCapacity, webhooks: Webhooks) -> Jobs:
    if config.jobs.backend == "memory":
        return MemoryJobs(config.jobs, endpoint.executor, endpoint.results, capacity, webhooks.notify)
    celery = load_extra("faceattr_aio.jobs.celery_jobs", "celery")
    jobs: Jobs = celery.CeleryJobs(config.jobs, capacity, webhooks.notify)
    return jobs


def _job_endpoint(endpoint: Endpoint, uploads: Uploads, jobs: Jobs, webhooks: Webhooks) -> JobEndpoint:
    declaration = replace(endpoint.declaration, media_types=(JSON,))
    changed = replace(endpoint, uploads=uploads, declaration=declaration, cache_control="no-store", deadline_s=math.inf)
    return JobEndpoint(**vars(changed), jobs=jobs, webhooks=webhooks)
