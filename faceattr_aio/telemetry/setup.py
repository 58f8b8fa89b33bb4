"""What an app tells of itself: /metrics to Prometheus, /stats to people, a line for each request to the log. Puts the
parts together and counts nothing itself.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib import metadata

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry

from faceattr_aio.cache.results import Results
from faceattr_aio.config import extras
from faceattr_aio.config.schema import Config
from faceattr_aio.inference.executor import Executor
from faceattr_aio.inference.pool import REASONS
from faceattr_aio.telemetry import access_log as access
from faceattr_aio.telemetry.lag import resident, watch
from faceattr_aio.telemetry.metrics import Metrics
from faceattr_aio.telemetry.record import Listener, RecordBuffer
from faceattr_aio.telemetry.stats import RollingStats
from faceattr_aio.uploads.receive import Uploads

METRICS: web.AppKey[Metrics] = web.AppKey("faceattr_aio.metrics", Metrics)
WINDOW: web.AppKey[RollingStats] = web.AppKey("faceattr_aio.window", RollingStats)


def observe(
    app: web.Application,
    config: Config,
    executor: Executor,
    uploads: Uploads,
    results: Results,
    registry: CollectorRegistry | None,
) -> None:
    """Adds all of it to an app that serves pipelines. Raises ValueError when the registry has such metrics already."""
    app[METRICS] = metrics = Metrics(_counted(executor), registry)
    _watch(metrics, executor, uploads)
    if (cache := results.cache) is not None:
        metrics.watch("faceattr_cache_failures", "Times that the cache could not be asked.", lambda: cache.failures)
    app[WINDOW] = window = RollingStats(config.stats)
    listeners: list[Listener] = [metrics.tell, window.tell]
    if config.logging.requests:
        listeners.append(access.tell)
    if config.logging.traces:
        listeners.append(extras.load("faceattr_aio.telemetry.tracing", "otel").Traces().tell)
    journal = RecordBuffer(listeners)
    metrics.before_sample(journal.tell)
    app.on_response_prepare.append(journal.end)
    app.cleanup_ctx.append(_sampling)
    _Reports(window, journal, executor).add_routes(app.router)
    if config.server.metrics_port is None:
        add_metrics(app, metrics)


def add_metrics(app: web.Application, metrics: Metrics) -> None:
    """Adds /metrics."""

    async def answer(request: web.Request) -> web.Response:
        text, content_type = metrics.expose(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=text, headers={hdrs.CONTENT_TYPE: content_type})

    app.router.add_get("/metrics", answer)


def make_metrics_app(app: web.Application) -> web.Application:
    """An app that has the other's /metrics and nothing else, for a port of its own."""
    alone = web.Application()
    add_metrics(alone, app[METRICS])
    return alone


class _Reports:
    """What people ask."""

    def __init__(self, window: RollingStats, journal: RecordBuffer, executor: Executor) -> None:
        self._window, self._journal, self._executor = window, journal, executor

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/stats", self.stats)
        router.add_get("/stats/{id}", self.story)

    async def stats(self, _: web.Request) -> web.Response:
        """The window, and what is in flight now."""
        self._journal.tell()
        limiter = self._executor.limiter
        now = {"in_flight": limiter.in_flight, "limit": limiter.limit, "workers": limiter.workers}
        return web.json_response(now | {"mean_service_s": round(limiter.service_s, 6)} | self._window.document())

    async def story(self, request: web.Request) -> web.Response:
        """One request, while it is in the window; 404 after."""
        self._journal.tell()
        story = self._window.find(request.match_info["id"])
        if story is None:
            raise web.HTTPNotFound
        return web.json_response(story.fields())


def _counted(executor: Executor) -> set[str]:
    return {name for declaration in executor.declarations.values() for name in declaration.counts}


def _watch(metrics: Metrics, executor: Executor, uploads: Uploads) -> None:
    limiter, pool, spool = executor.limiter, executor.pool, uploads.spool
    metrics.watch("faceattr_in_flight", "Requests in a slot, running and waiting.", lambda: limiter.in_flight)
    metrics.watch("faceattr_in_flight_limit", "Slots there are.", lambda: limiter.limit)
    metrics.watch("faceattr_waiting", "Requests in a slot that wait for a worker.", lambda: limiter.waiting)
    metrics.watch("faceattr_workers", "Workers there should be.", lambda: limiter.workers)
    metrics.watch("faceattr_uploads_in_progress", "Bodies that are arriving.", lambda: uploads.limiter.in_flight)
    metrics.watch("faceattr_uploads_limit", "Bodies that may arrive at a time.", lambda: uploads.limiter.limit)
    metrics.watch("faceattr_spool_bytes", "Bytes of uploads on disk.", lambda: spool.used)
    metrics.watch("faceattr_spool_limit_bytes", "Bytes of uploads there may be on disk.", lambda: spool.max_bytes)
    metrics.watch("faceattr_memory_bytes", "Resident bytes of this process.", resident)
    metrics.watch("faceattr_worker_memory_bytes", "Resident bytes of worker processes.", lambda: pool.resident)
    metrics.watch_totals(
        "faceattr_worker_restarts", "Workers replaced, added or taken away.", "reason", REASONS, lambda: pool.restarts
    )
    metrics.watch_totals(
        "faceattr_reloads", "Reloads that were asked for.", "outcome", ("ok", "failed"), lambda: executor.reloads
    )
    metrics.describe("faceattr_model", "Model files in use.", lambda: _models(executor))
    metrics.describe("faceattr_build", "What runs here.", _build)


def _models(executor: Executor) -> list[dict[str, str]]:
    return [{"name": name, "sha256": digest} for name, digest in executor.pool.models.items()]


def _build() -> list[dict[str, str]]:
    versions = {name.replace("-", "_"): metadata.version(name) for name in ("aiohttp", "prometheus-client")}
    return [{"version": metadata.version("faceattr-aio"), "python": sys.version.split()[0], **versions}]


async def _sampling(app: web.Application) -> AsyncIterator[None]:
    watching = asyncio.create_task(watch(app[METRICS]))
    yield
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    app[METRICS].sample()
