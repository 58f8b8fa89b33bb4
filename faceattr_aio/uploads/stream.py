"""Receive a request body of unlimited length: return each picture when it is complete, and read no more than the caller
asks for. The limits apply to each picture.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack

from faceattr_aio.errors import FaceattrError, NoImage, StorageUnavailable, UploadTimeout, UploadTooLarge
from faceattr_aio.uploads.receive import PictureWriter, Uploads
from faceattr_aio.uploads.spool import SpoolFile

_MAX_READ = 4
"""Limit on the bytes read for one picture, skipped bytes included, as a multiple of the largest picture."""
_POLL_S = 0.02
"""Seconds between two checks for free space."""


class StreamedPicture:
    """One picture of a streamed upload. `resources` closes its file, `fault` is the reason when it is refused.

    A picture that is too large or cannot be stored is read to its end and then returned with its fault.
    """

    def __init__(self, uploads: Uploads) -> None:
        self.resources = ExitStack()
        self.fault: FaceattrError | None = None
        self.picture: SpoolFile
        """The file of a complete picture without a fault."""
        self._writer = PictureWriter(uploads, self.resources)

    async def add(self, data: bytes) -> None:
        """Append to the file."""
        if self.fault is None:
            try:
                await self._writer.add(data)
            except (UploadTooLarge, StorageUnavailable) as fault:
                self._refuse(fault)

    async def finish(self) -> None:
        """Complete the file and set `fault`."""
        if self.fault is None:
            try:
                self.picture = await self._writer.finish()
                self.fault = self.picture.fault
            except StorageUnavailable as fault:
                self._refuse(fault)

    def _refuse(self, fault: FaceattrError) -> None:
        self.fault = fault.without_traceback()
        self.resources.close()


class StreamingUpload:
    """The pictures of one body."""

    def __init__(self, uploads: Uploads, chunks: AsyncIterator[bytes], content_type: str) -> None:
        """Raises MalformedUpload when `content_type` has no valid boundary."""
        self._uploads, self._chunks = uploads, chunks
        self._parser = uploads.make_parser(content_type, max_batch=None)
        self._current: StreamedPicture | None = None
        self._number = 0
        """Pictures returned so far."""
        self._waited, self._received = 0.0, 0
        """Seconds waited and bytes received since the last picture ended or the current one began."""
        self._timer: asyncio.Timeout | None = None
        self._stopped: FaceattrError | None = None

    def stop(self, reason: FaceattrError) -> None:
        """Stop reading: `pictures` returns the complete pictures and then raises `reason`."""
        self._stopped = reason
        if self._timer and not self._timer.expired():
            self._timer.reschedule(0)

    async def pictures(self) -> AsyncGenerator[StreamedPicture]:
        """Return each picture when it is complete. Nothing is read in between. The caller closes its `resources`.

        Raises MalformedUpload, TooManyParts, UploadTooLarge or UploadTimeout for the rest of the body; NoImage when
        it has no picture; or the reason given to `stop`.
        """
        try:
            while not self._parser.ended and (chunk := await self._next_chunk()) is not None:
                for number, data in self._parser.feed(chunk):
                    if number > self._number:
                        yield await self._finish()
                    await self._add(data)
                if self._parser.complete > self._number:
                    yield await self._finish()
            self._parser.end()
            if self._current:
                yield await self._finish()
        finally:
            if self._current:
                self._current.resources.close()
        if not self._number:
            raise NoImage("The request has no picture: send parts named 'image' or 'file'.")

    async def _add(self, data: bytes) -> None:
        if self._current is None:
            await self._wait_for_space()
            self._current = StreamedPicture(self._uploads)
            self._waited, self._received = 0.0, 0
        await self._current.add(data)

    async def _finish(self) -> StreamedPicture:
        assert self._current
        await self._current.finish()
        finished, self._current = self._current, None
        self._number += 1
        self._waited, self._received = 0.0, 0
        return finished

    async def _wait_for_space(self) -> None:
        """Wait until the spool has space for the largest picture."""
        spool, max_bytes = self._uploads.spool, self._uploads.max_part_bytes
        while spool.used and spool.used + max_bytes > spool.max_bytes:  # noqa: ASYNC110  # released in threads
            await asyncio.sleep(_POLL_S)

    async def _next_chunk(self) -> bytes | None:
        """Wait up to `timeout_s` for a picture to begin; from then on the time limits of an upload apply."""
        if self._received > _MAX_READ * self._uploads.max_part_bytes:
            raise UploadTooLarge("Too many bytes were sent for one picture or between two pictures.")
        if self._stopped:
            raise self._stopped
        uploads, limits = self._uploads, self._uploads.limits
        allowed_s = (
            uploads.time_allowed_s(self._received)
            if self._current and self._received
            else uploads.time_allowed_s(0, grace_s=limits.timeout_s)
        )
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(allowed_s - self._waited) as self._timer:
                chunk = await anext(self._chunks, None)
        except TimeoutError as error:
            raise self._stopped or UploadTimeout(
                f"No picture came within {limits.timeout_s:g} s, or one was slower than {limits.min_rate} bytes per "
                "second."
            ) from error
        finally:
            self._timer = None
        if self._received:
            self._waited += asyncio.get_running_loop().time() - began
        self._received += len(chunk or b"")
        return chunk
