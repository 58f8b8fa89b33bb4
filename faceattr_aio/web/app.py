"""The parts put together as an aiohttp app, or inside one: `setup` for the machinery alone, `make_app` for the whole
service. Nothing happens before the app starts; two apps have two executors. Knows no pipeline by name.
"""

import math
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry

from faceattr_aio.cache.memory import open_cache
from faceattr_aio.cache.results import Results
from faceattr_aio.config.schema import Config
from faceattr_aio.inference.executor import Executor
from faceattr_aio.telemetry.setup import METRICS, observe
from faceattr_aio.uploads.receive import Uploads
from faceattr_aio.web.admin import Admin
from faceattr_aio.web.body import Lingering
from faceattr_aio.web.handlers import Endpoint
from faceattr_aio.web.health import Health
from faceattr_aio.web.job_setup import JOBS, add_jobs, make_jobs
from faceattr_aio.web.pages import add_pages
from faceattr_aio.web.parts import (
    admins_of,
    client_limits_of,
    client_share,
    clients_of,
    redis_state_of,
    stream_config_of,
    streams_of,
    uploads_of,
)
from faceattr_aio.web.responses import LINGERING, problems
from faceattr_aio.web.streaming import Front, Streams

if TYPE_CHECKING:
    from faceattr_aio.admission.redis_state import RedisState  # with the extra `redis` alone

EXECUTOR: web.AppKey[Executor] = web.AppKey("faceattr_aio.executor", Executor)
ENDPOINTS: web.AppKey[list[Endpoint]] = web.AppKey("faceattr_aio.endpoints", list)
_LINGERING, _LINGERING_BODIES = 64, 4
"""Refused connections that are waited for at a time, and how many of the largest allowed bodies each may still send."""
SHARED: web.AppKey["RedisState | None"] = web.AppKey("faceattr_aio.shared")
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
    app[UPLOADS] = uploads = uploads_of(config, executor)
    app[LINGERING] = Lingering(_LINGERING, config.upload.timeout_s, _LINGERING_BODIES * config.upload.max_bytes)
    app.on_shutdown.append(_stop_reading)
    results = Results(open_cache(config.cache))
    app.cleanup_ctx.append(partial(_caching, results))
    app[SHARED] = redis_state_of(config)
    app[ENDPOINTS] = _endpoints(app, config, results)
    app[ADMIN] = Admin(executor, admins_of(config))
    observe(app, config, executor, uploads, results, registry)
    _share(app)
    _open_doors(app, config)
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


def _endpoints(app: web.Application, config: Config, results: Results) -> list[Endpoint]:
    executor, uploads, shared = app[EXECUTOR], app[UPLOADS], app[SHARED]
    clients = clients_of(config, shared)
    fairness = client_limits_of(config, executor.limiter, uploads.limiter, shared)
    control, deadline_s = config.cache.control, config.inference.deadline_s or math.inf
    return [
        Endpoint(name, one.declaration, executor, uploads, clients, fairness, results, control, deadline_s)
        for name, one in config.pipelines.items()
    ]


def _share(app: web.Application) -> None:
    if shared := app[SHARED]:
        app.cleanup_ctx.append(partial(_sharing, shared))
        told = "Times that Redis could not be asked for what is shared."
        app[METRICS].watch("faceattr_shared_failures", told, lambda: shared.failures)


def _open_doors(app: web.Application, config: Config) -> None:
    """To each pipeline: for streams, for jobs, and for all others."""
    endpoints = app[ENDPOINTS]
    jobs = make_jobs(config, endpoints, client_share(config))
    if jobs:
        add_jobs(app, jobs, app[METRICS])
    app[STREAMS] = streams_of(config, app[UPLOADS].limiter)
    terms = stream_config_of(config, app[EXECUTOR], app[METRICS].tell_work)
    for endpoint in endpoints:
        door = jobs.door(endpoint) if jobs else endpoint
        front = Front(endpoint, door, app[STREAMS], terms[endpoint.name])
        path = config.pipelines[endpoint.name].path
        app.router.add_post(path, front.handle, expect_handler=front.expect)


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


async def _sharing(shared: "RedisState", _: web.Application) -> AsyncIterator[None]:
    await shared.start()
    yield
    await shared.close()


async def _spooling(app: web.Application) -> AsyncIterator[None]:
    spool = app[UPLOADS].spool
    spool.start()
    yield
    spool.close()
