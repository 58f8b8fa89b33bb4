"""A long run at one and a half times the capacity, with clients that disconnect, send slowly or send invalid pictures:
whether memory grows, descriptors and files remain, and every answer is documented.

    python -m bench.soak --minutes 10

Exit status 1: memory grew, descriptors remained, or an answer was not documented.
"""

import argparse
import asyncio
import io
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import linear_regression
from urllib.parse import urlsplit

import uvloop
from aiohttp import ClientSession, FormData
from tqdm import trange

from bench.faults.hostile import HOSTILE, connection, dribble, send, slow_heads
from bench.load.overload import FAILED, PICTURE, SETTINGS, TYPE, served
from bench.support.openloop import Ask, offer, post, saturate, session
from bench.support.served import Server

LOAD = 1.5
MOST_GROWTH = 1.0
"""MB a minute, of the server and all its workers together, after the first two minutes."""
SETTLING_S, SAMPLE_S, QUIET_S = 120.0, 2.0, 60.0
SLICE_S = 10.0
LEFT = "left"
DOCUMENTED = {"200", "400", "408", "413", "415", "422", "503", "504", LEFT}
SLOW_CLIENTS = 20
TINY_CHUNKS = next(hostile for hostile in HOSTILE if "chunks of one byte" in hostile.name)


@dataclass
class Seen:
    """The outcomes, and samples of (seconds, bytes of memory of the server and its workers)."""

    counts: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, int]] = field(default_factory=list)

    def growth(self, settling_s: float) -> float:
        """MB a minute, by linear regression."""
        settled = [(at, held) for at, held in self.memory if at >= settling_s]
        slope, _ = linear_regression(*zip(*settled, strict=True))
        return float(slope) * 60 / 1e6


def bad_pictures() -> Iterator[bytes]:
    good = PICTURE.read_bytes()
    yield b""
    yield b"<html>no picture</html>"
    yield good[: len(good) // 2]
    yield b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    yield b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f" + (0x0FFF_FFFF).to_bytes(4, "little") + bytes(9)
    yield random.Random(1).randbytes(50_000)
    yield bytes(21 << 20)


async def leave(url: str, sent: float) -> str:
    """Close the connection after a share `sent` of the upload."""
    path, body = urlsplit(url).path, PICTURE.read_bytes()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    async with connection(url) as writer:
        writer.write(head.encode() + body[: round(len(body) * sent)])
        await asyncio.sleep(random.uniform(0, 0.1))
    return LEFT


def mixed(client: ClientSession, url: str) -> Ask:
    """A client with valid requests in seven cases of ten; in the others it disconnects or sends an invalid picture."""
    good, bad, tiny_chunks = PICTURE.read_bytes(), list(bad_pictures()), TINY_CHUNKS.make()

    async def ask() -> str:
        match random.randrange(40):
            case 0:
                return str(await asyncio.to_thread(send, url, TINY_CHUNKS, tiny_chunks))
            case 1 | 2 | 3 | 4:
                return await leave(url, random.choice((0.0, 0.5, 0.99, 1.0)))
            case 5 | 6 | 7 | 8:
                return await post(client, url, io.BytesIO(random.choice(bad)), TYPE)
            case 9 | 10 | 11 | 12:
                return await post(client, url, FormData({"image": io.BytesIO(good)}))
            case _:
                return await post(client, url, good, TYPE)

    return ask


async def sample(server: Server, seen: Seen) -> None:
    began = time.monotonic()
    while True:
        await asyncio.sleep(SAMPLE_S)
        seen.memory.append((time.monotonic() - began, sum(server.memory().values())))


async def soak(server: Server, seconds: float) -> Seen:
    """Run all clients at the same time, in slices of ten seconds."""
    url, seen, end = f"{server.url}/analyze", Seen(), asyncio.Event()
    async with session() as client, asyncio.TaskGroup() as tasks:
        good = partial(post, client, url, PICTURE.read_bytes(), TYPE)
        capacity = (await saturate(good, 2, min(5.0, seconds))).counts["200"] / min(5.0, seconds)
        slow = [tasks.create_task(dribble(server.url, end, head)) for head in slow_heads("/analyze", SLOW_CLIENTS)]
        sampling = tasks.create_task(sample(server, seen))
        for _ in trange(
            max(1, round(seconds / SLICE_S)), unit_scale=SLICE_S, unit="s", desc=f"{LOAD * capacity:.0f}/s"
        ):
            seen.counts += (await offer(mixed(client, url), LOAD * capacity, SLICE_S)).counts
        sampling.cancel()
        end.set()
        await asyncio.wait(slow)
    return seen


async def settle(server: Server, descriptors: int) -> int:
    """Descriptors in excess of those at the start, once the bodies of refused requests have been read."""
    patience = time.monotonic() + QUIET_S
    while server.descriptors() > descriptors and time.monotonic() < patience:  # noqa: ASYNC110  # another process
        await asyncio.sleep(0.1)
    return max(0, server.descriptors() - descriptors)  # fewer than at the start is not a leak


async def measure(seconds: float) -> tuple[Seen, int]:
    """The outcomes, and the number of remaining descriptors."""
    with served(SETTINGS) as server:
        descriptors = server.descriptors()
        return await soak(server, seconds), await settle(server, descriptors)


def report(seen: Seen, left: int, settling_s: float) -> Iterator[tuple[str, bool]]:
    """Lines, each with whether its target is met."""
    growth = seen.growth(settling_s)
    undocumented = {outcome: count for outcome, count in seen.counts.items() if outcome not in DOCUMENTED}
    yield ", ".join(f"{outcome}: {count}" for outcome, count in sorted(seen.counts.items())), True
    yield f"undocumented answers: {undocumented or 'none'}", not undocumented
    yield f"memory {seen.memory[-1][1] / 1e6:.0f} MB, growth {growth:.2f} MB a minute", growth < MOST_GROWTH
    yield f"remaining descriptors: {left}", left == 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args(arguments).minutes
    seen, left = uvloop.run(measure(minutes * 60))
    kept = True
    for line, good in report(seen, left, min(SETTLING_S, minutes * 60 / 5)):
        print(line if good else f"{line}   <-- target missed")
        kept = kept and good
    return 0 if kept else FAILED


if __name__ == "__main__":
    sys.exit(main())
