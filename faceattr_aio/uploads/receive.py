"""Receive a request body and write its pictures to the spool, within limits of bytes, parts, time and rate. At most one
chunk of each picture is in memory.
"""

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.config.schema import UploadConfig
from faceattr_aio.errors import DeadlineExceeded, Draining, FaceattrError, NoImage, UploadTimeout, UploadTooLarge
from faceattr_aio.uploads.multipart import Multipart, Piece, parse_content_type
from faceattr_aio.uploads.spool import Spool, SpoolFile

CHUNK = 1 << 18
"""Bytes of one write: 256 KiB are ten times faster than 8 KiB."""
_MULTIPART = b"multipart/form-data"
_GRACE_S, _MIN_GRACE_S = 2.0, 0.2
"""Seconds before the minimum rate applies. Shortened once half of the upload slots are in use."""


def is_accepted(content_type: str) -> bool:
    """Return True for the types of bodies that can be received."""
    kind = parse_content_type(content_type)[0]
    return kind in (_MULTIPART, b"application/octet-stream") or kind.startswith(b"image/")


def is_multipart(content_type: str) -> bool:
    """Return True for a body that consists of parts."""
    return parse_content_type(content_type)[0] == _MULTIPART


class Uploads:
    """Receives request bodies; `limits` apply to each of them, `limiter` to how many arrive at the same time."""

    def __init__(
        self,
        limits: UploadConfig,
        spool: Spool,
        limiter: Limiter,
        inspect: Callable[[Path], None] | None = None,
        *,
        hashed: bool = True,
    ) -> None:
        """`inspect` checks a stored picture in a thread: its FaceattrError becomes the `fault` of the file.
        `hashed` sets the `digest` of each file.
        """
        self.limits = limits
        self.max_part_bytes = limits.max_part_bytes or limits.max_bytes
        self.spool = spool
        self.limiter = limiter
        self.inspect, self.hashed = inspect, hashed
        self._timers: set[asyncio.Timeout] = set()

    def for_batches(self, max_batch: int) -> "Uploads":
        """Uploads with the same spool and limiter, for bodies with up to `max_batch` pictures."""
        max_parts = self.limits.max_parts + max(0, max_batch - self.limits.max_batch)
        limits = self.limits.model_copy(update={"max_batch": max_batch, "max_parts": max_parts})
        return Uploads(limits, self.spool, self.limiter, self.inspect, hashed=self.hashed)

    def change(self, timeout_s: float, min_rate: int) -> None:
        """Change the limits of time and rate."""
        self.limits = self.limits.model_copy(update={"timeout_s": timeout_s, "min_rate": min_rate})

    def check(self, length: int | None) -> None:
        """Check before the body is read. Raises UploadTooLarge, Overloaded or Draining."""
        if length is not None and length > self.limits.max_bytes:
            raise self._too_large()
        self.limiter.check()

    async def receive(
        self, chunks: AsyncIterator[bytes], content_type: str, resources: ExitStack, deadline: float = math.inf
    ) -> list[SpoolFile]:
        """Store the pictures of a body, in their order. `resources` closes the files.

        Raises Overloaded or Draining when no upload is admitted; MalformedUpload, TooManyParts, BatchTooLarge, NoImage,
        UploadTooLarge or UploadTimeout for the body; StorageUnavailable; and DeadlineExceeded when the body is not
        complete at `deadline`, on the monotonic clock of the event loop.
        """
        now = asyncio.get_running_loop().time
        started = now()
        self.limiter.check()
        release = self.limiter.acquire()
        timer = asyncio.timeout(None)
        self._timers.add(timer)
        try:
            async with timer:
                parser = self.make_parser(content_type, self.limits.max_batch)
                return await self._store(chunks, parser, resources, timer, deadline)
        except TimeoutError as error:
            if self.limiter.draining:
                raise Draining from error
            if now() >= deadline:
                raise DeadlineExceeded from error
            raise UploadTimeout(
                f"The body took longer than {self.limits.timeout_s:g} s or was slower than {self.limits.min_rate} "
                "bytes per second."
            ) from error
        finally:
            self._timers.discard(timer)
            release()
            self.limiter.observe(now() - started)

    def abort(self) -> None:
        """End all uploads in progress with Draining and refuse new ones."""
        self.limiter.drain()
        for timer in self._timers:
            if not timer.expired():
                timer.reschedule(0)

    def time_allowed_s(self, received: float, grace_s: float = _GRACE_S) -> float:
        """Seconds within which `received` bytes must have arrived.

        The grace period shrinks with the free upload slots, because a client that sends nothing holds one.
        """
        free = 1 - self.limiter.in_flight / self.limiter.limit
        grace_s = max(_MIN_GRACE_S, grace_s * min(1, 2 * free))
        return min(self.limits.timeout_s, max(grace_s, received / self.limits.min_rate))

    def make_parser(self, content_type: str, max_batch: int | None) -> "Multipart | RawBody":
        """Create the parser of one body. Raises MalformedUpload when `content_type` has no valid boundary."""
        if not is_multipart(content_type):
            return RawBody()
        return Multipart(content_type, self.limits.max_parts, self.limits.max_header_bytes, max_batch)

    async def _store(
        self,
        chunks: AsyncIterator[bytes],
        parser: "Multipart | RawBody",
        resources: ExitStack,
        timer: asyncio.Timeout,
        deadline: float,
    ) -> list[SpoolFile]:
        now, waited, received = asyncio.get_running_loop().time, 0.0, 0
        stored: list[SpoolFile] = []
        writer: PictureWriter | None = None
        while not self.limiter.draining:
            began = now()
            timer.reschedule(min(began + self.time_allowed_s(received) - waited, deadline))
            chunk = await anext(chunks, None)
            timer.reschedule(None)  # the client has time while its data is written
            if chunk is None:
                break
            waited += now() - began
            received += len(chunk)
            if received > self.limits.max_bytes:
                raise self._too_large()
            pieces = parser.feed(chunk)
            if parser.fault:
                raise parser.fault
            for number, data in pieces:
                if writer and number > len(stored):
                    stored.append(await writer.finish())
                    writer = None
                writer = writer or PictureWriter(self, resources)
                if data:
                    await writer.add(data)
        else:
            raise Draining
        parser.end()
        if writer is None:
            raise NoImage("The request has no picture: send a part named 'image' or 'file', or the picture itself.")
        return [*stored, await writer.finish()]

    def _too_large(self) -> UploadTooLarge:
        return UploadTooLarge(f"The request is larger than {self.limits.max_bytes} bytes.")


class RawBody:
    """Parser of a body that is one picture, which is complete at the end of the body."""

    complete, ended, fault = 0, False, None

    def feed(self, chunk: bytes) -> list[Piece]:
        """Return the chunk as a piece of picture 0."""
        return [(0, chunk)]

    def end(self) -> None:
        """Nothing to check."""


class PictureWriter:
    """Writes one picture in chunks of 256 KiB, each in a thread. The file is created with the first write, so that slow
    clients hold none; a picture of at most one chunk takes one call in a thread.
    """

    def __init__(self, uploads: Uploads, resources: ExitStack) -> None:
        """`resources` closes the file."""
        self._uploads, self._spool, self._resources = uploads, uploads.spool, resources
        self._file: SpoolFile | None = None
        self._size = 0
        self._buffer = bytearray()
        self._digest = hashlib.sha256() if uploads.hashed else None

    async def add(self, data: bytes) -> None:
        """Append. Raises UploadTooLarge or StorageUnavailable."""
        self._size += len(data)
        if self._size > self._uploads.max_part_bytes:
            raise UploadTooLarge(f"A part of the request is larger than {self._uploads.max_part_bytes} bytes.")
        self._buffer += data
        if len(self._buffer) >= CHUNK:
            buffer, self._buffer = self._buffer, bytearray()
            await self._open().write(buffer)
            if self._digest:
                await self._spool.threads.run(self._digest.update, buffer)

    def finish(self) -> Awaitable[SpoolFile]:
        """Write the rest, inspect the picture and return its file. Raises StorageUnavailable."""
        return self._spool.threads.run(self._complete)

    def _complete(self) -> SpoolFile:
        file = self._open()
        file.complete(self._buffer)
        if self._digest:
            self._digest.update(self._buffer)
            file.digest = self._digest.digest()
        if self._uploads.inspect:
            try:
                self._uploads.inspect(file.path)
            except FaceattrError as fault:
                file.fault = fault
        return file

    def _open(self) -> SpoolFile:
        if self._file is None:
            self._file = self._spool.open()
            self._resources.callback(self._file.close)
        return self._file
