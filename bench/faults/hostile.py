"""Bodies that are made to block the event loop, and clients that send one byte a second: their effect on another
client.

    python -m bench.hostile --rounds 3

Exit status 1: another client waited too long, or lost too much of its goodput.
"""

import argparse
import asyncio
import gzip
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from statistics import median
from urllib.parse import urlsplit

import uvloop

from bench.load.overload import FAILED, PICTURE, SETTINGS, TYPE, served
from bench.support.openloop import post, saturate, session

LONGEST_STALL_MS = 50.0
LEAST_SHARE = 0.9
"""Least share of its goodput that a client keeps while slow clients are connected."""
SLOW_CLIENTS = 500
PATIENCE_S = 60.0
_MULTIPART = "Content-Type: multipart/form-data; boundary=b"
_PICTURE = "Content-Type: image/png"
_GZIP = "Content-Encoding: gzip"
_CHUNKED = "Transfer-Encoding: chunked"
_PART = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n'


@dataclass(frozen=True)
class Hostile:
    """A body, its header lines, and the expected status."""

    name: str
    headers: tuple[str, ...]
    make: Callable[[], bytes]
    status: int


def _chunked(data: bytes, size: int) -> bytes:
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _nested(depth: int) -> bytes:
    """A body in which each part declares to be a multipart body itself."""
    announce = _PART[3:-2] + b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n"
    return b"--b" + b"".join(announce % number + b"--b%d" % number for number in range(depth))


HOSTILE = (
    Hostile("100,000 parts", (_MULTIPART,), lambda: b"--b\r\n\r\n\r\n" * 100_000, 400),
    Hostile(
        "50 MB of newlines before the first part",
        (_MULTIPART, _CHUNKED),
        lambda: _chunked(b"\r\n" * 25_000_000, 1 << 16),
        413,
    ),
    Hostile(
        "50 MB of other bytes before the first part",
        (_MULTIPART, _CHUNKED),
        lambda: _chunked(b"x" * 50_000_000, 1 << 16),
        400,
    ),
    Hostile("400 nested parts", (_MULTIPART,), lambda: _nested(400), 400),
    Hostile("a million chunks of one byte", (_PICTURE, _CHUNKED), lambda: _chunked(bytes(1_000_000), 1), 400),
    Hostile(
        "the same, refused by its type",
        ("Content-Type: text/html", _CHUNKED),
        lambda: _chunked(bytes(1_000_000), 1),
        415,
    ),
    Hostile(
        "4 million boundary prefixes", (_MULTIPART,), lambda: _PART + b"\r\n--" * 4_000_000 + b"\r\n--b--\r\n", 415
    ),
    Hostile("a gigabyte in gzip", (_PICTURE, _GZIP), lambda: gzip.compress(bytes(1 << 28), 9) * 4, 415),
    Hostile("10 MB in a header of a part", (_MULTIPART,), lambda: b"--b\r\nA: " + b"x" * 10_000_000, 400),
    Hostile("10 MB in the name of a part's header", (_MULTIPART,), lambda: b"--b\r\n" + b"x" * 10_000_000, 400),
)


def send(url: str, hostile: Hostile, body: bytes) -> int:
    """The status of the answer; 0 if there is none. Blocks, so call it in a thread."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    length = () if _CHUNKED in hostile.headers else (f"Content-Length: {len(body)}",)
    head = "\r\n".join([f"POST {parts.path} HTTP/1.1", "Host: x", *hostile.headers, *length, "\r\n"]).encode()
    with socket.create_connection((parts.hostname, parts.port), PATIENCE_S) as connection:
        with suppress(ConnectionError):  # refused while the body is sent
            connection.sendall(head + body)
        with suppress(ConnectionError):
            return int(connection.recv(12)[9:12] or 0)
    return 0


async def watch(url: str, work: Awaitable[int]) -> tuple[int, float]:
    """The result of `work`, and the longest time in milliseconds that /livez took in the meantime."""
    task, worst = asyncio.ensure_future(work), 0.0
    async with session() as client:
        while not task.done():
            began = time.perf_counter()
            async with client.get(f"{url}/livez") as response:
                assert response.status == 200  # noqa: PLR2004
            worst = max(worst, time.perf_counter() - began)
            await asyncio.sleep(0.001)
    return await task, worst * 1e3


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[asyncio.StreamWriter]:
    """Open a plain connection, which is reset at the end."""
    parts = urlsplit(url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def dribble(url: str, end: asyncio.Event, head: bytes) -> None:
    """A client that sends a byte a second, and reconnects when the server closes the connection."""
    while not end.is_set():
        async with connection(url) as writer:
            writer.write(head)
            while not writer.is_closing() and not end.is_set():
                writer.write(b"x")
                with suppress(TimeoutError):
                    await asyncio.wait_for(end.wait(), 1.0)


def slow_heads(path: str, clients: int) -> Iterator[bytes]:
    """Half of the slow clients do not complete their headers, and half not their bodies."""
    start = f"POST {path} HTTP/1.1\r\nHost: x\r\n{_PICTURE}\r\nX-Slow: "
    for number in range(clients):
        yield (start if number % 2 else f"{start}yes\r\nContent-Length: 100000\r\n\r\n").encode()


async def share_beside_slow_clients(url: str, path: str, seconds: float) -> float:
    """Goodput of two clients next to the slow ones, as a share of their goodput without."""
    async with session() as client:
        ask = partial(post, client, url + path, PICTURE.read_bytes(), TYPE)
        alone = (await saturate(ask, 2, seconds)).counts["200"]
        end = asyncio.Event()
        async with asyncio.TaskGroup() as slow:
            for head in slow_heads(path, SLOW_CLIENTS):
                slow.create_task(dribble(url, end, head))
            beside = (await saturate(ask, 2, seconds)).counts["200"]
            end.set()
    return beside / alone


async def measure(rounds: int, seconds: float) -> bool:
    """Print the table. Return whether all targets are met."""
    kept = True
    with served(SETTINGS) as server:
        for hostile in HOSTILE:
            body, worst = hostile.make(), []
            for _ in range(rounds):
                status, stall = await watch(server.url, asyncio.to_thread(send, f"{server.url}/analyze", hostile, body))
                kept = kept and status == hostile.status
                worst.append(stall)
            kept = kept and median(worst) < LONGEST_STALL_MS
            print(f"{hostile.name:42} {status} longest wait of another client {median(worst):5.1f} ms", flush=True)
        shares = [await share_beside_slow_clients(server.url, "/analyze", seconds) for _ in range(rounds)]
    print(f"with {SLOW_CLIENTS} slow clients, others keep {median(shares):.0%} of their goodput")
    return kept and median(shares) >= LEAST_SHARE


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.hostile")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="duration of each measurement with and without slow clients"
    )
    chosen = parser.parse_args(arguments)
    return 0 if uvloop.run(partial(measure, chosen.rounds, chosen.seconds)()) else FAILED


if __name__ == "__main__":
    sys.exit(main())
