"""A client's side of a stream, one picture and one line at a time."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponse, ClientSession

BOUNDARY = b"--b\r\n"
END = b"\r\n\r\n--b--\r\n"
"""A part without anything, and the last boundary: after `part` has sent the boundary behind it."""
HEADERS = {"Content-Type": "multipart/form-data; boundary=b", "Accept": "application/x-ndjson"}


def part(picture: bytes) -> bytes:
    """A picture, and the boundary behind it."""
    return b'Content-Disposition: form-data; name="image"\r\n\r\n' + picture + b"\r\n" + BOUNDARY


class Talk:
    """What is sent goes out at once; lines are read when they are asked for."""

    def __init__(self, session: ClientSession, url: str, headers: dict[str, str]) -> None:
        self._body: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._asking = asyncio.create_task(self._ask(session, url, HEADERS | headers))
        self.send(BOUNDARY)

    def send(self, data: bytes) -> None:
        self._body.put_nowait(data)

    def show(self, *pictures: bytes) -> None:
        """Sends pictures whole."""
        for picture in pictures:
            self.send(part(picture))

    def end(self) -> None:
        """Says that there are no more."""
        self.send(END)
        self._body.put_nowait(None)

    async def response(self) -> ClientResponse:
        return await self._asking

    async def line(self) -> Any:
        """The next one; None when there are no more."""
        async with asyncio.timeout(30):
            text = await (await self.response()).content.readline()
        return json.loads(text) if text else None

    async def lines(self) -> list[Any]:
        """Those that are left."""
        lines = []
        while (line := await self.line()) is not None:
            lines.append(line)
        return lines

    async def leave(self) -> None:
        """Without a word."""
        self._body.put_nowait(None)
        self._asking.cancel()
        await asyncio.wait({self._asking})
        if not self._asking.cancelled() and not self._asking.exception():
            self._asking.result().close()

    async def _ask(self, session: ClientSession, url: str, headers: dict[str, str]) -> ClientResponse:
        return await session.post(url, data=self._content(), headers=headers)

    async def _content(self) -> AsyncIterator[bytes]:
        while data := await self._body.get():
            yield data


@asynccontextmanager
async def talk(session: ClientSession, url: str, **headers: str) -> AsyncIterator[Talk]:
    talking = Talk(session, url, headers)
    try:
        yield talking
    finally:
        await talking.leave()
