"""How much of the machine other programs took while we measured, by the system's own count. Knows nothing of what is
measured.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from bench.support.served import descendants

QUIET_ENOUGH = 0.05
"""The share of the machine that others may take of a measurement that is to tell something."""
_LOOK_S = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")
T = TypeVar("T")


class Others:
    """From its making on: the share of all cores' time that neither we nor those whom we started took, 0 to 1. What the
    hypervisor took counts.
    """

    def __init__(self) -> None:
        self._busy, self._all = _machine_s()
        self._ours = _ours_s()

    @property
    def share(self) -> float:
        busy, everything = _machine_s()
        taken = busy - self._busy - (_ours_s() - self._ours)
        return max(0.0, taken) / max(1e-9, everything - self._all)


def undisturbed(measure: Callable[[], T], tries: int, patience_s: float = 0.0) -> tuple[T, float]:
    """Waits so long at most until others are quiet, and measures again, so many times at most, while they were not; and
    the share that they took.
    """
    for left in reversed(range(tries)):
        await_quiet(patience_s)
        others, found = Others(), measure()
        if (share := others.share) <= QUIET_ENOUGH or not left:
            return found, share
    raise ValueError("Measure at least once.")


def await_quiet(patience_s: float) -> None:
    """Returns when others took little of the last second, or when the time is over."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        others = Others()
        time.sleep(_LOOK_S)
        if others.share <= QUIET_ENOUGH:
            return


def _machine_s() -> tuple[float, float]:
    """Seconds of all cores together: at work, and in all."""
    ticks = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = sum(ticks[3:5])
    return (sum(ticks) - idle) / _TICKS, sum(ticks) / _TICKS


def _ours_s() -> float:
    """CPU seconds of ours, of those whom we started, and of those among them that have ended."""
    return sum(_process_s(pid) for pid in (os.getpid(), *descendants(os.getpid())))


def _process_s(pid: int) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:15]) / _TICKS
    return 0.0
