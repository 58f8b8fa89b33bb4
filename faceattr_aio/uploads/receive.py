"""A request body goes to disk, piece by piece, within its limits of bytes, parts, time and rate. Never holds more than
a chunk of it in memory. Knows neither HTTP nor what the files are for.
"""

import asyncio
import hashlib
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from python_multipart.multipart import parse_options_header

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import DeadlineExceeded, Draining, FaceattrError, NoImage, UploadTimeout, UploadTooLarge
from faceattr_aio.uploads.multipart import Multipart, Piece
from faceattr_aio.uploads.spool import Spool, SpoolFile

_MULTIPART = b"multipart/form-data"
_REMEMBERED = 64
"""Headers that need no second reading."""
_GRACE_S, _SHORTEST_GRACE_S = 2.0, 0.2
"""The minimum rate is asked for after this; when half of the room is taken, the sooner the less of it is left."""


CHUNK = 1 << 18
"""Bytes in one write: 256 KiB are ten times faster than 8 KiB."""


Inspect = Callable[[Path], None]
"""Looks at a stored picture, in a thread. Raises FaceattrError to refuse it."""


def take_anything(_: Path) -> None:
    """Refuses nothing."""


class PictureWriter:
    """Gathers pieces into chunks that are worth a trip to a thread. Until the first one there is no file, so that slow
    clients hold none; what is no larger than a chunk takes one trip in all.
    """

    def __init__(self, spool: Spool, files: ExitStack, inspect: Inspect, *, hashed: bool = True) -> None:
        self._spool, self._files, self._inspect = spool, files, inspect
        self._file: SpoolFile | None = None
        self._size = 0
        self._gathered = bytearray()
        self._digest = hashlib.sha256() if hashed else None

    async def add(self, data: bytes, most: int) -> None:
        self._size += len(data)
        if self._size > most:
            raise UploadTooLarge(f"A part of the request is larger than {most} bytes.")
        self._gathered += data
        if len(self._gathered) >= CHUNK:
            await self._write()

    async def finish(self) -> SpoolFile:
        """The file with everything in it."""
        return await self._spool.threads.run(self._complete)

    def _complete(self) -> SpoolFile:
        file = self._open()
        file.complete(self._gathered)
        if self._digest:
            self._digest.update(self._gathered)
            file.digest = self._digest.digest()
        try:
            self._inspect(file.path)
        except FaceattrError as fault:
            file.fault = fault
        return file

    async def _write(self) -> None:
        gathered, self._gathered = self._gathered, bytearray()
        await self._open().write(gathered)
        if self._digest:
            await self._spool.threads.run(self._digest.update, gathered)

    def _open(self) -> SpoolFile:
        if self._file is None:
            self._file = self._spool.open()
            self._files.callback(self._file.close)
        return self._file


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


class RawBody:
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

    def for_batches(self, most: int) -> "Uploads":
        """The same room, for bodies with so many pictures."""
        more = max(0, most - self.limits.max_batch)
        limits = replace(self.limits, max_batch=most, max_parts=self.limits.max_parts + more)
        return Uploads(limits, self.spool, self.limiter, self._inspect, hashed=self._hashed)

    def writer(self, files: ExitStack) -> PictureWriter:
        """For the pieces of one picture; `files` closes its file."""
        return PictureWriter(self.spool, files, self._inspect, hashed=self._hashed)

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
        return RawBody()

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
            enough_for = self.time_allowed_s(received)
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

    def time_allowed_s(self, received: float, grace_s: float = _GRACE_S) -> float:
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
