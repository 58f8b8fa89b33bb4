"""Requests of a client of jobs, for tests."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientSession, FormData

from faceattr_aio.schemas import Job

RAW = {"Content-Type": "image/png"}
TRICK_ENTRY = {"factory": "tests.support.pipelines:Trick", "path": "/trick"}
ServeJobs = Callable[..., Awaitable[str]]


async def submit(client: ClientSession, url: str, data: Any, **headers: str) -> str:
    """POST to the URL and return the URL of the job."""
    raw = RAW if isinstance(data, bytes) else {}
    async with client.post(url, data=data, headers={**raw, **headers}) as response:
        document = await response.json()
        assert response.status == 202, document
        assert response.headers["Location"].endswith(f"/jobs/{document['id']}")
        assert Job.model_validate(document).status == "queued"
        return str(response.url.join(response.url.with_path(response.headers["Location"])))


async def fetch(client: ClientSession, url: str, wait: float = 30, **headers: str) -> Job:
    """Return the job, after waiting at most `wait` seconds for its end."""
    prefer = {"Prefer": f"wait={wait}"} if wait else {}
    async with client.get(url, headers={**prefer, **headers}) as response:
        assert response.status == 200, await response.text()
        return Job.model_validate(await response.json())


async def status_of(client: ClientSession, method: str, url: str, **options: Any) -> int:
    """Return the status; check the problem type of a 404."""
    async with client.request(method, url, **options) as response:
        if response.status == 404:
            document = await response.json(content_type="application/problem+json")
            assert document["type"] == "urn:faceattr:unknown-job"
        return response.status


def form(*pictures: bytes) -> FormData:
    data = FormData()
    for picture in pictures:
        data.add_field("image", picture, filename="a.png")
    return data


async def status_before_body(url: str, path: str, length: int) -> int:
    """Return the first status that answers `Expect: 100-continue`."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n"
    writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1])
