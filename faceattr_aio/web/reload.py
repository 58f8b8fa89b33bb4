"""Reload: which settings can change while the app runs, and how they are applied."""

import math
from dataclasses import replace

from aiohttp import web

from faceattr_aio.config.schema import Config, PipelineEntry
from faceattr_aio.telemetry.setup import STATS
from faceattr_aio.web.app import ADMIN, ENDPOINTS, EXECUTOR, JOBS, SHARED, UPLOADS, all_endpoints
from faceattr_aio.web.components import client_share, make_admin_authenticator, make_authenticator

_RELOADABLE = {
    "server": ("drain_s",),
    "inference": ("limit", "timeout_s", "deadline_s", "recycle_after", "recycle_bytes"),
    "upload": ("timeout_s", "min_rate", "max_in_progress"),
    "image": ("working_side",),
    "models": ("dir",),
    "auth": ("keys", "keys_file", "admin_keys", "admin_keys_file"),
    "clients": ("fair", "requests_per_minute", "trusted_proxies"),
    "stats": ("alert_s", "alert_waiting", "alert_error_rate"),
    "logging": ("level",),
}
RELOADABLE = frozenset(f"{section}.{key}" for section, keys in _RELOADABLE.items() for key in keys)
"""The keys that can change. A pipeline's own keys can change too, all but factory, path and share."""
_FIXED = "factory", "path", "share"


def merge(running: Config, wanted: Config) -> tuple[Config, list[str]]:
    """Return the running settings with the reloadable ones of `wanted`, and the changed keys that need a restart."""
    needs_restart: list[str] = []
    sections: dict[str, object] = {"pipelines": _merge_pipelines(running, wanted, needs_restart)}
    for section in Config.model_fields.keys() - {"pipelines"}:
        old, new = getattr(running, section), getattr(wanted, section)
        changed = {key for key in type(old).model_fields if getattr(old, key) != getattr(new, key)}
        applied = {key for key in changed if f"{section}.{key}" in RELOADABLE}
        sections[section] = old.model_copy(update={key: getattr(new, key) for key in applied})
        needs_restart += [f"{section}.{key}" for key in changed - applied]
    return running.model_copy(update=sections), sorted(needs_restart)


def _merge_pipelines(running: Config, wanted: Config, needs_restart: list[str]) -> dict[str, PipelineEntry]:
    needs_restart += [f"pipelines.{name}" for name in running.pipelines.keys() ^ wanted.pipelines.keys()]
    merged = dict(running.pipelines)
    for name in running.pipelines.keys() & wanted.pipelines.keys():
        old, new = running.pipelines[name], wanted.pipelines[name]
        fixed = {key: getattr(old, key) for key in _FIXED}
        needs_restart += [f"pipelines.{name}.{key}" for key, value in fixed.items() if value != getattr(new, key)]
        if new.factory == old.factory:
            merged[name] = new.model_copy(update=fixed)
    return merged


async def reload(app: web.Application, config: Config) -> None:
    """Replace the workers and apply the settings; those that `RELOADABLE` does not have must be unchanged.

    Raises StartError or ReloadFailed; then the previous settings stay in use.
    """
    auth, admin = make_authenticator(config, app[SHARED]), make_admin_authenticator(config)
    await app[EXECUTOR].reload(config)
    app[ADMIN].auth = admin
    app[STATS].settings = config.stats
    upload, share = config.upload, client_share(config)
    app[UPLOADS].limiter.resize(upload.max_in_progress, upload.max_in_progress)
    for endpoint in all_endpoints(app):
        endpoint.auth = auth
        declaration = app[EXECUTOR].declarations[endpoint.name]
        endpoint.declaration = replace(declaration, media_types=endpoint.declaration.media_types)
        endpoint.uploads.change(upload.timeout_s, upload.min_rate)
        endpoint.limits.change(share, config.clients.requests_per_minute)
    for endpoint in app[ENDPOINTS]:
        endpoint.deadline_s = config.inference.deadline_s or math.inf
    if JOBS in app:
        app[JOBS].jobs.capacity.change_share(share)
