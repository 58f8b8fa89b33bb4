"""Room on disk for uploads while they are worked on. Files have no name where the system allows it (O_TMPFILE), so
that nothing is left even after a kill; elsewhere they live in a locked private folder, swept at the next start.
"""

import os
import tempfile
import threading
from collections.abc import Awaitable
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

from aiofiles.threadpool import wrap

from faceattr_aio.errors import FaceattrError, StartError, StorageUnavailable
from faceattr_aio.uploads.temp_dir import TempDir
from faceattr_aio.uploads.threads import IoThreads

_PREFIX = "faceattr-spool-"
_BUFFER = 1 << 16
_TRIAL = 1 << 16
"""Bytes written to see whether there is room."""


class SpoolFile:
    """One upload on disk. `path` can be opened by any process of the same user until `close`.

    Buffered, because closing then waits for a write that is under way in a thread: otherwise the descriptor could be
    used again and the write end up in another client's file. The loop does not wait: a thread does.
    """

    def __init__(self, file: BinaryIO, path: Path, spool: "Spool") -> None:
        self.path = path
        self.size = 0
        self.fault: FaceattrError | None = None
        """Why what is in it is refused."""
        self.digest = b""
        """The SHA-256 of what is in it, once it is complete, if somebody wanted to know."""
        self._file = file
        self._spool = spool
        self._writing = False

    async def write(self, data: bytes | bytearray) -> None:
        """Appends. Raises StorageUnavailable when the spool is full or the disk is."""
        self._reserve(len(data))
        await self._in_thread(wrap(self._file, executor=self._spool.threads).write(data))

    def close(self) -> None:
        """Gives the bytes back. Call it once, when the work on the file is over, or the upload was given up."""
        self._spool.give_back(self.size)
        if not self._writing:
            self._close()
            return
        try:
            self._spool.threads.submit(self._close)
        except RuntimeError:  # the threads have ended, and their writes with them
            self._close()

    def complete(self, data: bytes | bytearray) -> None:
        """Appends the last there will be, in the calling thread, and makes all of it visible to readers of `path`.
        Raises StorageUnavailable.
        """
        self._reserve(len(data))
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise _unavailable(error) from error

    def _reserve(self, size: int) -> None:
        self._spool.reserve(size)
        self.size += size

    async def _in_thread(self, operation: Awaitable[object]) -> None:
        """Remembers an operation whose caller was cancelled: its thread goes on."""
        self._writing = True
        try:
            await operation
        except OSError as error:
            raise _unavailable(error) from error
        self._writing = False

    def _close(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._spool.forget(self.path)


class Spool:
    """Files in `folder` (the system's temporary folder by default), at most `max_bytes` bytes together."""

    def __init__(self, folder: Path | None, max_bytes: int, threads: IoThreads) -> None:
        self.threads = threads
        self.used = 0
        self.max_bytes = max_bytes
        self._counting = threading.Lock()
        self._folder = folder or Path(tempfile.gettempdir())
        self._private: TempDir | None = None
        self._open = self._open_unnamed

    def start(self) -> None:
        """Finds out which kind of file the folder allows. Raises StartError when it allows none."""
        try:
            if not self._unnamed_works():
                self._make_private()
        except OSError as error:
            raise StartError(f"Uploads cannot be stored in {self._folder}: {error.strerror}.") from error

    def open(self) -> SpoolFile:
        """A new empty file. Raises StorageUnavailable."""
        try:
            file, path = self._open()
        except OSError as error:
            raise _unavailable(error) from error
        return SpoolFile(file, path, self)

    async def find_fault(self) -> str | None:
        """Why nothing can be stored at the moment, found out by trying it."""
        try:
            await self.threads.run(self._try)
        except StorageUnavailable as error:
            return error.detail
        return None

    def reserve(self, size: int) -> None:
        """Counts bytes about to be written. Raises StorageUnavailable when there would be too many."""
        with self._counting:
            if self.used + size > self.max_bytes:
                raise StorageUnavailable("Too many uploads are being worked on; try again shortly.")
            self.used += size

    def give_back(self, size: int) -> None:
        """Counts bytes that are gone; called from any thread."""
        with self._counting:
            self.used -= size

    def forget(self, path: Path) -> None:
        """Removes the name of a closed file, if it has one."""
        if self._private is not None:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Removes what is ours."""
        if self._private is not None:
            self._private.close()

    def _try(self) -> None:
        with closing(self.open()) as file:
            file.complete(bytes(_TRIAL))

    def _unnamed_works(self) -> bool:
        try:
            file, path = self._open_unnamed()
        except (OSError, AttributeError):  # a file system, or a system, without O_TMPFILE
            return False
        with file:
            return path.exists()

    def _make_private(self) -> None:
        self._private = TempDir(self._folder, _PREFIX)
        self._open = self._open_named

    def _open_unnamed(self) -> tuple[BinaryIO, Path]:
        descriptor = os.open(self._folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "w+b", _BUFFER), Path(f"/proc/{os.getpid()}/fd/{descriptor}")

    def _open_named(self) -> tuple[BinaryIO, Path]:
        assert self._private is not None
        descriptor, name = tempfile.mkstemp(dir=self._private.path)
        return os.fdopen(descriptor, "w+b", _BUFFER), Path(name)


def _unavailable(error: OSError) -> StorageUnavailable:
    return StorageUnavailable.from_exception(error, f"The upload could not be stored: {error.strerror}.")
