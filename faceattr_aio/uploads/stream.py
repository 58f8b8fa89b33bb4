"""A body without an end: its pictures one after another, each in a file of its own as soon as it is complete, and no
more of it read than is asked for. Bounds each picture, never the whole. Knows neither HTTP nor what the files are for.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from faceattr_aio.errors import FaceattrError, NoImage, StorageUnavailable, UploadTimeout, UploadTooLarge
from faceattr_aio.uploads.multipart import UnboundedMultipart
from faceattr_aio.uploads.receive import Pieces, RawBody, Uploads, is_multipart
from faceattr_aio.uploads.spool import SpoolFile

_MOST_SKIPPED = 4
"""So many times the largest picture may be read for one: what is too large, and what is skipped."""
_LOOK_AGAIN_S = 0.02


@dataclass(frozen=True)
class StreamedPicture:
    """What has come of a picture; `held` closes its file."""

    held: ExitStack
    stored: SpoolFile | None = None
    refusal: FaceattrError | None = None

    @property
    def fault(self) -> FaceattrError | None:
        """Why it is refused."""
        return self.stored.fault if self.stored else self.refusal

    @property
    def picture(self) -> SpoolFile:
        """Where it is, unless it is refused."""
        assert self.stored
        return self.stored


class _Body(Pieces, Protocol):
    """A body that tells how many pictures are complete, and whether more can come."""

    complete: int
    ended: bool


class _One(RawBody):
    """A body that is one picture, which is complete when no more comes."""

    complete = 0
    ended = False


class _Picture:
    """One that is arriving. What is wrong with it is told once all of it has come."""

    def __init__(self, uploads: Uploads) -> None:
        self.held = ExitStack()
        self._writer = uploads.writer(self.held)
        self._most = uploads.limits.max_part_bytes
        self._fault: FaceattrError | None = None

    async def add(self, data: bytes) -> None:
        if self._fault:
            return
        try:
            await self._writer.add(data, self._most)
        except (UploadTooLarge, StorageUnavailable) as fault:
            self._fail(fault)

    async def finish(self) -> StreamedPicture:
        try:
            stored = None if self._fault else await self._writer.finish()
        except StorageUnavailable as fault:
            self._fail(fault)
            stored = None
        return StreamedPicture(self.held, stored, self._fault)

    def _fail(self, fault: FaceattrError) -> None:
        self._fault = fault.without_traceback()
        self.held.close()


class StreamingUpload:
    """The pictures of one body."""

    def __init__(self, uploads: Uploads, chunks: AsyncIterator[bytes], content_type: str) -> None:
        """Raises MalformedUpload when `content_type` has no usable boundary."""
        limits = uploads.limits
        self._uploads, self._chunks = uploads, chunks
        self._body: _Body = (
            UnboundedMultipart(content_type, limits.max_parts, limits.max_header_bytes)
            if is_multipart(content_type)
            else _One()
        )
        self._current: _Picture | None = None
        self._number = 0
        """Of pictures that have arrived."""
        self._waited, self._received = 0.0, 0
        """Seconds and bytes since the last of them, or since the next one began."""
        self._waiting: asyncio.Timeout | None = None
        self._stopped: FaceattrError | None = None

    def stop(self, reason: FaceattrError) -> None:
        """Reads no more: after what is complete comes `reason`."""
        self._stopped = reason
        if self._waiting and not self._waiting.expired():
            self._waiting.reschedule(0)

    async def pictures(self) -> AsyncGenerator[StreamedPicture]:
        """Each as soon as it is complete, and nothing is read while nobody asks for it. Close what each holds.

        Raises what is wrong with the body from there on: MalformedUpload, TooManyParts, UploadTooLarge, UploadTimeout;
        NoImage when there was none at all; and why it was stopped, if it was.
        """
        try:
            while not self._body.ended and (chunk := await self._next_chunk()) is not None:
                for number, data in self._body.feed(chunk):
                    if number > self._number:
                        yield await self._finish()
                    await self._add(data)
                if self._body.complete > self._number:
                    yield await self._finish()
            self._body.end()
            if self._current:
                yield await self._finish()
        finally:
            if self._current:
                self._current.held.close()
        if not self._number:
            raise NoImage("The request has no picture: send parts named 'image' or 'file'.")

    async def _add(self, data: bytes) -> None:
        if self._current is None:
            await self._wait_for_room()
            self._current = _Picture(self._uploads)
            self._waited, self._received = 0.0, 0
        await self._current.add(data)

    async def _finish(self) -> StreamedPicture:
        assert self._current
        arrival = await self._current.finish()
        self._current = None
        self._number += 1
        self._waited, self._received = 0.0, 0
        return arrival

    async def _wait_for_room(self) -> None:
        """On disk, for the largest picture."""
        spool, most = self._uploads.spool, self._uploads.limits.max_part_bytes
        while spool.used and spool.used + most > spool.max_bytes:  # noqa: ASYNC110  # given back in threads
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _next_chunk(self) -> bytes | None:
        """A picture is waited for as long as an upload is; once it has begun, it has to come as fast as one."""
        if self._received > _MOST_SKIPPED * self._uploads.limits.max_part_bytes:
            raise UploadTooLarge("Too many bytes came for one picture, or between two.")
        began = asyncio.get_running_loop().time()
        chunk = await self._wait_for_chunk()
        self._waited += asyncio.get_running_loop().time() - began if self._received else 0.0
        self._received += len(chunk or b"")
        return chunk

    async def _wait_for_chunk(self) -> bytes | None:
        if self._stopped:
            raise self._stopped
        limits = self._uploads.limits
        try:
            async with asyncio.timeout(self._patience_s() - self._waited) as self._waiting:
                return await anext(self._chunks, None)
        except TimeoutError as error:
            raise self._stopped or UploadTimeout(
                f"No picture came for {limits.timeout_s:g} s, or one came slower than {limits.min_rate} bytes a second."
            ) from error
        finally:
            self._waiting = None

    def _patience_s(self) -> float:
        uploads = self._uploads
        if self._current and self._received:
            return uploads.time_allowed_s(self._received)
        return uploads.time_allowed_s(0, grace_s=uploads.limits.timeout_s)
