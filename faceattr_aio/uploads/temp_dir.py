"""Temporary directories that are removed even after SIGKILL: each holds a file that is locked while its process runs,
and every new directory first removes those with a free lock.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

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
