"""Add telemetry to an app: `/metrics` for Prometheus, `/stats` as JSON, the access log and traces."""

import asyncio
import sys
from collections.abc import AsyncIterator
from importlib import metadata

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry

from faceattr_aio.cache.results import Results
from faceattr_aio.config import load_extra
from faceattr_aio.config.schema import Config
from faceattr_aio.inference.executor import Executor
from faceattr_aio.inference.pool import REASONS
from faceattr_aio.telemetry.access_log import log_request
from faceattr_aio.telemetry.metrics import LoopLagSampler, Metrics, resident
from faceattr_aio.telemetry.record import Listener, RecordBuffer
from faceattr_aio.telemetry.stats import RollingStats
from faceattr_aio.uploads.receive import Uploads

METRICS: web.AppKey[Metrics] = web.AppKey("faceattr_aio.metrics", Metrics)
STATS: web.AppKey[RollingStats] = web.AppKey("faceattr_aio.window", RollingStats)


def observe(
    app: web.Application,
    config: Config,
    executor: Executor,
    uploads: Uploads,
    results: Results,
    registry: CollectorRegistry | None,
) -> None:
    """Record every request of the app and add routes. Raises ValueError when `registry` has such metrics already."""
    counts = {name for declaration in executor.declarations.values() for name in declaration.counts}
    app[METRICS] = metrics = Metrics(counts, registry)
    _watch(metrics, executor, uploads)
    if (cache := results.cache) is not None:
        metrics.watch("faceattr_cache_failures", "Failed calls to the cache.", lambda: cache.failures)
    app[STATS] = stats = RollingStats(config.stats)
    listeners: list[Listener] = [metrics.add, stats.add]
    if config.logging.requests:
        listeners.append(log_request)
    if config.logging.traces:
        listeners.append(load_extra("faceattr_aio.telemetry.tracing", "otel").Traces().add)
    records = RecordBuffer(listeners)
    metrics.before_sample(records.flush)
    app.on_response_prepare.append(records.add)
    app.cleanup_ctx.append(_sampling)
    _add_stats(app, stats, records, executor)
    if config.server.metrics_port is None:
        add_metrics(app, metrics)


def add_metrics(app: web.Application, metrics: Metrics) -> None:
    """Add the route /metrics."""

    async def get_metrics(request: web.Request) -> web.Response:
        text, content_type = metrics.expose(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=text, headers={hdrs.CONTENT_TYPE: content_type})

    app.router.add_get("/metrics", get_metrics)


def make_metrics_app(app: web.Application) -> web.Application:
    """An app with only the /metrics of `app`, for a separate port."""
    separate = web.Application()
    add_metrics(separate, app[METRICS])
    return separate


def _add_stats(app: web.Application, stats: RollingStats, records: RecordBuffer, executor: Executor) -> None:
    async def get_stats(_: web.Request) -> web.Response:
        """The statistics and the current load."""
        records.flush()
        limiter = executor.limiter
        now = {"in_flight": limiter.in_flight, "limit": limiter.limit, "workers": limiter.workers}
        return web.json_response(now | {"mean_service_s": round(limiter.service_s, 6)} | stats.document())

    async def get_request(request: web.Request) -> web.Response:
        """The record of one request in the window; 404 for any other."""
        records.flush()
        record = stats.find(request.match_info["id"])
        if record is None:
            raise web.HTTPNotFound
        return web.json_response(record.fields())

    app.router.add_get("/stats", get_stats)
    app.router.add_get("/stats/{id}", get_request)


def _watch(metrics: Metrics, executor: Executor, uploads: Uploads) -> None:
    limiter, pool, spool, arriving = executor.limiter, executor.pool, uploads.spool, uploads.limiter
    metrics.watch("faceattr_in_flight", "Slots in use, by running and waiting requests.", lambda: limiter.in_flight)
    metrics.watch("faceattr_in_flight_limit", "Limit on the slots in use.", lambda: limiter.limit)
    metrics.watch("faceattr_waiting", "Requests with a slot that wait for a worker.", lambda: limiter.waiting)
    metrics.watch("faceattr_workers", "Target number of workers.", lambda: limiter.workers)
    metrics.watch("faceattr_uploads_in_progress", "Uploads in progress.", lambda: arriving.in_flight)
    metrics.watch("faceattr_uploads_limit", "Limit on the uploads in progress.", lambda: arriving.limit)
    metrics.watch("faceattr_spool_bytes", "Bytes of uploads on disk.", lambda: spool.used)
    metrics.watch("faceattr_spool_limit_bytes", "Limit on the bytes of uploads on disk.", lambda: spool.max_bytes)
    metrics.watch("faceattr_memory_bytes", "Resident memory of this process in bytes.", resident)
    metrics.watch("faceattr_worker_memory_bytes", "Resident memory of the workers in bytes.", lambda: pool.resident)
    restarts = "Workers replaced, added or removed."
    metrics.watch_totals("faceattr_worker_restarts", restarts, "reason", REASONS, lambda: pool.restarts)
    outcomes = ("ok", "failed")
    metrics.watch_totals("faceattr_reloads", "Reloads requested.", "outcome", outcomes, lambda: executor.reloads)
    metrics.describe("faceattr_model", "Model files in use.", lambda: _models(executor))
    metrics.describe("faceattr_build", "Versions of the server and its libraries.", _build)


def _models(executor: Executor) -> list[dict[str, str]]:
    return [{"name": name, "sha256": digest} for name, digest in executor.pool.models.items()]


def _build() -> list[dict[str, str]]:
    versions = {name.replace("-", "_"): metadata.version(name) for name in ("aiohttp", "prometheus-client")}
    return [{"version": metadata.version("faceattr-aio"), "python": sys.version.split()[0], **versions}]


async def _sampling(app: web.Application) -> AsyncIterator[None]:
    sampler = LoopLagSampler(app[METRICS])
    sampling = asyncio.create_task(sampler.run())
    yield
    sampling.cancel()
    await asyncio.wait({sampling})
    sampler.sample()
