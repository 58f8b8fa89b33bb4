"""A server under load of which a worker is killed every second, and sometimes all at once: whether every other request
is answered, whether /readyz is correct, and whether memory or descriptors grow.

    python -m bench.killing --seconds 30

Exit status 1: a target was missed.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import uvloop
from aiohttp import ClientSession

from bench.load.overload import FAILED, PICTURE, TYPE, served
from bench.load.soak import settle
from bench.support.openloop import Record, offer, post, session
from bench.support.served import UNCACHED, Server, descendants, resident

RATE, WORKERS = 30.0, 2
SETTINGS = f"{UNCACHED}[inference]\nworkers = {WORKERS}\nlimit = 16\n"
ALL_OF = 5
"""Every fifth time, all workers are killed at once."""
BACK_S, MOST_GROWTH = 5.0, 8 << 20
"""Seconds until it is ready again after the last kill; most bytes that the server's own process may grow by."""
READY, FAILURE = 200, "500"


@dataclass
class Seen:
    """Outcomes of the requests, the number of killed workers, and the state of the server."""

    record: Record = field(default_factory=Record)
    killed: int = 0
    untrue: int = 0
    not_ready: int = 0
    back: bool = False
    grown: int = 0
    descriptors: int = 0


def forking(server: Server) -> int:
    """The id of the process that forks the workers; call it while there are workers."""
    return next(pid for pid in server.children() if descendants(pid))


async def kill(fork_server: int, seen: Seen, seconds: float) -> None:
    for number in range(1, int(seconds)):
        await asyncio.sleep(1.0)
        workers = descendants(fork_server)
        for pid in workers if number % ALL_OF == 0 else random.sample(workers, min(1, len(workers))):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                seen.killed += 1


async def watch(fork_server: int, server: Server, client: ClientSession, seen: Seen) -> None:
    """Count false `ready` responses: ready, although there was no worker before and after the request."""
    while True:
        before = descendants(fork_server)
        ready = await is_ready(server, client)
        seen.not_ready += not ready
        seen.untrue += ready and not before and not descendants(fork_server)
        await asyncio.sleep(0.02)


async def is_ready(server: Server, client: ClientSession) -> bool:
    async with client.get(f"{server.url}/readyz") as response:
        return response.status == READY


async def comes_back(fork_server: int, server: Server, client: ClientSession) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(BACK_S):
            while len(descendants(fork_server)) < WORKERS or not await is_ready(server, client):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)
            return True
    return False


async def measure(seconds: float) -> Seen:
    seen = Seen()
    with served(SETTINGS) as server:
        fork_server, descriptors = forking(server), server.descriptors()
        async with session() as client:
            ask = partial(post, client, f"{server.url}/analyze", PICTURE.read_bytes(), TYPE)
            await offer(ask, RATE, max(2.0, seconds / 5))  # until memory is stable
            held = resident(server.pid)
            watching = asyncio.create_task(watch(fork_server, server, client, seen))
            seen.record, _ = await asyncio.gather(offer(ask, RATE, seconds), kill(fork_server, seen, seconds))
            watching.cancel()
            seen.back = await comes_back(fork_server, server, client)
            seen.grown = resident(server.pid) - held
        seen.descriptors = await settle(server, descriptors)
    return seen


def report(seen: Seen) -> Iterator[tuple[str, bool]]:
    """Lines, each with whether its target is met."""
    counts = seen.record.counts
    unexpected = {outcome for outcome in seen.record.unexpected() if outcome != FAILURE}
    yield ", ".join(f"{outcome}: {count}" for outcome, count in sorted(counts.items())), not unexpected
    yield f"{seen.killed} workers killed, {counts[FAILURE]} requests failed", counts[FAILURE] <= seen.killed
    yield f"not ready {seen.not_ready} times, ready without a worker {seen.untrue} times", not seen.untrue
    yield f"ready again within {BACK_S:g} s: {'yes' if seen.back else 'no'}", seen.back
    yield f"memory of the server grew by {seen.grown / 1e6:.1f} MB", seen.grown < MOST_GROWTH
    yield f"remaining descriptors: {seen.descriptors}", seen.descriptors <= 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.killing")
    parser.add_argument("--seconds", type=float, default=30.0)
    kept = True
    for line, good in report(uvloop.run(measure(parser.parse_args().seconds))):
        print(line if good else f"{line}   <-- target missed")
        kept = kept and good
    return 0 if kept else FAILED


if __name__ == "__main__":
    sys.exit(main())
