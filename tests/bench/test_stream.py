"""What measures a stream: that it runs, and that what it is to show is so."""

import pytest

from bench import stream
from bench.served import UNCACHED
from tests.conftest import StartServer

pytestmark = pytest.mark.pixels


async def test_a_stream_holds_no_memory_and_no_slot(start: StartServer) -> None:
    server = start(f"{UNCACHED}[inference]\nworkers = {stream.WORKERS}\n")
    streamed, rate = await stream.measure(server, 200, 0.5)
    assert streamed.answered == 200
    assert streamed.first_s < streamed.seconds / 10
    assert streamed.growth_mb < stream.MOST_GROWTH_MB
    assert streamed.slots == 0
    assert rate > 0
    assert len(list(stream.report(streamed, rate))) == 2
