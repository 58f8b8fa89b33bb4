"""A real server with hostile clients."""

import asyncio
import contextlib
import resource
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientOSError, ClientSession

from bench.faults.hostile import HOSTILE, Hostile, dribble, send, slow_heads, watch
from tests.conftest import StartServer
from tests.support.gate import PATIENCE_S
from tests.support.http import RAW, connect, head
from tests.support.process import TRICK, Server, start_server

STALL_MS = 500.0
"""Largest stall of the event loop: ten times the documented one. The faults this finds stall it ten times longer."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "spool").mkdir()
    server = start_server(folder, f"[inference]\nworkers = 2\nlimit = 4\n[upload]\ndir = 'spool'\n{TRICK}", {})
    yield server
    server.kill()


@pytest.fixture
async def server(running: Server, client: ClientSession, png: bytes) -> AsyncIterator[Server]:
    """The running server. At the end it must have the same open files as before, and answer a request for each slot."""
    files = sorted(running.open_files())
    yield running
    assert await asyncio.gather(*(answer(client, running, png) for _ in range(4))) == [200] * 4
    async with asyncio.timeout(PATIENCE_S):
        while sorted(running.open_files()) != files:
            await asyncio.sleep(0.01)


async def answer(client: ClientSession, server: Server, body: bytes) -> int:
    async with client.post(f"{server.url}/trick", data=body, headers=RAW) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
async def test_no_body_stalls_the_event_loop(hostile: Hostile, server: Server) -> None:
    body = hostile.make()
    status, stall_ms = await watch(server.url, asyncio.to_thread(send, f"{server.url}/trick", hostile, body))
    assert status == hostile.status
    assert stall_ms < STALL_MS


async def test_clients_are_served_while_five_hundred_others_are_slow(
    server: Server, client: ClientSession, png: bytes
) -> None:
    end = asyncio.Event()
    async with asyncio.TaskGroup() as slow:
        for start in slow_heads("/trick", 500):
            slow.create_task(dribble(server.url, end, start))
        async with asyncio.timeout(PATIENCE_S):
            while server.descriptors() < 500:  # until all are connected
                await asyncio.sleep(0.01)
        statuses = [await answer(client, server, png) for _ in range(200)]
        end.set()
    assert statuses == [200] * 200


async def test_a_slow_body_gets_408_and_takes_no_slot(server: Server) -> None:
    async with connect(server.url) as (reader, writer):
        writer.write(head("Content-Type: image/png", "Content-Length: 100000"))
        writer.write(b"x")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 408")


async def test_connections_with_slow_headers_are_closed_after_the_keepalive_time(start: StartServer) -> None:
    server = start(f"[server]\nkeepalive_s = 0.5\n{TRICK}")
    async with connect(server.url) as (reader, writer):
        writer.write(b"POST /trick HT")
        assert await reader.read() == b""
    async with connect(server.url) as (reader, _):
        assert await reader.read() == b""  # an idle connection


async def test_clients_that_reset_the_connection_leave_nothing_behind(
    server: Server, png: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    start = head("Content-Type: image/png", f"Content-Length: {len(png)}")
    for number in range(200):
        async with connect(server.url) as (_, writer):
            sent = len(png) * (0, 1, 50, 99, 100)[number % 5] // 100
            writer.write(start + png[:sent])
            await writer.drain()
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        head("Content-Length: 5", "Transfer-Encoding: chunked"),
        head("Content-Length: 5", "Content-Length: 6"),
        head("Content-Length: -1"),
        head("Content-Type: image/png", "Transfer-Encoding: chunked") + b"zz\r\n",
        head("A: " + "x" * 100_000),
        b"\0\xff\xfe nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ],
    ids=["both lengths", "two lengths", "negative", "chunk size", "long header", "nonsense", "version"],
)
async def test_malformed_http_gets_an_error_and_the_connection_is_closed(wrong: bytes, server: Server) -> None:
    async with connect(server.url) as (reader, writer):
        writer.write(wrong)
        assert (await reader.read()).startswith((b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 408"))


async def test_forty_pipelined_requests_are_answered_in_order(server: Server, png: bytes) -> None:
    small = png[:2000]
    async with connect(server.url) as (reader, writer):
        for number in range(40):
            writer.write(
                head("Content-Type: image/png", f"X-Request-ID: {number}", f"Content-Length: {len(small)}") + small
            )
        for number in range(40):
            answered = await reader.readuntil(b"\r\n\r\n")
            assert f"X-Request-ID: {number}\r\n".encode() in answered
            length = answered.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))


async def test_at_most_64_refused_bodies_are_discarded_at_the_same_time(server: Server) -> None:
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connect(server.url)) for _ in range(70)]
        for reader, writer in connections:
            writer.write(head("Content-Type: text/html", "Content-Length: 1000000") + bytes(1000))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 415")
        ends = [asyncio.create_task(reader.read()) for reader, _ in connections]
        async with asyncio.timeout(PATIENCE_S):
            while sum(end.done() for end in ends) < 6:
                await asyncio.sleep(0.01)
        assert [end.done() for end in ends] == [False] * 64 + [True] * 6
        for end in ends:
            end.cancel()


async def test_a_full_disk_is_reported_and_the_server_recovers(
    server: Server, client: ClientSession, png: bytes
) -> None:
    _, most = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, most))  # writing fails as on a full disk
    async with client.post(f"{server.url}/trick", data=png, headers=RAW) as response:
        assert (response.status, int(response.headers["Retry-After"])) == (503, 1)
        problem = await response.json(content_type=None)
    assert (problem["type"], problem["detail"]) == (
        "urn:faceattr:storage",
        "The upload could not be stored: File too large.",
    )
    async with client.get(f"{server.url}/readyz") as response:
        assert (response.status, await response.json()) == (503, {"status": "storage"})
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most, most))
    async with client.get(f"{server.url}/readyz") as response:
        assert response.status == 200


async def test_two_hundred_bodies_that_are_not_read_use_little_memory(server: Server, client: ClientSession) -> None:
    """All are refused: 64 bodies are discarded, the connections of the others are closed."""
    before = server.memory()[server.pid]
    async with AsyncExitStack() as stack:
        for _ in range(200):
            _, writer = await stack.enter_async_context(connect(server.url))
            writer.write(head("Content-Type: text/html", "Content-Length: 1000000") + bytes(900_000))
        async with client.get(f"{server.url}/livez") as response:
            assert response.status == 200
        assert server.memory()[server.pid] - before < 200 * 250 * 1024


def test_the_server_raises_its_limit_of_open_files(start: StartServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard - 1), hard))
    try:
        server = start(TRICK)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (hard, hard)


async def test_the_server_recovers_after_it_ran_out_of_descriptors(start: StartServer, png: bytes) -> None:
    server = start(TRICK)
    _, most = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.descriptors() + 20, most))
    idle = [socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) for _ in range(60)]
    for connection in idle:
        connection.close()
    async with ClientSession() as client, asyncio.timeout(PATIENCE_S):
        status = 0
        while status != 200:  # connections fail meanwhile
            with contextlib.suppress(ClientOSError):
                status = await answer(client, server, png)
            await asyncio.sleep(0.01)
