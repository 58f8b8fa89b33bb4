"""A gate made of two named pipes, at which workers in any process wait, and which tells how many have arrived."""

import os
import select
from pathlib import Path

PATIENCE_S = 30.0


class Gate:
    """`folder` is the setting `gate` of `tests.support.pipelines:Trick`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._bar, self._bell = folder / "bar", folder / "bell"
        for pipe in (self._bar, self._bell):
            os.mkfifo(pipe)
        self._arrivals = os.open(self._bell, os.O_RDWR)

    def wait_for(self, workers: int) -> None:
        """Returns when so many have come to the gate."""
        for _ in range(workers):
            ready, _, _ = select.select([self._arrivals], [], [], PATIENCE_S)
            assert ready, "no worker came to the gate"
            os.read(self._arrivals, 1)

    def somebody_came(self) -> bool:
        """Whether one more has rung than was waited for; also those ring who find the gate open."""
        return bool(select.select([self._arrivals], [], [], 0)[0])

    def open(self) -> None:
        """Lets everybody through, for good."""
        if not self._bar.exists():
            return
        bar = os.open(self._bar, os.O_RDWR)
        self._bar.unlink()
        os.write(bar, b"." * 1024)
        os.close(bar)

    def close(self) -> None:
        """Nobody is waited for any longer, and nobody waits."""
        self.open()
        self._bell.unlink()
        os.close(self._arrivals)


def stop_at(folder: Path) -> None:
    """The worker's side: rings, and waits until the gate is open."""
    bar, bell = folder / "bar", folder / "bell"
    waiting = os.open(bar, os.O_RDWR) if bar.exists() else None
    if not bell.exists():  # the test is over
        return
    with bell.open("wb", buffering=0) as arrivals:
        arrivals.write(b".")
    if waiting is not None:
        os.read(waiting, 1)
        os.close(waiting)
