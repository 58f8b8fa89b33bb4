"""The parts put together as an aiohttp app, or inside one: `setup` for the machinery alone, `make_app` for the whole
service. Nothing happens before the app starts; two apps have two executors. Knows no pipeline by name.
"""

import math
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry

from faceattr_aio import extras
from faceattr_aio.admin import Admin
from faceattr_aio.body import Lingering
from faceattr_aio.cache import open_cache
from faceattr_aio.clients import Clients
from faceattr_aio.config import Config
from faceattr_aio.executor import Executor
from faceattr_aio.fairness import Fairness, Rate, Share
from faceattr_aio.handlers import Endpoint
from faceattr_aio.health import Health
from faceattr_aio.job_setup import JOBS, add_jobs, make_jobs
from faceattr_aio.keys import Keys
from faceattr_aio.limiter import Limiter
from faceattr_aio.page import add_pages
from faceattr_aio.problems import LINGERING, problems
from faceattr_aio.results import Results
from faceattr_aio.spool import Spool
from faceattr_aio.stream import Terms
from faceattr_aio.streaming import Front, Streams
from faceattr_aio.telemetry import METRICS, observe
from faceattr_aio.turns import Turns
from faceattr_aio.upload import Limits, Uploads

if TYPE_CHECKING:
    from faceattr_aio.shared import Shared  # with the extra `redis` alone

EXECUTOR: web.AppKey[Executor] = web.AppKey("faceattr_aio.executor", Executor)
ENDPOINTS: web.AppKey[list[Endpoint]] = web.AppKey("faceattr_aio.endpoints", list)
_LINGERING, _LINGERING_BODIES = 64, 4
"""Refused connections that are waited for at a time, and how many of the largest allowed bodies each may still send."""
SHARED: web.AppKey["Shared | None"] = web.AppKey("faceattr_aio.shared")
UPLOADS: web.AppKey[Uploads] = web.AppKey("faceattr_aio.uploads", Uploads)
STREAMS: web.AppKey[Streams] = web.AppKey("faceattr_aio.streams", Streams)
ADMIN: web.AppKey[Admin] = web.AppKey("faceattr_aio.admin", Admin)


def setup(app: web.Application, config: Config | None = None) -> Executor:
    """Adds an executor to the app, which starts and ends with it; for handlers of your own.

    Raises RuntimeError when the app has one already.
    """
    if EXECUTOR in app:
        raise RuntimeError("faceattr_aio.setup(app) was called on this app already.")
    app[EXECUTOR] = executor = Executor(config or Config())
    app.cleanup_ctx.append(partial(_running, executor))
    return executor


def get_executor(request: web.Request) -> Executor:
    """The executor of the request's app, or of an app that it is mounted in."""
    executor = request.config_dict.get(EXECUTOR)
    if executor is None:
        raise RuntimeError("There is no executor: call faceattr_aio.setup(app) first, before the app starts.")
    return executor


def make_app(config: Config | None = None, registry: CollectorRegistry | None = None) -> web.Application:
    """The whole service as an app, to run or to mount: `app.add_subapp("/vision", make_app())`. Its metrics go to
    `registry`, or else to one of its own; both are shown at /metrics.

    Raises StartError when the file of API keys cannot be used, ValueError when the registry has such metrics already.
    """
    config = config or Config()
    app = web.Application(middlewares=[problems])
    app.cleanup_ctx.append(_spooling)  # ends after the executor, whose work may still need its file
    executor = setup(app, config)
    app[UPLOADS] = uploads = _uploads(config, executor)
    app[LINGERING] = Lingering(_LINGERING, config.upload.timeout_s, _LINGERING_BODIES * config.upload.max_bytes)
    app.on_shutdown.append(_stop_reading)
    app[SHARED] = shared = _shared(config)
    clients = clients_of(config, shared)
    fairness = _fairness(config, executor.limiter, uploads.limiter, shared)
    results = Results(open_cache(config.cache))
    app.cleanup_ctx.append(partial(_caching, results))
    deadline_s = config.inference.deadline_s or math.inf
    app[ENDPOINTS] = endpoints = [
        Endpoint(name, one.declaration, executor, uploads, clients, fairness, results, config.cache.control, deadline_s)
        for name, one in config.pipelines.items()
    ]
    jobs = make_jobs(config, endpoints, share_of(config))
    app[ADMIN] = Admin(executor, admins_of(config))
    observe(app, config, executor, uploads, results, registry)
    if shared:
        app.cleanup_ctx.append(partial(_sharing, shared))
        told = "Times that Redis could not be asked for what is shared."
        app[METRICS].watch("faceattr_shared_failures", told, lambda: shared.failures)
    if jobs:
        add_jobs(app, jobs, app[METRICS])
    app[STREAMS] = Streams(Limiter(config.upload.max_streams, config.upload.max_streams, "streams"), uploads.limiter)
    terms = _terms(app, config)
    for endpoint in endpoints:
        door = jobs.door(endpoint) if jobs else endpoint
        front = Front(endpoint, door, app[STREAMS], terms[endpoint.name])
        path = config.pipelines[endpoint.name].path
        app.router.add_post(path, front.handle, expect_handler=front.expect)
    for routes in (app[ADMIN], Health(executor, uploads.spool)):
        routes.add_routes(app.router)
    add_pages(app.router, config)
    return app


def retire(app: web.Application) -> None:
    """Says on /readyz that no more work is wanted, and still takes what comes until balancers have seen it."""
    app[EXECUTOR].retiring = True


def drain(app: web.Application) -> None:
    """From now on refuses new requests with 503 and says so on /readyz; who was let in before is still served."""
    retire(app)
    app[EXECUTOR].limiter.drain()
    app[STREAMS].stop()
    if JOBS in app:
        app[JOBS].jobs.room.limiter.drain()


def is_idle(app: web.Application) -> bool:
    """Whether nobody waits for an answer, and no job that would be lost."""
    return not any(endpoint.active for endpoint in app[ENDPOINTS]) and (JOBS not in app or app[JOBS].is_idle)


def all_endpoints(app: web.Application) -> list[Endpoint]:
    """All that take pictures: those that answer, and those whose answers are fetched later."""
    return [*app[ENDPOINTS], *(app[JOBS].endpoints.values() if JOBS in app else ())]


def share_of(config: Config) -> float:
    """Half of the slots for one client, when there is to be fairness at all."""
    return 0.5 if config.clients.fair else math.inf


def clients_of(config: Config, shared: "Shared | None") -> Clients:
    """Raises StartError when the file of API keys cannot be used."""
    elsewhere = shared.keys if shared else None
    return Clients(Keys(config.auth.keys, config.auth.keys_file, elsewhere), config.clients.trusted_proxies)


def admins_of(config: Config) -> Clients | None:
    """Those who run the server, when there are keys for them. Raises StartError when their file cannot be used."""
    keys = Keys(config.auth.admin_keys, config.auth.admin_keys_file)
    return Clients(keys) if keys.required else None


async def _running(executor: Executor, _: web.Application) -> AsyncIterator[None]:
    try:
        await executor.start()
        yield
    finally:
        await executor.close()


async def _stop_reading(app: web.Application) -> None:
    """Aiohttp has stopped reading by now: who waits for a body would only wait for the end of the app."""
    app[STREAMS].stop()
    for endpoint in all_endpoints(app):
        endpoint.uploads.abort()
    app[LINGERING].stop()


async def _caching(results: Results, _: web.Application) -> AsyncIterator[None]:
    yield
    await results.close()


async def _sharing(shared: "Shared", _: web.Application) -> AsyncIterator[None]:
    await shared.start()
    yield
    await shared.close()


async def _spooling(app: web.Application) -> AsyncIterator[None]:
    spool = app[UPLOADS].spool
    spool.start()
    yield
    spool.close()


def _shared(config: Config) -> "Shared | None":
    """None when nothing is shared. Raises StartError when the library for it is missing."""
    if config.shared.url is None:
        return None
    opened: Shared = extras.load("faceattr_aio.shared", "redis").Shared(
        config.shared, with_keys=config.auth.shared_keys
    )
    return opened


def _uploads(config: Config, executor: Executor) -> Uploads:
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


def _terms(app: web.Application, config: Config) -> dict[str, Terms]:
    """By pipeline; those that share a line take turns in it."""
    executor, window = app[EXECUTOR], config.upload.stream_window
    limiters = {name: executor.limiter_of(name) for name in config.pipelines}
    turns = {limiter: Turns(limiter) for limiter in set(limiters.values())}

    def terms(limiter: Limiter) -> Terms:
        return Terms(turns[limiter], lambda: window or 2 * limiter.workers, app[METRICS].tell_work)

    return {name: terms(limiter) for name, limiter in limiters.items()}


def _fairness(config: Config, requests: Limiter, uploads: Limiter, shared: "Shared | None") -> Fairness:
    share, per_minute = share_of(config), config.clients.requests_per_minute
    return Fairness(
        Share(requests, share, "requests are being worked on"),
        Share(uploads, share, "uploads are under way"),
        Rate(per_minute) if per_minute else None,
        shared.rate if shared else None,
    )
