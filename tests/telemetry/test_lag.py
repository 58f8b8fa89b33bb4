import asyncio
import time

from faceattr_aio.telemetry.lag import resident, watch
from faceattr_aio.telemetry.metrics import Metrics
from tests.telemetry.test_metrics import value


async def test_a_loop_that_is_held_up_is_seen_to_be_late_and_readings_are_taken() -> None:
    metrics, taken = Metrics(), asyncio.Event()
    metrics.watch("reading", "Any.", lambda: taken.set() or 7.0)  # type: ignore[func-returns-value]  # for its effect
    watching = asyncio.create_task(watch(metrics))
    await asyncio.wait_for(taken.wait(), 30)
    taken.clear()
    time.sleep(0.8)  # noqa: ASYNC251  # what nobody should do
    async with asyncio.timeout(30):
        await taken.wait()
    watching.cancel()
    assert (value(metrics, "faceattr_event_loop_lag_seconds_sum") or 0) >= 0.25
    assert value(metrics, "faceattr_event_loop_lag_seconds_count") == 1
    assert value(metrics, "reading") == 7


def test_memory_is_in_bytes() -> None:
    before = resident()
    ballast = bytearray(b"x" * (64 << 20))
    assert 60 << 20 <= resident() - before < 200 << 20
    del ballast
