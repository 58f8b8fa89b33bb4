"""Clients with little overhead, so that the load leaves more of the machine to the server: kept connections, a prepared
request, and only the status and the end of an answer are read.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from bench.support.openloop import PATIENCE_S

LOST = "lost"
_HEAD_END, _LENGTH = b"\r\n\r\n", b"content-length: "


def upload(path: str, body: bytes, content_type: str) -> bytes:
    """The bytes of a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection(asyncio.Protocol):
    """A connection that sends the same request again and again, one at a time."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self._outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a TCP transport
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(_HEAD_END)
        if found and len(body) >= int(head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0]):
            self._received = b""
            self._end(head[9:12].decode())

    def connection_lost(self, _: Exception | None) -> None:
        self._end(LOST)

    async def ask(self) -> str:
        """Send the request. Return the status, or LOST."""
        if self._transport.is_closing():
            return LOST
        self._outcome = asyncio.get_running_loop().create_future()
        self._transport.write(self._request)
        return await self._outcome

    def close(self) -> None:
        self._transport.abort()

    def _end(self, outcome: str) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)


@asynccontextmanager
async def connections(url: str, request: bytes, number: int) -> AsyncIterator[Sequence[Connection]]:
    """Open `number` connections at the same time, each of which has been answered once."""
    parts, loop = urlsplit(url), asyncio.get_running_loop()
    assert parts.hostname
    assert parts.port
    host, port = parts.hostname, parts.port
    opening = (loop.create_connection(lambda: Connection(request), host, port) for _ in range(number))
    opened = [connection for _, connection in await asyncio.gather(*opening)]
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(connection.ask() for connection in opened))
        yield opened
    finally:
        for connection in opened:
            connection.close()


async def saturate(opened: Sequence[Connection], seconds: float, pause_s: float = 0.0) -> Counter[str]:
    """Send on each connection as soon as it has an answer, or `pause_s` after a refusal. Return the number of each
    outcome.
    """
    loop, counts = asyncio.get_running_loop(), Counter[str]()
    end = loop.time() + seconds

    async def client(connection: Connection) -> None:
        while loop.time() < end:
            outcome = await connection.ask()
            counts[outcome] += 1
            if outcome != "200":
                await asyncio.sleep(pause_s)

    async with asyncio.timeout(seconds + PATIENCE_S):
        await asyncio.gather(*map(client, opened))
    return counts
