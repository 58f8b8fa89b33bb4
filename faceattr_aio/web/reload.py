"""Which settings can be changed while the app runs, and how each is: the one table to add a key to. Knows no signal and
no file.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from aiohttp import web

from faceattr_aio.config.schema import Config, PipelineEntry
from faceattr_aio.telemetry.setup import WINDOW
from faceattr_aio.web.app import ADMIN, ENDPOINTS, EXECUTOR, SHARED, UPLOADS, all_endpoints
from faceattr_aio.web.job_setup import JOBS
from faceattr_aio.web.parts import admins_of, client_share, clients_of

Apply = Callable[[web.Application, Config], None]


def _elsewhere(_: web.Application, __: Config) -> None:
    """Who reads the key takes it over by itself, or `reload` sees to it, because it may fail."""


def _deadline(app: web.Application, config: Config) -> None:
    for endpoint in app[ENDPOINTS]:
        endpoint.deadline_s = config.inference.deadline_s or math.inf


def _uploads(app: web.Application, config: Config) -> None:
    upload, limiter = config.upload, app[UPLOADS].limiter
    limiter.resize(upload.max_in_progress, upload.max_in_progress)
    for endpoint in all_endpoints(app):
        uploads = endpoint.uploads
        uploads.limits = replace(uploads.limits, timeout_s=upload.timeout_s, min_rate=upload.min_rate)


def _fairness(app: web.Application, config: Config) -> None:
    for endpoint in app[ENDPOINTS]:
        endpoint.fairness.change(client_share(config), config.clients.requests_per_minute)
    if JOBS in app:
        app[JOBS].jobs.room.share.share = client_share(config)


def _alerts(app: web.Application, config: Config) -> None:
    app[WINDOW].settings = config.stats


RELOADABLE: Mapping[str, Apply] = {
    "server.drain_s": _elsewhere,
    "inference.limit": _elsewhere,
    "inference.timeout_s": _elsewhere,
    "inference.deadline_s": _deadline,
    "inference.recycle_after": _elsewhere,
    "inference.recycle_bytes": _elsewhere,
    "upload.timeout_s": _uploads,
    "upload.min_rate": _uploads,
    "upload.max_in_progress": _uploads,
    "image.working_side": _elsewhere,
    "models.dir": _elsewhere,
    "auth.keys": _elsewhere,
    "auth.keys_file": _elsewhere,
    "auth.admin_keys": _elsewhere,
    "auth.admin_keys_file": _elsewhere,
    "clients.fair": _fairness,
    "clients.requests_per_minute": _fairness,
    "clients.trusted_proxies": _elsewhere,
    "stats.alert_s": _alerts,
    "stats.alert_waiting": _alerts,
    "stats.alert_error_rate": _alerts,
    "logging.level": _elsewhere,
}
"""The key, and what is done with it. What a pipeline calls its own, all but factory, path and share, can be changed
too.
"""


def take_over(running: Config, wanted: Config) -> tuple[Config, list[str]]:
    """The running settings, with all that can be changed as `wanted` has it; and the keys that differ and need a
    restart.
    """
    later: list[str] = []
    sections: dict[str, object] = {"pipelines": _entries(running, wanted, later)}
    for section in Config.model_fields.keys() - {"pipelines"}:
        old, new = getattr(running, section), getattr(wanted, section)
        changed = {key for key in type(old).model_fields if getattr(old, key) != getattr(new, key)}
        taken = {key for key in changed if f"{section}.{key}" in RELOADABLE}
        sections[section] = old.model_copy(update={key: getattr(new, key) for key in taken})
        later += [f"{section}.{key}" for key in changed - taken]
    return running.model_copy(update=sections), sorted(later)


def _entries(running: Config, wanted: Config, later: list[str]) -> dict[str, PipelineEntry]:
    later += [f"pipelines.{name}" for name in running.pipelines.keys() ^ wanted.pipelines.keys()]
    return {name: _entry(name, old, wanted.pipelines.get(name, old), later) for name, old in running.pipelines.items()}


def _entry(name: str, old: PipelineEntry, new: PipelineEntry, later: list[str]) -> PipelineEntry:
    fixed = {key: getattr(old, key) for key in ("factory", "path", "share")}
    later += [f"pipelines.{name}.{key}" for key, value in fixed.items() if value != getattr(new, key)]
    return new.model_copy(update=fixed) if new.factory == old.factory else old


async def reload(app: web.Application, config: Config) -> None:
    """Takes new workers and settings into use; of these all that `RELOADABLE` has, the others must be as they were.

    Raises StartError or ReloadFailed, and nothing has changed.
    """
    clients, admins = clients_of(config, app[SHARED]), admins_of(config)
    await app[EXECUTOR].reload(config)
    app[ADMIN].admins = admins
    for endpoint in all_endpoints(app):
        endpoint.clients = clients
        endpoint.declaration = app[EXECUTOR].declarations[endpoint.name]
    for apply in set(RELOADABLE.values()):
        apply(app, config)
