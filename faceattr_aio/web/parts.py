"""What an app is made of, each part as the settings say. Knows not how they are put together."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from faceattr_aio.admission.clients import ClientConcurrency, ClientLimits, RateLimiter
from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.admission.wait_queue import WaitQueue
from faceattr_aio.config import extras
from faceattr_aio.config.schema import Config
from faceattr_aio.inference.executor import Executor
from faceattr_aio.telemetry.record import RequestRecord
from faceattr_aio.uploads.receive import Limits, Uploads
from faceattr_aio.uploads.spool import Spool
from faceattr_aio.web.auth import ApiKeys, Authenticator
from faceattr_aio.web.stream import StreamConfig
from faceattr_aio.web.streaming import Streams

if TYPE_CHECKING:
    from faceattr_aio.admission.redis_state import RedisState  # with the extra `redis` alone


def uploads_of(config: Config, executor: Executor) -> Uploads:
    """Not started: its spool has to be."""
    upload = config.upload
    limits = Limits(
        upload.max_bytes,
        upload.max_part_bytes or upload.max_bytes,
        upload.max_parts,
        upload.max_batch,
        upload.max_header_bytes,
        upload.timeout_s,
        upload.min_rate,
    )
    spool = Spool(upload.dir, upload.max_spool_bytes, executor.io)
    limiter = Limiter(upload.max_in_progress, upload.max_in_progress, "uploads")
    return Uploads(limits, spool, limiter, executor.probe, hashed=config.cache.backend != "none")


def streams_of(config: Config, uploads: Limiter) -> Streams:
    """Each is one of the `uploads` in progress too."""
    return Streams(Limiter(config.upload.max_streams, config.upload.max_streams, "streams"), uploads)


def stream_config_of(
    config: Config, executor: Executor, tell: Callable[[RequestRecord], None]
) -> dict[str, StreamConfig]:
    """Of streams, by pipeline; those that share a line take turns in it. `tell` is told of each picture."""
    window, limiters = config.upload.stream_window, {name: executor.limiter_of(name) for name in config.pipelines}
    turns = {limiter: WaitQueue(limiter) for limiter in set(limiters.values())}

    def terms(limiter: Limiter) -> StreamConfig:
        return StreamConfig(turns[limiter], lambda: window or 2 * limiter.workers, tell)

    return {name: terms(limiter) for name, limiter in limiters.items()}


def redis_state_of(config: Config) -> "RedisState | None":
    """None when nothing is shared. Raises StartError when the library for it is missing."""
    if config.shared.url is None:
        return None
    opened: RedisState = extras.load("faceattr_aio.admission.redis_state", "redis").RedisState(
        config.shared, with_keys=config.auth.shared_keys
    )
    return opened


def clients_of(config: Config, shared: "RedisState | None") -> Authenticator:
    """Raises StartError when the file of API keys cannot be used."""
    elsewhere = shared.keys if shared else None
    return Authenticator(ApiKeys(config.auth.keys, config.auth.keys_file, elsewhere), config.clients.trusted_proxies)


def admins_of(config: Config) -> Authenticator | None:
    """Those who run the server, when there are keys for them. Raises StartError when their file cannot be used."""
    keys = ApiKeys(config.auth.admin_keys, config.auth.admin_keys_file)
    return Authenticator(keys) if keys.required else None


def client_share(config: Config) -> float:
    """Half of the slots for one client, when there is to be fairness at all."""
    return 0.5 if config.clients.fair else math.inf


def client_limits_of(config: Config, requests: Limiter, uploads: Limiter, shared: "RedisState | None") -> ClientLimits:
    share, per_minute = client_share(config), config.clients.requests_per_minute
    return ClientLimits(
        ClientConcurrency(requests, share, "requests are being worked on"),
        ClientConcurrency(uploads, share, "uploads are under way"),
        RateLimiter(per_minute) if per_minute else None,
        shared.rate if shared else None,
    )
