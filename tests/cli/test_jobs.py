"""Jobs of a real server that goes down."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.conftest import Serve, StartServer
from tests.support.gate import Gate
from tests.support.process import TRICK

RAW = {"Content-Type": "image/png"}


class Told:
    """Takes what callbacks tell."""

    def __init__(self) -> None:
        self.jobs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def take(self, request: web.Request) -> web.Response:
        await self.jobs.put(await request.json())
        return web.Response(status=204)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(30):
            return await self.jobs.get()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def hook(serve: Serve, told: Told) -> str:
    app = web.Application()
    app.router.add_post("/hook", told.take)
    return f"{await serve(app)}/hook"


def settings(gate: Gate, drain_s: float) -> str:
    return (
        f"[server]\ndrain_s = {drain_s}\n[inference]\nworkers = 1\ntimeout_s = 60\n"
        f"[jobs]\ncallbacks = ['127.0.0.1']\n{TRICK}gate = '{gate.folder}'\n"
    )


async def order(client: ClientSession, url: str, hook: str, png: bytes) -> str:
    async with client.post(f"{url}/jobs", params={"callback": hook}, data=png, headers=RAW) as response:
        assert response.status == 202
        return str((await response.json())["id"])


async def test_a_server_that_is_stopped_ends_the_jobs_it_has(
    start: StartServer, gate: Gate, client: ClientSession, told: Told, hook: str, png: bytes
) -> None:
    server = start(settings(gate, 60))
    jobs = [await order(client, server.url, hook, png) for _ in range(3)]
    await asyncio.to_thread(gate.wait_for, 1)
    stopping = asyncio.create_task(asyncio.to_thread(server.stop))
    gate.open()
    ended = [await told.next() for _ in jobs]
    assert [(one["id"], one["status"]) for one in ended] == [(job, "done") for job in jobs]
    assert await stopping == 0


async def test_what_does_not_end_in_time_is_told_failed(
    start: StartServer, gate: Gate, client: ClientSession, told: Told, hook: str, png: bytes
) -> None:
    server = start(settings(gate, 0.5))
    jobs = [await order(client, server.url, hook, png) for _ in range(3)]
    await asyncio.to_thread(gate.wait_for, 1)
    stopping = asyncio.create_task(asyncio.to_thread(server.stop))
    ended = [await told.next() for _ in jobs]
    assert sorted(one["id"] for one in ended) == sorted(jobs)
    assert {(one["status"], one["error"]["type"]) for one in ended} == {("failed", "urn:faceattr:draining")}
    assert await stopping == 0


async def test_several_processes_have_no_jobs_of_their_own(
    start: StartServer, client: ClientSession, png: bytes
) -> None:
    server = start(f"[server]\nprocesses = 2\n[inference]\nworkers = 2\n{TRICK}")
    async with client.post(f"{server.url}/jobs", data=png, headers=RAW) as response:
        assert response.status == 404
