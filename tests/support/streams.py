"""A client of a stream that sends pictures and reads lines one at a time."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponse, ClientSession

BOUNDARY = b"--b\r\n"
END = b"\r\n\r\n--b--\r\n"
"""An empty part and the last boundary; follows `part`, which ends with a boundary."""
HEADERS = {"Content-Type": "multipart/form-data; boundary=b", "Accept": "application/x-ndjson"}


def part(picture: bytes) -> bytes:
    """Return a part with a picture, and the boundary after it."""
    return b'Content-Disposition: form-data; name="image"\r\n\r\n' + picture + b"\r\n" + BOUNDARY


class OpenRequest:
    """A request in progress. Data is sent at once; lines are read on demand."""

    def __init__(self, session: ClientSession, url: str, headers: dict[str, str]) -> None:
        self._body: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._request = asyncio.create_task(self._post(session, url, HEADERS | headers))
        self.send(BOUNDARY)

    def send(self, data: bytes) -> None:
        self._body.put_nowait(data)

    def show(self, *pictures: bytes) -> None:
        """Send complete pictures."""
        for picture in pictures:
            self.send(part(picture))

    def end(self) -> None:
        """End the body."""
        self.send(END)
        self._body.put_nowait(None)

    async def response(self) -> ClientResponse:
        return await self._request

    async def line(self) -> Any:
        """Return the next line, or None at the end."""
        async with asyncio.timeout(30):
            text = await (await self.response()).content.readline()
        return json.loads(text) if text else None

    async def lines(self) -> list[Any]:
        """Return the remaining lines."""
        lines = []
        while (line := await self.line()) is not None:
            lines.append(line)
        return lines

    async def leave(self) -> None:
        """Close the connection without ending the body."""
        self._body.put_nowait(None)
        self._request.cancel()
        await asyncio.wait({self._request})
        if not self._request.cancelled() and not self._request.exception():
            self._request.result().close()

    async def _post(self, session: ClientSession, url: str, headers: dict[str, str]) -> ClientResponse:
        return await session.post(url, data=self._content(), headers=headers)

    async def _content(self) -> AsyncIterator[bytes]:
        while data := await self._body.get():
            yield data


@asynccontextmanager
async def open_stream(session: ClientSession, url: str, **headers: str) -> AsyncIterator[OpenRequest]:
    talking = OpenRequest(session, url, headers)
    try:
        yield talking
    finally:
        await talking.leave()
