"""Measures the share of the machine that other programs use during a measurement, from /proc/stat."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from bench.support.served import descendants

QUIET_ENOUGH = 0.05
"""Largest share of the machine that other programs may use during a valid measurement."""
_LOOK_S = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")
T = TypeVar("T")


class Others:
    """The share of all cores' time, 0 to 1, that was used since the object was made by other programs than this process
    and its children. Time of the hypervisor counts.
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
    """Wait until other programs are quiet, but at most `patience_s`, and measure; repeat up to `tries` times while they
    were not. Return the result and the share of other programs.
    """
    for left in reversed(range(tries)):
        await_quiet(patience_s)
        others, found = Others(), measure()
        if (share := others.share) <= QUIET_ENOUGH or not left:
            return found, share
    raise ValueError("Measure at least once.")


def await_quiet(patience_s: float) -> None:
    """Return when other programs used little of the last second, or when the time is over."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        others = Others()
        time.sleep(_LOOK_S)
        if others.share <= QUIET_ENOUGH:
            return


def _machine_s() -> tuple[float, float]:
    """Seconds of all cores together: busy, and in total."""
    ticks = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = sum(ticks[3:5])
    return (sum(ticks) - idle) / _TICKS, sum(ticks) / _TICKS


def _ours_s() -> float:
    """CPU seconds of this process, its children, and those of them that have ended."""
    return sum(_process_s(pid) for pid in (os.getpid(), *descendants(os.getpid())))


def _process_s(pid: int) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:15]) / _TICKS
    return 0.0
