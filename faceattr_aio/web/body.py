"""Request bodies on the connection: read in steps that are short for the event loop, or discarded after a refusal."""

import asyncio
import select
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import StreamReader, web

from faceattr_aio.errors import FaceattrError, MalformedUpload

_CHUNKS_PER_STEP = 16
_CHUNKS_BEFORE_CHECK, _SMALLEST_MEAN = 1000, 16
"""A megabyte in chunks of one byte costs a second of CPU time, as much as 500 MB in chunks of a usual size."""


async def read_chunks(content: StreamReader) -> AsyncGenerator[bytes]:
    """Yield the body in the chunks in which it arrives.

    Raises MalformedUpload when, from the 1000th chunk on, the mean of all chunks so far is below 16 bytes.
    """
    if content.at_eof():  # aiohttp shares one reader among all empty bodies; only the first request sees it end
        return
    number = received = 0
    async for chunk, _ in content.iter_chunks():
        number += 1
        received += len(chunk)
        if number >= _CHUNKS_BEFORE_CHECK and received < number * _SMALLEST_MEAN:
            raise MalformedUpload(f"The body comes in chunks of less than {_SMALLEST_MEAN} bytes; send larger ones.")
        if number % _CHUNKS_PER_STEP == 0:
            await asyncio.sleep(0)  # chunks that are buffered already are read without suspending
        yield chunk


def has_left(request: web.BaseRequest) -> bool:
    """Return whether the client has closed the connection.

    The socket is polled: while the body is not being read, the event loop does not report that it was closed.
    """
    if request.transport is None or request.transport.is_closing():
        return True
    polling = select.poll()
    polling.register(request.transport.get_extra_info("socket"), select.POLLRDHUP)
    return bool(polling.poll(0))


class Lingering:
    """Reads and discards the rest of a request body after an early answer.

    A connection that is closed while data is still arriving is reset, and the client may lose the answer (RFC 9112,
    section 9.6). At most `limit` bodies at a time are discarded, each for at most `seconds` and `max_bytes`.
    """

    def __init__(self, limit: int, seconds: float, max_bytes: int) -> None:
        self._limit, self._seconds, self._max_bytes = limit, seconds, max_bytes
        self._waiting: dict[asyncio.Timeout, web.BaseRequest] = {}

    @property
    def count(self) -> int:
        """Bodies that are being discarded now."""
        return sum(request.transport is not None for request in self._waiting.values())

    async def discard(self, request: web.BaseRequest) -> bool:
        """Read to the end of the body. Return False when the connection has to be closed instead."""
        if request.content.is_eof():
            return True
        if self._is_full():
            return False
        try:
            return await self._read_to_end(request)
        except (TimeoutError, FaceattrError, OSError):  # too slow, in tiny chunks, or disconnected
            return False

    def stop(self) -> None:
        """Stop waiting for all bodies, and accept no more."""
        self._limit = 0
        for timer in self._waiting:
            _expire(timer)

    def _is_full(self) -> bool:
        """Return whether the limit is reached, after dropping clients that have disconnected.

        A disconnect is not reported for a request that was answered, so it is looked up here.
        """
        for timer, request in self._waiting.items():
            if request.transport is None:
                _expire(timer)
        return self.count >= self._limit

    async def _read_to_end(self, request: web.BaseRequest) -> bool:
        left = self._max_bytes
        async with asyncio.timeout(self._seconds) as timer, aclosing(read_chunks(request.content)) as chunks:
            self._waiting[timer] = request
            try:
                async for chunk in chunks:
                    left -= len(chunk)
                    if left < 0:
                        return False
            finally:
                del self._waiting[timer]
        return True


def _expire(timer: asyncio.Timeout) -> None:
    if not timer.expired():
        timer.reschedule(0)
