"""Temporary files for uploads, limited in their total size. Where the system supports O_TMPFILE the files have no name,
so that none is left after SIGKILL; elsewhere they are in a locked private directory that the next start removes.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar, TypeVarTuple

from aiofiles.threadpool import wrap

from faceattr_aio.errors import FaceattrError, StartError, StorageUnavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_PREFIX = "faceattr-spool-"
_BUFFER = 1 << 16
_TRIAL = 1 << 16
"""Bytes that `find_fault` writes."""


class IoThreads(ThreadPoolExecutor):
    """Threads for blocking calls on files. A cancelled call is awaited, so that no file is closed under it."""

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call `work` in a thread. A caller that is cancelled is resumed only when the thread has finished."""
        working = asyncio.get_running_loop().run_in_executor(self, work, *args)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait({working})
            raise


class SpoolFile:
    """One stored upload. Any process of the same user can open `path` until `close`.

    Buffered, because closing then waits for a write that runs in a thread: otherwise the descriptor could be reused and
    the write go to the file of another client. `close` leaves that wait to a thread.
    """

    def __init__(self, file: BinaryIO, path: Path, spool: "Spool") -> None:
        self.path = path
        self.size = 0
        """Bytes written."""
        self.fault: FaceattrError | None = None
        """Reason why the picture in the file is refused."""
        self.digest = b""
        """SHA-256 of the complete file, when it was requested."""
        self._file = file
        self._spool = spool
        self._writing = False

    async def write(self, data: bytes | bytearray) -> None:
        """Append. Raises StorageUnavailable when the spool or the disk is full."""
        self._reserve(len(data))
        self._writing = True  # stays set when the caller is cancelled, because the thread goes on writing
        with _storing():
            await wrap(self._file, executor=self._spool.threads).write(data)
        self._writing = False

    def complete(self, data: bytes | bytearray) -> None:
        """Append the last bytes in the calling thread and flush, so that a reader of `path` gets the whole file.

        Raises StorageUnavailable.
        """
        self._reserve(len(data))
        with _storing():
            self._file.write(data)
            self._file.flush()

    def close(self) -> None:
        """Delete the file and release its bytes. Call once, when the work on the file or its upload has ended."""
        self._spool.release(self.size)
        if self._writing:
            with suppress(RuntimeError):  # the threads were shut down, which waited for their writes
                self._spool.threads.submit(self._close)
                return
        self._close()

    def _reserve(self, size: int) -> None:
        self._spool.reserve(size)
        self.size += size

    def _close(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._spool.unlink(self.path)


class Spool:
    """Files in `directory` (default: the temporary directory of the system) of at most `max_bytes` in total."""

    def __init__(self, directory: Path | None, max_bytes: int, threads: IoThreads) -> None:
        self.threads = threads
        self.used = 0
        """Bytes reserved by open files."""
        self.max_bytes = max_bytes
        self._counting = threading.Lock()
        self._directory = directory or Path(tempfile.gettempdir())
        self._private: TempDir | None = None

    def start(self) -> None:
        """Select unnamed files, or named ones where those are not supported. Raises StartError when both fail."""
        try:
            if not self._supports_unnamed():
                self._private = TempDir(self._directory, _PREFIX)
        except OSError as error:
            raise StartError(f"Uploads cannot be stored in {self._directory}: {error.strerror}.") from error

    def open(self) -> SpoolFile:
        """Create an empty file. Raises StorageUnavailable."""
        with _storing():
            return SpoolFile(*self._open(), self)

    async def find_fault(self) -> str | None:
        """Write a file as a trial and return the reason when that fails."""
        try:
            await self.threads.run(self._try)
        except StorageUnavailable as error:
            return error.detail
        return None

    def reserve(self, size: int) -> None:
        """Count bytes before they are written; thread-safe. Raises StorageUnavailable above the limit."""
        with self._counting:
            if self.used + size > self.max_bytes:
                raise StorageUnavailable("The space for uploads is full; try again shortly.")
            self.used += size

    def release(self, size: int) -> None:
        """Uncount bytes of a closed file; thread-safe."""
        with self._counting:
            self.used -= size

    def unlink(self, path: Path) -> None:
        """Remove the name of a closed file, if it has one."""
        if self._private:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the private directory, if there is one."""
        if self._private:
            self._private.close()

    def _try(self) -> None:
        with closing(self.open()) as file:
            file.complete(bytes(_TRIAL))

    def _supports_unnamed(self) -> bool:
        try:
            file, path = self._open()
        except (OSError, AttributeError):  # no O_TMPFILE in this file system, or in this operating system
            return False
        with file:
            return path.exists()

    def _open(self) -> tuple[BinaryIO, Path]:
        if self._private:
            descriptor, name = tempfile.mkstemp(dir=self._private.path)
        else:
            descriptor = os.open(self._directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            name = f"/proc/{os.getpid()}/fd/{descriptor}"
        return os.fdopen(descriptor, "w+b", _BUFFER), Path(name)


@contextmanager
def _storing() -> Iterator[None]:
    """Replace an OSError by StorageUnavailable."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable.from_exception(error, f"The upload could not be stored: {error.strerror}.") from error


_LOCK = "lock"


class TempDir:
    """A new private directory in `parent` with a name that begins with `prefix`. Raises OSError."""

    def __init__(self, parent: Path, prefix: str) -> None:
        sweep(parent, prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        new = self.path / f"{_LOCK}.new"
        self._lock = _lock(new, os.O_CREAT | os.O_RDWR)
        new.rename(self.path / _LOCK)  # so that `sweep` in another process never finds the file unlocked

    def close(self) -> None:
        """Remove the directory and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def sweep(parent: Path, prefix: str) -> None:
    """Remove the directories of processes that have ended."""
    for lock in parent.glob(f"{prefix}*/{_LOCK}"):
        with suppress(OSError):
            os.close(_lock(lock, os.O_RDWR))
            shutil.rmtree(lock.parent, ignore_errors=True)


def _lock(path: Path, flags: int) -> int:
    """Open and lock a file and return its descriptor. Raises OSError when another process holds the lock."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
