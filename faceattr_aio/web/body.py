"""The body of a request as it comes off the connection, in turns that are short for the event loop, and what becomes of
a body that nobody wants. Knows nothing of what is in it.
"""

import asyncio
import select
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import StreamReader, web

from faceattr_aio.errors import FaceattrError, MalformedUpload

_CHUNKS_IN_A_TURN = 16
_CHUNKS_IN_DOUBT, _SMALLEST_MEAN = 1000, 16
"""A megabyte in chunks of one byte costs a second of CPU time, as much as 500 MB in chunks of a usual size."""


async def read(content: StreamReader) -> AsyncGenerator[bytes]:
    """The bytes in the chunks that they come in. Raises MalformedUpload when these are absurdly small."""
    if content.at_eof():  # one reader is shared by all empty bodies, and comes to an end for the first of them only
        return
    number = received = 0
    async for chunk, _ in content.iter_chunks():
        number += 1
        received += len(chunk)
        if number >= _CHUNKS_IN_DOUBT and received < number * _SMALLEST_MEAN:
            raise MalformedUpload(f"The body comes in chunks of less than {_SMALLEST_MEAN} bytes; send larger ones.")
        if number % _CHUNKS_IN_A_TURN == 0:
            await asyncio.sleep(0)  # what has arrived already is read without a pause
        yield chunk


def has_left(request: web.BaseRequest) -> bool:
    """Whether the client is gone. While its body is not being read, nothing tells us but the socket itself."""
    if request.transport is None or request.transport.is_closing():
        return True
    polling = select.poll()
    polling.register(request.transport.get_extra_info("socket"), select.POLLRDHUP)
    return bool(polling.poll(0))


class Lingering:
    """Lets the rest of bodies run out whose requests were answered before: who closes a connection with data still
    coming takes the answer away from clients that send before they read (RFC 9112, section 9.6).

    At most `most` bodies at a time, each for `seconds` and `most_bytes`.
    """

    def __init__(self, most: int, seconds: float, most_bytes: int) -> None:
        self._most, self._seconds, self._most_bytes = most, seconds, most_bytes
        self._waiting: dict[asyncio.Timeout, web.BaseRequest] = {}

    @property
    def count(self) -> int:
        """Bodies that are running out now."""
        return sum(request.transport is not None for request in self._waiting.values())

    async def run_out(self, request: web.BaseRequest) -> bool:
        """Reads to the end of a body. False when that is not to be had: the connection can only be closed."""
        if request.content.is_eof():
            return True
        if self._is_full():
            return False
        try:
            return await self._discard(request)
        except (TimeoutError, FaceattrError, OSError):  # too slow, in crumbs, or gone
            return False

    def stop(self) -> None:
        """Waits for no body any longer."""
        self._most = 0
        for timer in self._waiting:
            _end(timer)

    def _is_full(self) -> bool:
        """Nothing tells us when a client leaves whose request was answered: we look when there is no more room."""
        if len(self._waiting) < self._most:
            return False
        for timer, request in self._waiting.items():
            if request.transport is None:
                _end(timer)
        return self.count >= self._most

    async def _discard(self, request: web.BaseRequest) -> bool:
        left = self._most_bytes
        async with asyncio.timeout(self._seconds) as timer, aclosing(read(request.content)) as chunks:
            self._waiting[timer] = request
            try:
                async for chunk in chunks:
                    left -= len(chunk)
                    if left < 0:
                        return False
            finally:
                del self._waiting[timer]
        return True


def _end(timer: asyncio.Timeout) -> None:
    if not timer.expired():
        timer.reschedule(0)
