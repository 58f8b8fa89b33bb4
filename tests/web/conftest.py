"""Fixtures for the tests of jobs over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import EXECUTOR, JOBS, UPLOADS, is_idle, make_app
from tests.conftest import Serve
from tests.support.jobs import TRICK_ENTRY, ServeJobs


@pytest.fixture
async def job_apps() -> AsyncIterator[list[web.Application]]:
    """The apps of the test. Checks at the end that no slot, byte or capacity is in use."""
    apps: list[web.Application] = []
    yield apps
    for app in apps:
        async with asyncio.timeout(30):
            while app[EXECUTOR].limiter.in_flight or not is_idle(app):  # threads release the slots
                await asyncio.sleep(0.005)
        assert app[UPLOADS].spool.used == 0
        assert app[JOBS].jobs.capacity.limiter.in_flight == 0


@pytest.fixture
async def serve_jobs(serve: Serve, job_apps: list[web.Application], tmp_path: Path) -> ServeJobs:
    """Serve the trick pipeline and return its URL."""

    async def start(trick: dict[str, Any] | None = None, **sections: dict[str, Any]) -> str:
        sections.setdefault("inference", {"workers": 1, "limit": 2, "timeout_s": 60})
        sections["upload"] = {"dir": str(tmp_path), **sections.get("upload", {})}
        app = make_app(Config.model_validate({"pipelines": {"trick": TRICK_ENTRY | (trick or {})}, **sections}))
        job_apps.append(app)
        return await serve(app)

    return start
