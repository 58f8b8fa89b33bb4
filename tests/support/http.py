"""Requests over real sockets to a server in this process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import ClientSession, FormData, web

from faceattr_aio.web.app import EXECUTOR
from tests.support.gate import Gate

TRICK = {"factory": "tests.support.pipelines:Trick", "path": "/trick"}
RAW = {"Content-Type": "image/png"}
Make = Callable[..., Awaitable[str]]
"""Starts a server and returns the URL of its pipeline."""


def form(*pictures: bytes, field: str = "image") -> FormData:
    data = FormData()
    for picture in pictures:
        data.add_field(field, picture, filename="a.png")
    return data


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


@contextlib.asynccontextmanager
async def connect(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of our own."""
    host, port = url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(20):
            yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def head(*more: str) -> bytes:
    """Of a request, up to its body."""
    return "\r\n".join(["POST /trick HTTP/1.1", "Host: x", *more, "\r\n"]).encode("utf-8", "surrogateescape")


async def ask_raw(url: str, more: str, body: bytes = b"") -> bytes:
    """The heads that come back for one request."""
    async with connect(url) as (reader, writer):
        writer.write(head("Content-Type: image/png", more) + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if answer.startswith(b"HTTP/1.1 100"):
            answer += await reader.readuntil(b"\r\n\r\n")
    return answer


async def hold(url: str, gate: Gate, png: bytes, client: ClientSession, requests: int) -> list[asyncio.Task[int]]:
    """So many requests at the gate or waiting behind it."""

    async def ask() -> int:
        async with client.post(url, data=png, headers={"Content-Type": "image/png"}) as response:
            return response.status

    tasks = [asyncio.create_task(ask()) for _ in range(requests)]
    await asyncio.to_thread(gate.wait_for, 1)
    return tasks


async def until_in_flight(app: web.Application, requests: int) -> None:
    async with asyncio.timeout(30):
        while app[EXECUTOR].limiter.in_flight != requests:  # counted in threads
            await asyncio.sleep(0.005)


async def status(client: ClientSession, url: str, data: Any, **headers: str) -> int:
    """Of one upload; a 429 must say when to come back."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.post(url, data=data, headers=RAW | named) as response:
        if response.status == 429:
            assert int(response.headers["Retry-After"]) >= 1
            assert (await response.json(content_type="application/problem+json"))["type"] == "urn:faceattr:rate-limited"
        return response.status
