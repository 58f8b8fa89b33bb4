"""Takes the readings that nothing tells of by itself, twice a second; and finds out how late the event loop is, which
is how long everybody waits for their turn. Knows not what is read.
"""

import asyncio
import resource
import time
from pathlib import Path

from faceattr_aio.telemetry.metrics import Metrics

_PERIOD_S = 0.5


async def watch(metrics: Metrics) -> None:
    """Until it is cancelled."""
    while True:
        metrics.sample()
        due = time.monotonic() + _PERIOD_S
        await asyncio.sleep(_PERIOD_S)
        metrics.tell_lag(max(0.0, time.monotonic() - due))


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
