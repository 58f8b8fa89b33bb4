"""Posts a picture with each of the HTTP clients that are in use; each function returns the statuses."""

import asyncio
import http.client
import io
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import wraps
from urllib.parse import urlsplit

import httpx
import pytest
import requests

from tests.support.http import RAW
from tests.support.process import PATIENCE_S

Post = Callable[[str, bytes], int]
Posts = Callable[[str, bytes, int], list[int]]
"""Posts a body to a URL a number of times, one after another, and returns the statuses."""

_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Passed to httpx, which otherwise reads the certificates of the system for each client."""

_AIOHTTP = """
import asyncio, io, sys
from aiohttp import ClientSession

async def post():
    body, headers = io.BytesIO(bytes(int(size))), {"Content-Type": "image/png"}
    async with ClientSession() as client:
        async with client.post(url, data=body, headers=headers, expect100=bool(expect)) as response:
            print(response.status)

url, size, times, expect = sys.argv[1:]
for _ in range(int(times)):
    asyncio.run(post())
"""


def repeated(post: Post) -> Posts:
    @wraps(post)
    def posts(url: str, body: bytes, times: int) -> list[int]:
        return [post(url, body) for _ in range(times)]

    return posts


@repeated
def by_requests(url: str, body: bytes) -> int:
    return requests.post(url, data=io.BytesIO(body), headers=RAW, timeout=PATIENCE_S).status_code


@repeated
def by_httpx(url: str, body: bytes) -> int:
    return httpx.post(url, content=body, headers=RAW, timeout=PATIENCE_S, verify=_NO_TLS).status_code


@repeated
def by_httpx_async(url: str, body: bytes) -> int:
    async def post() -> int:
        async with httpx.AsyncClient(timeout=PATIENCE_S, verify=_NO_TLS) as client:
            return (await client.post(url, content=body, headers=RAW)).status_code

    return asyncio.run(post())


def by_aiohttp_expecting(url: str, body: bytes, times: int) -> list[int]:
    return by_aiohttp(url, body, times, "yes")


def by_aiohttp(url: str, body: bytes, times: int, expect: str = "") -> list[int]:
    """Post zeros of the size of `body` from a separate process.

    The transport of aiohttp outlives an event loop that ends at once, which would be a warning in this process.
    """
    command = [sys.executable, "-c", _AIOHTTP, url, str(len(body)), str(times), expect]
    ended = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE_S)
    return [int(line) for line in ended.stdout.split()]


@repeated
def by_http_client(url: str, body: bytes) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE_S)
    connection.request("POST", parts.path, io.BytesIO(body), RAW | {"Content-Length": str(len(body))})
    status = connection.getresponse().status
    connection.close()
    return status


def _curl(url: str, body: bytes, *more: str) -> int:
    """Post with curl, which sends `Expect: 100-continue` by itself for more than a megabyte."""
    command = [_installed("curl"), "-s", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-", *more, url]
    for name, value in RAW.items():
        command += ["-H", f"{name}: {value}"]
    return int(subprocess.run(command, input=body, capture_output=True, check=True, timeout=PATIENCE_S).stdout)


@repeated
def by_curl(url: str, body: bytes) -> int:
    return _curl(url, body)


@repeated
def by_curl_expecting(url: str, body: bytes) -> int:
    return _curl(url, body, "-H", "Expect: 100-continue")


@repeated
def by_curl_not_expecting(url: str, body: bytes) -> int:
    return _curl(url, body, "-H", "Expect:")


@repeated
def by_wget(url: str, body: bytes) -> int:
    """Post with wget, which prints the status of a failure on standard error. Returns 0 without a status."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        command = [_installed("wget"), "-S", "-O", "/dev/null", "--tries=1", f"--post-file={file.name}", url]
        command += [f"--header={name}: {value}" for name, value in RAW.items()]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    found = re.search(r"HTTP/1\.1 (\d+)", ended.stderr)
    return int(found[1]) if found else 0


def _installed(program: str) -> str:
    return shutil.which(program) or pytest.skip(f"{program} is not installed")


CLIENTS: list[Posts] = [
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
