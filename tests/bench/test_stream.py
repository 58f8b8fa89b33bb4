"""Streams to the real server: a short measurement of one, and their end when the server stops."""

import asyncio

import pytest
from aiohttp import ClientSession

from bench.speed import stream
from bench.support.served import UNCACHED
from tests.conftest import StartServer
from tests.support.process import TRICK
from tests.support.streams import open_stream, part

pytestmark = pytest.mark.pixels


async def test_a_stream_uses_no_growing_memory_and_no_slot_in_a_pause(start: StartServer) -> None:
    server = start(f"{UNCACHED}[inference]\nworkers = {stream.WORKERS}\n")
    streamed, rate = await stream.measure(server, 140, 0.5)
    assert streamed.answered == 140
    assert streamed.first_s < streamed.seconds / 10
    assert streamed.growth_mb < stream.MOST_GROWTH_MB
    assert streamed.slots == 0
    assert rate > 0
    assert len(list(stream.report(streamed, rate))) == 2


@pytest.mark.parametrize("processes", [1, 2])
async def test_open_streams_end_cleanly_and_the_server_stops_at_sigterm(
    processes: int, start: StartServer, png: bytes, client: ClientSession
) -> None:
    settings = f"[server]\nprocesses = {processes}\n[inference]\nworkers = 2\n{TRICK}sleep_s = 0.2\n"
    server = start(settings)
    async with (
        open_stream(client, f"{server.url}/trick") as working,
        open_stream(client, f"{server.url}/trick") as idle,
    ):
        idle.show(png)
        assert (await idle.line())["number"] == 0
        working.show(png, png)
        working.send(part(png)[:-100])
        assert (await working.line())["number"] == 0
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        assert [line.get("number") for line in await idle.lines()] == [None]
        *answered, last = await working.lines()
        assert [line["number"] for line in answered] == [1]
        assert last["error"]["type"] == "urn:faceattr:draining"
    assert await stopping == 0
