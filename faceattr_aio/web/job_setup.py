"""Jobs put into an app: kept where the settings say, told of in its metrics, begun and ended with it."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from functools import partial

from aiohttp import web

from faceattr_aio.config import load_extra
from faceattr_aio.config.schema import Config
from faceattr_aio.jobs.capacity import JobCapacity
from faceattr_aio.jobs.memory import MemoryJobs
from faceattr_aio.jobs.model import ENDS, Jobs, Tell
from faceattr_aio.jobs.webhooks import Webhooks
from faceattr_aio.pipeline import JSON
from faceattr_aio.telemetry.metrics import Metrics
from faceattr_aio.web.handlers import Endpoint
from faceattr_aio.web.job_handlers import JobEndpoint
from faceattr_aio.web.jobs import JobRoutes

JOBS: web.AppKey[JobRoutes] = web.AppKey("faceattr_aio.jobs", JobRoutes)


def make_jobs(config: Config, endpoints: Iterable[Endpoint], share: float) -> JobRoutes | None:
    """For those endpoints that answer with JSON; one client may have that share of the jobs. None when there are to be
    none. Raises StartError when a library for them is missing.
    """
    able = [one for one in endpoints if JSON in one.declaration.media_types]
    if config.jobs.backend == "none" or not able:
        return None
    callbacks = Webhooks(config.jobs.callbacks)
    room = JobCapacity(config.jobs.waiting, config.upload.max_spool_bytes // 2, share)  # the rest is for requests
    jobs = _open(config, able[0], room, callbacks.tell)
    uploads = able[0].uploads.for_batches(config.jobs.max_batch)
    later = {
        one.name: JobEndpoint(
            one.name,
            replace(one.declaration, media_types=(JSON,)),
            one.executor,
            uploads,
            one.clients,
            one.fairness,
            one.results,
            jobs=jobs,
            callbacks=callbacks,
        )
        for one in able
    }
    return JobRoutes(jobs, callbacks, later)


def _open(config: Config, endpoint: Endpoint, room: JobCapacity, tell: Tell) -> Jobs:
    if config.jobs.backend == "memory":
        return MemoryJobs(config.jobs, endpoint.executor, endpoint.results, room, tell)
    jobs: Jobs = load_extra("faceattr_aio.jobs.celery_jobs", "celery").CeleryJobs(config.jobs, room, tell)
    return jobs


def add_jobs(app: web.Application, routes: JobRoutes, metrics: Metrics) -> None:
    """Adds the routes, and begins and ends the work with the app."""
    app[JOBS] = routes
    routes.add_routes(app.router)
    app.cleanup_ctx.append(partial(_running, routes))
    app.on_shutdown.append(_end)
    jobs = routes.jobs
    gauges = {
        "waiting": ("Jobs that were not begun yet.", lambda: jobs.waiting),
        "running": ("Jobs that are being worked on.", lambda: jobs.running),
        "limit": ("Jobs there may be that are not over.", lambda: jobs.room.limiter.limit),
    }
    for name, (text, read) in gauges.items():
        metrics.watch(f"faceattr_jobs_{name}", text, read, "livemax")  # several processes have the same jobs
    metrics.watch_totals("faceattr_jobs_ended", "Jobs that are over.", "outcome", ENDS, lambda: jobs.ended)


async def _running(routes: JobRoutes, _: web.Application) -> AsyncIterator[None]:
    await routes.jobs.start()
    yield
    await routes.jobs.close()
    await routes.callbacks.close()


async def _end(app: web.Application) -> None:
    """While there are connections still: who waits for a job is told."""
    await app[JOBS].jobs.stop()
