"""What clients see of a refusal while their body is still on its way: the 503, never a reset or a broken pipe."""

import asyncio
import http.client
import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
import requests
from aiohttp import ClientSession

from tests.conftest import StartServer
from tests.support.gate import PATIENCE_S, Gate
from tests.support.process import TRICK, Server

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
    url, size, expect = sys.argv[1:]
    body, headers = io.BytesIO(bytes(int(size))), {"Content-Type": "image/png"}
    async with ClientSession() as client:
        async with client.post(url, data=body, headers=headers, expect100=bool(expect)) as response:
            print(response.status)

asyncio.run(ask())
"""


def by_aiohttp_expecting(url: str, body: bytes) -> int:
    return by_aiohttp(url, body, "yes")


def by_aiohttp(url: str, body: bytes, expect: str = "") -> int:
    """In a process of its own: its transport outlives a loop that ends at once, which would be a warning here."""
    command = [sys.executable, "-c", AIOHTTP, url, str(len(body)), expect]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE_S).stdout)


def by_http_client(url: str, body: bytes) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE_S)
    connection.request("POST", parts.path, io.BytesIO(body), RAW | {"Content-Length": str(len(body))})
    status = connection.getresponse().status
    connection.close()
    return status


def found(program: str) -> str:
    return shutil.which(program) or pytest.skip(f"{program} is not installed")


def by_curl(url: str, body: bytes, *more: str) -> int:
    """It sends `Expect: 100-continue` of its own accord for more than a megabyte."""
    command = [found("curl"), "-s", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-", *more, url]
    for name, value in RAW.items():
        command += ["-H", f"{name}: {value}"]
    return int(subprocess.run(command, input=body, capture_output=True, check=True, timeout=PATIENCE_S).stdout)


def by_curl_expecting(url: str, body: bytes) -> int:
    return by_curl(url, body, "-H", "Expect: 100-continue")


def by_curl_not_expecting(url: str, body: bytes) -> int:
    return by_curl(url, body, "-H", "Expect:")


def by_wget(url: str, body: bytes) -> int:
    """It tells the status of a failure on its error output alone."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        command = [found("wget"), "-S", "-O", "/dev/null", "--tries=1", f"--post-file={file.name}", url]
        command += [f"--header={name}: {value}" for name, value in RAW.items()]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    told = re.search(r"HTTP/1\.1 (\d+)", ended.stderr)
    return int(told[1]) if told else 0


CLIENTS = [
    by_requests,
    by_httpx,
    by_httpx_async,
    by_aiohttp,
    by_aiohttp_expecting,
    by_http_client,
    by_curl,
    by_curl_expecting,
    by_curl_not_expecting,
    by_wget,
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ask", CLIENTS)
async def test_a_client_sees_the_refusal_whatever_it_sends(
    ask: Callable[[str, bytes], int], size: str, full: Server
) -> None:
    url, body = f"{full.url}/trick", bytes(SIZES[size])
    seen = [await asyncio.to_thread(ask, url, body) for _ in range(ROUNDS)]
    assert seen == [503] * ROUNDS


@pytest.mark.parametrize("ask", [by_http_client, by_httpx])
async def test_sixty_clients_see_it_at_the_same_time(ask: Callable[[str, bytes], int], full: Server) -> None:
    """More than the 64 bodies that are waited for cannot be under way."""
    url, body = f"{full.url}/trick", bytes(SIZES["1 MB"])
    with ThreadPoolExecutor(60) as threads:
        loop = asyncio.get_running_loop()
        seen = await asyncio.gather(*(loop.run_in_executor(threads, ask, url, body) for _ in range(300)))
    assert seen == [503] * 300
