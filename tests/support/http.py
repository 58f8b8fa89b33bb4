"""Sends requests over real sockets to a server in this process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import ClientSession, FormData, web

from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import EXECUTOR
from tests.support.gate import Gate

TRICK = {"factory": "tests.support.pipelines:Trick", "path": "/trick"}
RAW = {"Content-Type": "image/png"}
Make = Callable[..., Awaitable[str]]
"""Starts a server and returns the URL of its pipeline."""


def trick_config(**sections: dict[str, Any]) -> Config:
    """Return settings with one worker and the pipeline `trick`; the section `trick` changes that pipeline."""
    entry = {**TRICK, **sections.pop("trick", {})}
    return Config.model_validate({"inference": {"workers": 1}, "pipelines": {"trick": entry}, **sections})


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
    """Open a connection and close it at the end; fail after 20 seconds."""
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
    """Return the head of a request to the pipeline `trick`, with these headers."""
    return "\r\n".join(["POST /trick HTTP/1.1", "Host: x", *more, "\r\n"]).encode("utf-8", "surrogateescape")


async def ask_raw(url: str, more: str, body: bytes = b"") -> bytes:
    """Send one request and return the heads of its responses: of `100 Continue`, if sent, and of the final one."""
    async with connect(url) as (reader, writer):
        writer.write(head("Content-Type: image/png", more) + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if answer.startswith(b"HTTP/1.1 100"):
            answer += await reader.readuntil(b"\r\n\r\n")
    return answer


async def hold(url: str, gate: Gate, png: bytes, client: ClientSession, requests: int) -> list[asyncio.Task[int]]:
    """Start requests and wait until the first one is at the gate. Each task returns a status."""

    async def ask() -> int:
        async with client.post(url, data=png, headers={"Content-Type": "image/png"}) as response:
            return response.status

    tasks = [asyncio.create_task(ask()) for _ in range(requests)]
    await asyncio.to_thread(gate.wait_for, 1)
    return tasks


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true; fail after 30 seconds. It changes in threads, which set no event."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def until_in_flight(app: web.Application, requests: int) -> None:
    """Wait until this number of slots is in use."""
    await until(lambda: app[EXECUTOR].limiter.in_flight == requests)


async def status(client: ClientSession, url: str, data: Any, **headers: str) -> int:
    """Send one upload and return its status. Check that a 429 has Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.post(url, data=data, headers=RAW | named) as response:
        if response.status == 429:
            assert int(response.headers["Retry-After"]) >= 1
            assert (await response.json(content_type="application/problem+json"))["type"] == "urn:faceattr:rate-limited"
        return response.status
