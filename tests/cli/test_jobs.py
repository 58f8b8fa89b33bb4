"""Jobs of a real server that shuts down."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.conftest import Serve, StartServer
from tests.support.gate import Gate
from tests.support.process import TRICK
from tests.support.serving import RAW


class CallbackReceiver:
    """Stores the jobs that callbacks report."""

    def __init__(self) -> None:
        self.jobs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def receive(self, request: web.Request) -> web.Response:
        await self.jobs.put(await request.json())
        return web.Response(status=204)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(30):
            return await self.jobs.get()


@pytest.fixture
def receiver() -> CallbackReceiver:
    return CallbackReceiver()


@pytest.fixture
async def hook(serve: Serve, receiver: CallbackReceiver) -> str:
    app = web.Application()
    app.router.add_post("/hook", receiver.receive)
    return f"{await serve(app)}/hook"


def settings(gate: Gate, drain_s: float) -> str:
    return (
        f"[server]\ndrain_s = {drain_s}\n[inference]\nworkers = 1\ntimeout_s = 60\n"
        f"[jobs]\ncallbacks = ['127.0.0.1']\n{TRICK}gate = '{gate.folder}'\n"
    )


async def submit(client: ClientSession, url: str, hook: str, png: bytes) -> str:
    async with client.post(f"{url}/jobs", params={"callback": hook}, data=png, headers=RAW) as response:
        assert response.status == 202
        return str((await response.json())["id"])


async def test_a_server_that_is_stopped_finishes_its_jobs(
    start: StartServer, gate: Gate, client: ClientSession, receiver: CallbackReceiver, hook: str, png: bytes
) -> None:
    server = start(settings(gate, 60))
    jobs = [await submit(client, server.url, hook, png) for _ in range(3)]
    await asyncio.to_thread(gate.wait_for, 1)
    stopping = asyncio.create_task(asyncio.to_thread(server.stop))
    gate.open()
    ended = [await receiver.next() for _ in jobs]
    assert [(one["id"], one["status"]) for one in ended] == [(job, "done") for job in jobs]
    assert await stopping == 0


async def test_jobs_that_exceed_the_drain_time_are_reported_as_failed(
    start: StartServer, gate: Gate, client: ClientSession, receiver: CallbackReceiver, hook: str, png: bytes
) -> None:
    server = start(settings(gate, 0.5))
    jobs = [await submit(client, server.url, hook, png) for _ in range(3)]
    await asyncio.to_thread(gate.wait_for, 1)
    stopping = asyncio.create_task(asyncio.to_thread(server.stop))
    ended = [await receiver.next() for _ in jobs]
    assert sorted(one["id"] for one in ended) == sorted(jobs)
    assert {(one["status"], one["error"]["type"]) for one in ended} == {("failed", "urn:faceattr:draining")}
    assert await stopping == 0


async def test_several_processes_offer_no_jobs_in_memory(start: StartServer, client: ClientSession, png: bytes) -> None:
    server = start(f"[server]\nprocesses = 2\n[inference]\nworkers = 2\n{TRICK}")
    async with client.post(f"{server.url}/jobs", data=png, headers=RAW) as response:
        assert response.status == 404
