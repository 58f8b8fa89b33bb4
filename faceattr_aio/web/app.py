"""The aiohttp app: `setup` adds an executor to an app, `make_app` builds the whole service.

Nothing starts before the app does. Each app has its own executor.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry

from faceattr_aio.cache.memory import open_cache
from faceattr_aio.cache.results import Results
from faceattr_aio.config.schema import Config
from faceattr_aio.inference.executor import Executor
from faceattr_aio.jobs.model import ENDS
from faceattr_aio.telemetry.metrics import Metrics
from faceattr_aio.telemetry.setup import METRICS, observe
from faceattr_aio.uploads.receive import Uploads
from faceattr_aio.web import components
from faceattr_aio.web.body import Lingering
from faceattr_aio.web.handlers import Dispatch, Endpoint, choose
from faceattr_aio.web.jobs import JobRoutes
from faceattr_aio.web.operations import Admin
from faceattr_aio.web.pages import add_pages
from faceattr_aio.web.responses import LINGERING, problem_middleware
from faceattr_aio.web.stream import OpenStreams

if TYPE_CHECKING:
    from faceattr_aio.admission.redis_state import RedisState  # needs the extra `redis`

EXECUTOR: web.AppKey[Executor] = web.AppKey("faceattr_aio.executor", Executor)
ENDPOINTS: web.AppKey[list[Endpoint]] = web.AppKey("faceattr_aio.endpoints", list)
SHARED: web.AppKey["RedisState | None"] = web.AppKey("faceattr_aio.shared")
UPLOADS: web.AppKey[Uploads] = web.AppKey("faceattr_aio.uploads", Uploads)
STREAMS: web.AppKey[OpenStreams] = web.AppKey("faceattr_aio.streams", OpenStreams)
JOBS: web.AppKey[JobRoutes] = web.AppKey("faceattr_aio.jobs", JobRoutes)
ADMIN: web.AppKey[Admin] = web.AppKey("faceattr_aio.admin", Admin)

_LINGERING, _LINGERING_BODIES = 64, 4
"""The limit of refused bodies that are discarded at a time; the limit of bytes of each, as a multiple of
`upload.max_bytes`.
"""


def setup(app: web.Application, config: Config | None = None) -> Executor:
    """Add an executor to the app, for handlers of your own. It starts and stops with the app.

    Raises RuntimeError when the app has one already.
    """
    if EXECUTOR in app:
        raise RuntimeError("faceattr_aio.setup(app) was called on this app already.")
    app[EXECUTOR] = executor = Executor(config or Config())
    app.cleanup_ctx.append(partial(_run, executor))
    return executor


def get_executor(request: web.Request) -> Executor:
    """Return the executor of the request's app, or of an app that it is mounted in. Raises RuntimeError."""
    executor = request.config_dict.get(EXECUTOR)
    if executor is None:
        raise RuntimeError("There is no executor: call faceattr_aio.setup(app) first, before the app starts.")
    return executor


def make_app(config: Config | None = None, registry: CollectorRegistry | None = None) -> web.Application:
    """Return the whole service as an app, to run or to mount: `app.add_subapp("/vision", make_app())`.

    Args:
        config: the settings; defaults without.
        registry: where the metrics are registered; without, the app has a registry of its own.

    Raises:
        StartError: the settings cannot be used, for example because the file of API keys cannot be read.
        ValueError: the registry has these metrics already.

    """
    config = config or Config()
    app = web.Application(middlewares=[problem_middleware])
    app.cleanup_ctx.append(_run_spool)  # ends after the executor: its last work reads spool files
    executor = setup(app, config)
    app[UPLOADS] = uploads = components.make_uploads(config, executor)
    app[LINGERING] = Lingering(_LINGERING, config.upload.timeout_s, _LINGERING_BODIES * config.upload.max_bytes)
    app.on_shutdown.append(_stop)
    results = Results(open_cache(config.cache))
    app.cleanup_ctx.append(partial(_close, results.close))
    app[SHARED] = state = components.make_redis_state(config)
    app[ENDPOINTS] = components.make_endpoints(config, executor, uploads, results, state)
    app[ADMIN] = Admin(executor, uploads.spool, components.make_admin_authenticator(config))
    observe(app, config, executor, uploads, results, registry)
    if state:
        app.cleanup_ctx.append(partial(_run, state))
        text = "Failed calls to Redis for shared rate limits and keys."
        app[METRICS].watch("faceattr_shared_failures", text, lambda: state.failures)
    _add_pipelines(app, config)
    app[ADMIN].add_routes(app.router)
    add_pages(app.router, config)
    return app


def retire(app: web.Application) -> None:
    """Report on /readyz that the server should get no more requests; those that come are still served."""
    app[EXECUTOR].retiring = True


def drain(app: web.Application) -> None:
    """Refuse new requests with 503 and report it on /readyz. Requests that were admitted are still served."""
    retire(app)
    app[EXECUTOR].limiter.drain()
    app[STREAMS].stop()
    if JOBS in app:
        app[JOBS].jobs.capacity.limiter.drain()


def is_idle(app: web.Application) -> bool:
    """Return whether no request is being handled, and no job would be lost at the end of the process."""
    idle = not any(one.active for one in all_endpoints(app))
    return idle and (JOBS not in app or (app[JOBS].jobs.is_idle and app[JOBS].webhooks.is_idle))


def all_endpoints(app: web.Application) -> list[Endpoint]:
    """Return all endpoints that receive pictures: synchronous, streamed and those of jobs."""
    jobs = app[JOBS].endpoints.values() if JOBS in app else ()
    return [*app[ENDPOINTS], *app[STREAMS].endpoints.values(), *jobs]


def _add_pipelines(app: web.Application, config: Config) -> None:
    """Add the route of each pipeline, and those of jobs."""
    endpoints = app[ENDPOINTS]
    if jobs := components.make_jobs(config, endpoints):
        _add_jobs(app, jobs, app[METRICS])
    app[STREAMS] = components.make_streams(config, endpoints, app[METRICS].add_work)
    for endpoint in endpoints:
        job = jobs.endpoints.get(endpoint.name) if jobs else None
        dispatch = Dispatch(partial(choose, endpoint, app[STREAMS].endpoints[endpoint.name], job))
        path = config.pipelines[endpoint.name].path
        app.router.add_post(path, dispatch.handle, expect_handler=dispatch.expect)


def _add_jobs(app: web.Application, routes: JobRoutes, metrics: Metrics) -> None:
    """Add the routes and metrics of jobs; start and stop the jobs with the app."""
    app[JOBS], jobs, limiter = routes, routes.jobs, routes.jobs.capacity.limiter
    routes.add_routes(app.router)
    app.cleanup_ctx.append(partial(_close, routes.webhooks.close))
    app.cleanup_ctx.append(partial(_run, jobs))  # ends before the webhooks
    # the largest value, because several processes share the same jobs
    metrics.watch("faceattr_jobs_waiting", "Jobs of which no picture was started.", lambda: jobs.waiting, "livemax")
    metrics.watch("faceattr_jobs_running", "Jobs in progress.", lambda: jobs.running, "livemax")
    metrics.watch("faceattr_jobs_limit", "Largest number of unfinished jobs.", lambda: limiter.limit, "livemax")
    metrics.watch_totals("faceattr_jobs_ended", "Jobs that have ended.", "outcome", ENDS, lambda: jobs.ended)


async def _stop(app: web.Application) -> None:
    """End all uploads: aiohttp has stopped reading, so their bodies would never end. Stop the jobs while connections
    are still open, so that clients that wait for one get an answer.
    """
    app[STREAMS].stop()
    for endpoint in all_endpoints(app):
        endpoint.uploads.abort()
    app[LINGERING].stop()
    if JOBS in app:
        await app[JOBS].jobs.stop()


class _Service(Protocol):
    async def start(self) -> None: ...
    async def close(self) -> None: ...


async def _run(service: _Service, _: web.Application) -> AsyncIterator[None]:
    try:
        await service.start()
        yield
    finally:
        await service.close()


async def _close(close: Callable[[], Awaitable[None]], _: web.Application) -> AsyncIterator[None]:
    yield
    await close()


async def _run_spool(app: web.Application) -> AsyncIterator[None]:
    app[UPLOADS].spool.start()
    yield
    app[UPLOADS].spool.close()
