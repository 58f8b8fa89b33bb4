"""What clients see of a refusal while their body is still on its way: the 503, never a reset or a broken pipe."""

import asyncio
import http.client
import io
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import httpx
import pytest
import requests
from aiohttp import ClientSession

from tests.conftest import StartServer
from tests.gate import PATIENCE_S, Gate
from tests.process import TRICK, Server

RAW = {"Content-Type": "image/png"}
SIZES = {"10 KB": 10_000, "1 MB": 1_000_000, "20 MB": 20_000_000}
ROUNDS = 5


@pytest.fixture
async def full(start: StartServer, gate: Gate, png: bytes, client: ClientSession) -> AsyncIterator[Server]:
    """A server whose only slot is taken."""
    server = start(f"[inference]\nworkers = 1\nlimit = 1\ntimeout_s = 60\n{TRICK}gate = '{gate.folder}'\n")
    held = asyncio.create_task(client.post(f"{server.url}/trick", data=png, headers=RAW))
    await asyncio.to_thread(gate.wait_for, 1)
    yield server
    gate.open()
    assert (await held).status == 200


def by_requests(url: str, body: bytes) -> int:
    return requests.post(url, data=io.BytesIO(body), headers=RAW, timeout=PATIENCE_S).status_code


def by_httpx(url: str, body: bytes) -> int:
    return httpx.post(url, content=body, headers=RAW, timeout=PATIENCE_S).status_code


def by_httpx_async(url: str, body: bytes) -> int:
    async def ask() -> int:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            return (await client.post(url, content=body, headers=RAW)).status_code

    return asyncio.run(ask())


AIOHTTP = """
import asyncio, io, sys
from aiohttp import ClientSession

async def ask():
    body = io.BytesIO(bytes(int(sys.argv[2])))
    async with ClientSession() as client:
        async with client.post(sys.argv[1], data=body, headers={"Content-Type": "image/png"}) as response:
            print(response.status)

asyncio.run(ask())
"""


def by_aiohttp(url: str, body: bytes) -> int:
    """In a process of its own: its transport outlives a loop that ends at once, which would be a warning here."""
    command = [sys.executable, "-c", AIOHTTP, url, str(len(body))]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE_S).stdout)


def by_http_client(url: str, body: bytes) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE_S)
    connection.request("POST", parts.path, io.BytesIO(body), RAW | {"Content-Length": str(len(body))})
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ask", [by_requests, by_httpx, by_httpx_async, by_aiohttp, by_http_client])
async def test_a_client_sees_the_refusal_whatever_it_sends(
    ask: Callable[[str, bytes], int], size: str, full: Server
) -> None:
    url, body = f"{full.url}/trick", bytes(SIZES[size])
    seen = [await asyncio.to_thread(ask, url, body) for _ in range(ROUNDS)]
    assert seen == [503] * ROUNDS
