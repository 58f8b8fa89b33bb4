"""A request body goes to disk, piece by piece, within its limits of bytes, parts, time and rate. Never holds more than
a chunk of it in memory. Knows neither HTTP nor what the files are for.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from python_multipart.multipart import parse_options_header

from faceattr_aio.errors import DeadlineExceeded, Draining, NoImage, UploadTimeout, UploadTooLarge
from faceattr_aio.limiter import Limiter
from faceattr_aio.multipart import Multipart, Piece
from faceattr_aio.spool import Spool, SpoolFile
from faceattr_aio.writer import Inspect, Writer, take_anything

_MULTIPART = b"multipart/form-data"
_REMEMBERED = 64
"""Headers that need no second reading."""
_GRACE_S, _SHORTEST_GRACE_S = 2.0, 0.2
"""The minimum rate is asked for after this; when half of the room is taken, the sooner the less of it is left."""


@dataclass(frozen=True)
class Limits:
    """Bytes, parts and pictures of one request; bytes in a header of a part; seconds; bytes per second after the first
    two seconds.
    """

    max_bytes: int
    max_part_bytes: int
    max_parts: int
    max_batch: int
    max_header_bytes: int
    timeout_s: float
    min_rate: int


def is_accepted(content_type: str) -> bool:
    """Whether a body of this type can be taken in."""
    kind = _kind(content_type)
    return kind in (_MULTIPART, b"application/octet-stream") or kind.startswith(b"image/")


def is_multipart(content_type: str) -> bool:
    """Whether the body is made of parts."""
    return _kind(content_type) == _MULTIPART


@lru_cache(_REMEMBERED)
def _kind(content_type: str) -> bytes:
    return parse_options_header(content_type)[0]


class Pieces(Protocol):
    """How a body is taken apart: `Multipart`, or `Whole`."""

    def feed(self, chunk: bytes) -> Iterator[Piece]: ...
    def end(self) -> None: ...


class Whole:
    """A body that is one picture."""

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        yield 0, chunk

    def end(self) -> None:
        """Nothing has to come last."""


class Uploads:
    """Takes in bodies, a limited number of them at a time."""

    def __init__(
        self, limits: Limits, spool: Spool, limiter: Limiter, inspect: Inspect = take_anything, *, hashed: bool = True
    ) -> None:
        """What `inspect` raises becomes the `fault` of the file; its `digest` is found out if `hashed`."""
        self.limits = limits
        self.spool = spool
        self.limiter = limiter
        self._inspect, self._hashed = inspect, hashed
        self._timers: set[asyncio.Timeout] = set()

    def check(self, length: int | None) -> None:
        """Refuses what `receive` would refuse, without reading. Raises UploadTooLarge, Overloaded or Draining."""
        if length is not None and length > self.limits.max_bytes:
            raise self._too_large()
        self.limiter.check()

    async def receive(
        self, chunks: AsyncIterator[bytes], content_type: str, files: ExitStack, deadline: float = math.inf
    ) -> list[SpoolFile]:
        """The pictures of a body, in its order, each in a file that `files` closes.

        Raises what is wrong with the body (malformed, too large, too slow, without a picture), StorageUnavailable,
        Overloaded or Draining, and DeadlineExceeded at `deadline` on the monotonic clock, which is the loop's.
        """
        started = asyncio.get_running_loop().time()
        self.limiter.check()
        release = self.limiter.acquire()
        try:
            return await self._timed(chunks, self._pieces(content_type), files, deadline)
        finally:
            release()
            self.limiter.observe(asyncio.get_running_loop().time() - started)

    def of_batches(self, most: int) -> "Uploads":
        """The same room, for bodies with so many pictures."""
        more = max(0, most - self.limits.max_batch)
        limits = replace(self.limits, max_batch=most, max_parts=self.limits.max_parts + more)
        return Uploads(limits, self.spool, self.limiter, self._inspect, hashed=self._hashed)

    def writer(self, files: ExitStack) -> Writer:
        """For the pieces of one picture; `files` closes its file."""
        return Writer(self.spool, files, self._inspect, hashed=self._hashed)

    def abort(self) -> None:
        """Ends every upload in progress with Draining, and refuses new ones."""
        self.limiter.drain()
        for timer in self._timers:
            if not timer.expired():
                timer.reschedule(0)

    def _pieces(self, content_type: str) -> Pieces:
        if is_multipart(content_type):
            limits = self.limits
            return Multipart(content_type, limits.max_parts, limits.max_batch, limits.max_header_bytes)
        return Whole()

    async def _timed(
        self, chunks: AsyncIterator[bytes], pieces: Pieces, files: ExitStack, deadline: float
    ) -> list[SpoolFile]:
        try:
            async with asyncio.timeout(None) as timer:
                self._timers.add(timer)
                async with aclosing(self._on_time(chunks, timer, deadline)) as counted:
                    return await self._store(counted, pieces, files)
        except TimeoutError as error:
            if self.limiter.draining:
                raise Draining from error
            if asyncio.get_running_loop().time() >= deadline:
                raise DeadlineExceeded from error
            raise UploadTimeout(
                f"The body took longer than {self.limits.timeout_s:g} s, "
                f"or came slower than {self.limits.min_rate} bytes a second."
            ) from error
        finally:
            self._timers.discard(timer)

    async def _on_time(
        self, chunks: AsyncIterator[bytes], timer: asyncio.Timeout, deadline: float
    ) -> AsyncGenerator[bytes]:
        """The chunks, counted. The timer runs while we wait for the client, not while the client waits for us; it ends
        when the bytes so far would be too few.
        """
        now, waited, received = asyncio.get_running_loop().time, 0.0, 0
        while not self.limiter.draining:
            began = now()
            enough_for = self.patience_s(received)
            timer.reschedule(min(began + enough_for - waited, deadline))
            chunk = await anext(chunks, None)
            timer.reschedule(None)
            waited += now() - began
            if chunk is None:
                return
            received += len(chunk)
            if received > self.limits.max_bytes:
                raise self._too_large()
            yield chunk
        raise Draining

    def patience_s(self, received: float, grace_s: float = _GRACE_S) -> float:
        """How long somebody who has sent so many bytes may have been waited for. Who sends nothing holds room that
        others could need: the grace is shorter the less of it is left.
        """
        left = 1 - self.limiter.in_flight / self.limiter.limit
        grace_s = max(_SHORTEST_GRACE_S, grace_s * min(1, 2 * left))
        return min(self.limits.timeout_s, max(grace_s, received / self.limits.min_rate))

    async def _store(self, chunks: AsyncIterator[bytes], pieces: Pieces, files: ExitStack) -> list[SpoolFile]:
        stored: list[SpoolFile] = []
        writer = None
        async for chunk in chunks:
            for number, data in pieces.feed(chunk):
                if writer and number > len(stored):
                    stored.append(await writer.finish())
                    writer = None
                writer = writer or self.writer(files)
                await writer.add(data, self.limits.max_part_bytes)
        pieces.end()
        if writer is None:
            raise NoImage("The request has no picture: send a part named 'image' or 'file', or the picture itself.")
        return [*stored, await writer.finish()]

    def _too_large(self) -> UploadTooLarge:
        return UploadTooLarge(f"The request is larger than {self.limits.max_bytes} bytes.")
