"""Clients receive the 503 of a full server while they still send their body, never a reset or a broken pipe."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import pytest_asyncio
from aiohttp import ClientSession, ClientTimeout

from tests.support.gate import Gate
from tests.support.http import RAW
from tests.support.http_clients import CLIENTS, Posts, by_http_client, by_httpx
from tests.support.process import TRICK, Server, start_server

SIZES = {"10 KB": 10_000, "1 MB": 1_000_000, "20 MB": 20_000_000}
ROUNDS = 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def full(tmp_path_factory: pytest.TempPathFactory, png: bytes) -> AsyncIterator[Server]:
    """A server with its only slot in use. At the end the request that holds it is answered."""
    folder = tmp_path_factory.mktemp("full")
    gate = Gate(folder / "gate")
    limits = "[inference]\nworkers = 1\nlimit = 1\ntimeout_s = 600\n"
    server = start_server(folder, f"{limits}{TRICK}gate = '{gate.folder}'\n", {})
    async with ClientSession(timeout=ClientTimeout(600)) as client:
        held = asyncio.create_task(client.post(f"{server.url}/trick", data=png, headers=RAW))
        await asyncio.to_thread(gate.wait_for, 1)
        yield server
        gate.open()
        assert (await held).status == 200
    server.kill()
    gate.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("posts", CLIENTS)
async def test_every_client_receives_the_503_of_a_full_server(posts: Posts, size: str, full: Server) -> None:
    statuses = await asyncio.to_thread(posts, f"{full.url}/trick", bytes(SIZES[size]), ROUNDS)
    assert statuses == [503] * ROUNDS


@pytest.mark.parametrize("posts", [by_http_client, by_httpx])
async def test_sixty_clients_at_the_same_time_receive_the_503_of_a_full_server(posts: Posts, full: Server) -> None:
    """Sixty, because the server discards at most 64 bodies at the same time."""
    url, body = f"{full.url}/trick", bytes(SIZES["1 MB"])
    with ThreadPoolExecutor(60) as threads:
        loop = asyncio.get_running_loop()
        statuses = await asyncio.gather(*(loop.run_in_executor(threads, posts, url, body, 1) for _ in range(300)))
    assert statuses == [[503]] * 300
