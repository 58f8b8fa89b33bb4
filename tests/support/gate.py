"""A gate of two named pipes: workers in any process wait at it, and the test counts those that arrive."""

import os
import select
from pathlib import Path

PATIENCE_S = 30.0


class Gate:
    """`folder` is the setting `gate` of `tests.support.pipelines:Trick`. A new gate is closed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._bar, self._bell = folder / "bar", folder / "bell"
        for pipe in (self._bar, self._bell):
            os.mkfifo(pipe)
        self._arrivals = os.open(self._bell, os.O_RDWR)

    def wait_for(self, workers: int) -> None:
        """Wait until this number of workers has arrived; fail after PATIENCE_S for one worker."""
        for _ in range(workers):
            ready, _, _ = select.select([self._arrivals], [], [], PATIENCE_S)
            assert ready, "no worker arrived at the gate"
            os.read(self._arrivals, 1)

    def has_arrival(self) -> bool:
        """Whether a worker has arrived that `wait_for` has not counted. Workers at an open gate count as well."""
        return bool(select.select([self._arrivals], [], [], 0)[0])

    def open(self) -> None:
        """Let all workers through until `shut` is called."""
        if not self._bar.exists():
            return
        bar = os.open(self._bar, os.O_RDWR)
        self._bar.unlink()
        os.write(bar, b"." * 1024)
        os.close(bar)

    def shut(self) -> None:
        """Hold workers again, and discard the count of those that have arrived."""
        if not self._bar.exists():
            os.mkfifo(self._bar)
        while self.has_arrival():
            os.read(self._arrivals, 1024)

    def close(self) -> None:
        """Open the gate and remove its pipes."""
        self.open()
        self._bell.unlink()
        os.close(self._arrivals)


def stop_at(folder: Path) -> None:
    """Report the arrival of a worker and wait until the gate is open. Runs in the worker."""
    bar, bell = folder / "bar", folder / "bell"
    waiting = os.open(bar, os.O_RDWR) if bar.exists() else None
    if not bell.exists():  # the test has ended
        return
    with bell.open("wb", buffering=0) as arrivals:
        arrivals.write(b".")
    if waiting is not None:
        os.read(waiting, 1)
        os.close(waiting)
