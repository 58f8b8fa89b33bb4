"""A stream of pictures over one request to the real server: time to the first answer, rate of the others, memory of the
server's process, and slots in use during a pause of the client. Also the rate of the same pictures, one request each.

    python -m bench.stream --pictures 1000

Exit status 1: memory grew with the number of pictures, or a slot was in use during a pause.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from bench.load.overload import PICTURE, TYPE
from bench.support.openloop import post, saturate, session
from bench.support.served import QUIET, UNCACHED, Server, start_server
from faceattr_aio.client import Client
from faceattr_aio.schemas import Answer

MOST_GROWTH_MB = 10.0
WARM_UP = 50
"""Pictures, after which buffers and heaps have reached their size."""
PAUSES, PAUSE_S = 3, 0.5
WORKERS = 2
_POLL_S = 0.005


@dataclass
class Streamed:
    """Results of one stream: seconds to the first and to the last answer, without the pauses; bytes of the server's own
    process before and at most; the most slots in use at the end of a pause.
    """

    pictures: int
    answered: int = 0
    first_s: float = 0.0
    seconds: float = 0.0
    before: int = 0
    most: int = 0
    slots: int = 0

    @property
    def growth_mb(self) -> float:
        return (self.most - self.before) / 1e6


async def slots(server: Server) -> int:
    """Number of slots in use."""
    async with session() as client, client.get(f"{server.url}/stats") as response:
        document = await response.json()
    return int(document["in_flight"])


async def stream(server: Server, pictures: int) -> Streamed:
    """Send the same picture `pictures` times, with pauses, after a stream to warm up."""
    picture, streamed = PICTURE.read_bytes(), Streamed(pictures)
    async with Client(server.url) as client:
        async for _ in client.stream([picture] * WARM_UP):
            pass
        streamed.before = server.memory()[server.pid]
        server.forget_peak()
        began, paused = time.perf_counter(), 0.0

        async def camera() -> AsyncIterator[bytes]:
            nonlocal paused
            for number in range(pictures):
                if number and number % (pictures // (PAUSES + 1)) == 0:
                    while streamed.answered < number:  # noqa: ASYNC110  # earlier pictures are still in progress
                        await asyncio.sleep(_POLL_S)
                    since = time.perf_counter()
                    await asyncio.sleep(PAUSE_S)
                    streamed.slots = max(streamed.slots, await slots(server))
                    paused += time.perf_counter() - since
                yield picture

        async for outcome in client.stream(camera()):
            assert isinstance(outcome, Answer), outcome.detail
            streamed.answered += 1
            streamed.first_s = streamed.first_s or time.perf_counter() - began
    streamed.seconds = time.perf_counter() - began - paused
    streamed.most = server.peak()
    return streamed


async def apart(server: Server, seconds: float) -> float:
    """Pictures a second, one request each, of as many closed-loop clients as a stream has pictures in progress."""
    async with session() as client:
        ask = partial(post, client, f"{server.url}/analyze", PICTURE.read_bytes(), TYPE)
        record = await saturate(ask, 2 * WORKERS, seconds)
    return record.counts["200"] / seconds


async def measure(server: Server, pictures: int, seconds: float) -> tuple[Streamed, float]:
    return await stream(server, pictures), await apart(server, seconds)


def report(streamed: Streamed, rate: float) -> Iterator[str]:
    yield (
        f"{streamed.answered} of {streamed.pictures} answered, the first after {streamed.first_s * 1e3:.0f} ms, "
        f"{streamed.answered / streamed.seconds:.1f} a second; one request each: {rate:.1f} a second"
    )
    yield (
        f"the server's own process used {streamed.before / 1e6:.1f} MB before and at most {streamed.most / 1e6:.1f} MB "
        f"(limit: {MOST_GROWTH_MB:.0f} MB more); slots in use after {PAUSE_S:g} s of pause: {streamed.slots}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="duration of the measurement with one request for each picture"
    )
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = start_server(Path(folder), f"{UNCACHED}[inference]\nworkers = {WORKERS}\n", QUIET)
        try:
            streamed, rate = uvloop.run(measure(server, parsed.pictures, parsed.seconds))
        finally:
            server.kill()
    print("\n".join(report(streamed, rate)))
    return 0 if streamed.growth_mb < MOST_GROWTH_MB and streamed.slots == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
