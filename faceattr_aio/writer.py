"""Pieces of one picture become a file of the spool, within its limit of bytes. Never holds more than a chunk of it in
memory. Knows neither where the pieces come from nor what is looked for in them.
"""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from faceattr_aio.errors import FaceattrError, UploadTooLarge
from faceattr_aio.spool import Spool, SpoolFile

CHUNK = 1 << 18
"""Bytes in one write: 256 KiB are ten times faster than 8 KiB."""
Inspect = Callable[[Path], None]
"""Looks at a stored picture, in a thread. Raises FaceattrError to refuse it."""


def take_anything(_: Path) -> None:
    """Refuses nothing."""


class Writer:
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
