"""Servers of the test pipeline on real sockets. Their workers are threads, so that tests can inspect everything."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector, web

from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import ENDPOINTS, EXECUTOR, JOBS, UPLOADS, is_idle, make_app
from tests.conftest import Serve
from tests.support.gate import Gate
from tests.support.http import TRICK, Make, hold, until, until_in_flight
from tests.support.jobs import TRICK_ENTRY, ServeJobs


@pytest.fixture
async def apps() -> AsyncIterator[list[web.Application]]:
    """The apps of the test. At its end no slot, upload, byte or slot of a client may be left in use."""
    apps: list[web.Application] = []
    yield apps
    for app in apps:
        await until(partial(is_released, app))
        assert app[UPLOADS].spool.used == 0


def is_released(app: web.Application) -> bool:
    (endpoint,) = app[ENDPOINTS]
    limits, limiters = endpoint.limits, (app[EXECUTOR].limiter, app[UPLOADS].limiter)
    return not any((*(one.in_flight for one in limiters), limits.slots.in_use, limits.uploads.in_use))


@pytest.fixture
async def make(serve: Serve, apps: list[web.Application], tmp_path: Path) -> Make:
    """Serves the trick pipeline and returns its URL."""

    async def start(trick: dict[str, Any] | None = None, **sections: dict[str, Any]) -> str:
        entry = TRICK | (trick or {})
        sections.setdefault("inference", {"workers": 1, "limit": 2})
        sections["upload"] = {"dir": str(tmp_path), **sections.get("upload", {})}
        app = make_app(Config.model_validate({"pipelines": {"trick": entry}, **sections}))
        apps.append(app)
        return f"{await serve(app)}/trick"

    return start


@pytest.fixture
async def full(
    make: Make, apps: list[web.Application], gate: Gate, png: bytes, client: ClientSession
) -> AsyncIterator[str]:
    """The URL of a server in which every slot is in use. At the end every request that holds one is answered."""
    url = await make({"gate": str(gate.folder)})
    held = await hold(url, gate, png, client, 2)
    await until_in_flight(apps[0], 2)
    yield url
    gate.open()
    assert await asyncio.gather(*held) == [200, 200]


@pytest.fixture
async def other() -> AsyncIterator[ClientSession]:
    """A client with another address than `client`."""
    async with ClientSession(connector=TCPConnector(local_addr=("127.0.0.2", 0))) as session:
        yield session


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
