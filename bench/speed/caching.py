"""The gain of a cached result: CPU time of a hit compared with a miss, goodput with and without a cache for pictures in
a Zipf distribution, and the latency while Redis is stopped.

    python -m bench.caching --seconds 10

Exit status 1: a hit is less than 20 times cheaper, or a request failed or took too long while Redis was stopped.
"""

import argparse
import base64
import hashlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from aiohttp import ClientSession

from bench.load.overload import PICTURE, TYPE
from bench.support.openloop import Record, post, saturate, session
from bench.support.served import QUIET, UNCACHED, Server, cpu_s, server_core, start_program, start_server

FAILED = 1
LEAST_TIMES = 20.0
PICTURES, EXPONENT = 2000, 1.1
"""Number of pictures, and the exponent of their Zipf distribution: the nth most frequent has the weight n ** -1.1."""
WAIT_S = 0.02
"""`cache.timeout_s`, the longest wait for Redis."""
STOPPED_S = 10.0
_WORKER = "[inference]\nworkers = 1\nlimit = 8\n"
_MEMORY = f"{_WORKER}[cache]\nentries = {PICTURES}\n"
_NONE = _WORKER + UNCACHED
_CLIENTS = 2
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""Resolution of the CPU clock of a process; a smaller cost counts as this."""


def picture(number: int) -> bytes:
    """A picture that looks the same for every number and has a different hash: bytes after the end of a JPEG are not
    read.
    """
    return PICTURE.read_bytes() + number.to_bytes(8, "big")


@contextmanager
def served(settings: str) -> Iterator[Server]:
    with server_core() as core, tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("w") as log:
        server = start_server(Path(name), settings, QUIET, {core}, log)
        try:
            yield server
        finally:
            server.kill()


def spent_s(server: Server) -> float:
    """CPU seconds that the server and its workers have used."""
    return sum(map(cpu_s, (server.pid, *server.descendants())))


async def cost_s(server: Server, number: int, ask: Callable[[ClientSession, int], Coroutine[Any, Any, str]]) -> float:
    """CPU seconds for each of `number` requests, sent one after another."""
    async with session() as client:
        before = spent_s(server)
        for one in range(number):
            assert await ask(client, one) == "200"
        return max(_TICK_S, spent_s(server) - before) / number


async def costs(server: Server, number: int) -> tuple[float, float, float]:
    """CPU seconds of a miss, of a hit after the upload, and of a hit by `Content-Digest`."""
    url = f"{server.url}/analyze"

    async def send(client: ClientSession, one: int) -> str:
        return await post(client, url, picture(one), TYPE)

    async def send_digest(client: ClientSession, one: int) -> str:
        digest = base64.b64encode(hashlib.sha256(picture(one)).digest()).decode()
        headers = {"Content-Type": TYPE, "Content-Digest": f"sha-256=:{digest}:"}
        async with client.post(url, data=picture(one), headers=headers) as response:
            await response.read()
            return str(response.status)

    return (
        await cost_s(server, number, send),
        await cost_s(server, number, send),
        await cost_s(server, number, send_digest),
    )


async def zipf(server: Server, seconds: float) -> tuple[float, float]:
    """Goodput, and the share of cache hits, of clients that never pause."""
    chance, hits, asked = np.random.default_rng(1), 0, 0
    shares = 1 / np.arange(1, PICTURES + 1) ** EXPONENT
    shares /= shares.sum()

    async with session() as client:

        async def ask() -> str:
            nonlocal hits, asked
            body = picture(int(chance.choice(PICTURES, p=shares)))
            async with client.post(f"{server.url}/analyze", data=body, headers={"Content-Type": TYPE}) as response:
                await response.read()
                asked += 1
                hits += "hit" in response.headers.get("Cache-Status", "")
                return str(response.status)

        record = await saturate(ask, _CLIENTS, seconds)
    return record.counts["200"] / seconds, hits / max(1, asked)


@contextmanager
def redis() -> Iterator[Server]:
    """Start a Redis server. Raises FileNotFoundError without redis-server."""
    program = shutil.which("redis-server")
    if program is None:
        raise FileNotFoundError("redis-server is not installed")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("w") as log:
        command = [program, "--port", str(port), "--save", "", "--appendonly", "no"]
        server = start_program(command, f"redis://127.0.0.1:{port}/0", Path(name), {}, set(), log)
        try:
            yield server
        finally:
            server.kill_all()


async def stopped(server: Server, store: Server, seconds: float) -> tuple[Record, Record]:
    """Outcomes before, and while Redis is stopped."""
    numbers = iter(range(10**9))
    async with session() as client:

        async def ask() -> str:
            return await post(client, f"{server.url}/analyze", picture(next(numbers) // 2), TYPE)  # each picture twice

        before = await saturate(ask, _CLIENTS, seconds)
        os.kill(store.pid, signal.SIGSTOP)
        try:
            return before, await saturate(ask, _CLIENTS, seconds)
        finally:
            os.kill(store.pid, signal.SIGCONT)


def measure_stopped(seconds: float) -> tuple[Record, Record]:
    with ExitStack() as stack:
        store = stack.enter_context(redis())
        settings = f"{_WORKER}[cache]\nbackend = 'redis'\nurl = '{store.url}'\ntimeout_s = {WAIT_S}\n"
        server = stack.enter_context(served(settings))
        return uvloop.run(stopped(server, store, seconds))


def report_costs(pictures: int) -> bool:
    """Measure and print the costs. Return whether a hit is at least LEAST_TIMES cheaper."""
    with served(_MEMORY) as server:
        miss, hit, digest_hit = uvloop.run(costs(server, pictures))
    print(f"a miss costs {miss * 1e3:.2f} ms of CPU, a hit {hit * 1e3:.2f} ({miss / hit:.0f} times less),")
    print(f"a hit by its digest {digest_hit * 1e3:.2f} ({miss / digest_hit:.0f} times less)")
    return miss / hit >= LEAST_TIMES


def report_zipf(seconds: float) -> None:
    rates = []
    for name, settings in (("no cache", _NONE), ("cache in memory", _MEMORY)):
        with served(settings) as server:
            rate, share = uvloop.run(zipf(server, seconds))
        rates.append(rate)
        print(f"{PICTURES} pictures in a Zipf distribution ({EXPONENT:g}), {name}: {rate:.1f}/s, {share:.0%} hits")
    print(f"ratio: {rates[1] / rates[0]:.2f}")


def report_stopped(seconds: float) -> bool:
    """Measure and print the outcomes. Return whether all requests were answered, at most WAIT_S later."""
    before, meanwhile = measure_stopped(seconds)
    p99, later = before.ms("200", 99), meanwhile.ms("200", 99)
    print(f"Redis stopped for {seconds:g} s: {dict(meanwhile.counts)},")
    print(f"P99 {p99:.1f} ms before and {later:.1f} ms during the stop")
    return meanwhile.counts.keys() == {"200"} and later - p99 < WAIT_S * 1e3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.caching")
    parser.add_argument("--seconds", type=float, default=STOPPED_S, help="duration of each measurement")
    parser.add_argument("--pictures", type=int, default=300, help="pictures for the cost of a hit and of a miss")
    chosen = parser.parse_args(arguments)
    is_cheap = report_costs(chosen.pictures)
    report_zipf(chosen.seconds)
    return 0 if report_stopped(chosen.seconds) and is_cheap else FAILED


if __name__ == "__main__":
    sys.exit(main())
