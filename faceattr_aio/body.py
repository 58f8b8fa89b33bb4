"""The body of a request as it comes off the connection, in turns that are short for the event loop, and what becomes of
a body that nobody wants. Knows nothing of what is in it.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import StreamReader

from faceattr_aio.errors import FaceattrError, MalformedUpload

_CHUNKS_IN_A_TURN = 16
_CHUNKS_IN_DOUBT, _SMALLEST_MEAN = 1000, 16
"""A megabyte in chunks of one byte costs a second of CPU time, as much as 500 MB in chunks of a usual size."""


async def read(content: StreamReader) -> AsyncGenerator[bytes]:
    """The bytes in the chunks that they come in. Raises MalformedUpload when these are absurdly small."""
    number = received = 0
    async for chunk, _ in content.iter_chunks():
        number += 1
        received += len(chunk)
        if number >= _CHUNKS_IN_DOUBT and received < number * _SMALLEST_MEAN:
            raise MalformedUpload(f"The body comes in chunks of less than {_SMALLEST_MEAN} bytes; send larger ones.")
        if number % _CHUNKS_IN_A_TURN == 0:
            await asyncio.sleep(0)  # what has arrived already is read without a pause
        yield chunk


class Lingering:
    """Lets the rest of bodies run out whose requests were answered before: who closes a connection with data still
    coming takes the answer away from clients that send before they read (RFC 9112, section 9.6).

    At most `most` bodies at a time, each for `seconds` and `most_bytes`.
    """

    def __init__(self, most: int, seconds: float, most_bytes: int) -> None:
        self._most, self._seconds, self._most_bytes = most, seconds, most_bytes
        self._timers: set[asyncio.Timeout] = set()

    @property
    def count(self) -> int:
        """Bodies that are running out now."""
        return len(self._timers)

    async def run_out(self, content: StreamReader) -> bool:
        """Reads to the end of a body. False when that is not to be had: the connection can only be closed."""
        if content.is_eof():
            return True
        if self.count >= self._most:
            return False
        try:
            return await self._discard(content)
        except (TimeoutError, FaceattrError, OSError):  # too slow, in crumbs, or gone
            return False

    def stop(self) -> None:
        """Waits for no body any longer."""
        self._most = 0
        for timer in self._timers:
            timer.reschedule(0)

    async def _discard(self, content: StreamReader) -> bool:
        left = self._most_bytes
        async with asyncio.timeout(self._seconds) as timer, aclosing(read(content)) as chunks:
            self._timers.add(timer)
            try:
                async for chunk in chunks:
                    left -= len(chunk)
                    if left < 0:
                        return False
            finally:
                self._timers.discard(timer)
        return True
