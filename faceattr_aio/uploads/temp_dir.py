"""Folders that only one process uses and that nobody has to clean up after a kill: each is locked while its maker
lives, and the next maker sweeps away what is not. Knows not what lies in them.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_LOCK = "lock"


class TempDir:
    """A new private folder in `parent`, whose name begins with `prefix`; those of makers that are gone are removed.
    Raises OSError.
    """

    def __init__(self, parent: Path, prefix: str) -> None:
        sweep(parent, prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        new = self.path / f"{_LOCK}.new"
        self._lock = _lock(new, os.O_CREAT | os.O_RDWR)
        new.rename(self.path / _LOCK)  # what a sweep finds is locked already

    def close(self) -> None:
        """Removes the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def sweep(parent: Path, prefix: str) -> None:
    """Removes the folders whose makers are gone."""
    for lock in parent.glob(f"{prefix}*/{_LOCK}"):
        with suppress(OSError):
            os.close(_lock(lock, os.O_RDWR))
            shutil.rmtree(lock.parent, ignore_errors=True)


def _lock(path: Path, flags: int) -> int:
    """The descriptor of a file that is ours now. Raises OSError when another process holds it."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
