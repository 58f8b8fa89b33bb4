"""What a known result saves, how much that is when some pictures come more often than others, and what a Redis costs
that stands still: CPU of a hit against a miss, goodput with and without a cache for a load after Zipf, and waiting
while Redis is stopped.

    python -m bench.caching --seconds 10

Exit status 1: a hit is not 20 times cheaper, or a request failed or waited too long while Redis stood still.
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
"""How many there are, and how unevenly they come: the nth most frequent as often as 1 / n to that power."""
WAIT_S = 0.02
"""`cache.timeout_s`: longer nobody waits for Redis."""
STOPPED_S = 10.0
_WORKER = "[inference]\nworkers = 1\nlimit = 8\n"
_MEMORY = f"{_WORKER}[cache]\nentries = {PICTURES}\n"
_NONE = _WORKER + UNCACHED
_CLIENTS = 2
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""What the clock of a process can tell; less counts as so much."""


def picture(number: int) -> bytes:
    """The same to the eye for every number, and another one to a hash: what is behind the end of a JPEG is not read."""
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
    """CPU of the server and its workers so far."""
    return sum(map(cpu_s, (server.pid, *server.descendants())))


async def cost_s(server: Server, number: int, ask: Callable[[ClientSession, int], Coroutine[Any, Any, str]]) -> float:
    """CPU seconds of each of so many requests, of which one comes after the other."""
    async with session() as client:
        before = spent_s(server)
        for one in range(number):
            assert await ask(client, one) == "200"
        return max(_TICK_S, spent_s(server) - before) / number


async def costs(server: Server, number: int) -> tuple[float, float, float]:
    """Of a miss, of a hit that was sent, and of a hit whose digest was told."""
    url = f"{server.url}/analyze"

    async def send(client: ClientSession, one: int) -> str:
        return await post(client, url, picture(one), TYPE)

    async def tell(client: ClientSession, one: int) -> str:
        digest = base64.b64encode(hashlib.sha256(picture(one)).digest()).decode()
        headers = {"Content-Type": TYPE, "Content-Digest": f"sha-256=:{digest}:"}
        async with client.post(url, data=picture(one), headers=headers) as response:
            await response.read()
            return str(response.status)

    return await cost_s(server, number, send), await cost_s(server, number, send), await cost_s(server, number, tell)


async def zipf(server: Server, seconds: float) -> tuple[float, float]:
    """Goodput, and the share that was known, of clients that never pause."""
    chance, known, asked = np.random.default_rng(1), 0, 0
    shares = 1 / np.arange(1, PICTURES + 1) ** EXPONENT
    shares /= shares.sum()

    async with session() as client:

        async def ask() -> str:
            nonlocal known, asked
            body = picture(int(chance.choice(PICTURES, p=shares)))
            async with client.post(f"{server.url}/analyze", data=body, headers={"Content-Type": TYPE}) as response:
                await response.read()
                asked += 1
                known += "hit" in response.headers.get("Cache-Status", "")
                return str(response.status)

        record = await saturate(ask, _CLIENTS, seconds)
    return record.counts["200"] / seconds, known / max(1, asked)


@contextmanager
def redis() -> Iterator[Server]:
    """A real one. Raises FileNotFoundError without redis-server."""
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
    """What clients saw before, and while Redis stood still."""
    numbers = iter(range(10**9))
    async with session() as client:

        async def ask() -> str:
            return await post(client, f"{server.url}/analyze", picture(next(numbers) // 2), TYPE)  # each twice

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


def tell_costs(pictures: int) -> bool:
    """Whether a hit is as cheap as it should be."""
    with served(_MEMORY) as server:
        miss, hit, told = uvloop.run(costs(server, pictures))
    print(f"a miss costs {miss * 1e3:.2f} ms of CPU, a hit {hit * 1e3:.2f} ({miss / hit:.0f} times less),")
    print(f"a hit whose digest is told {told * 1e3:.2f} ({miss / told:.0f} times less)")
    return miss / hit >= LEAST_TIMES


def tell_zipf(seconds: float) -> None:
    rates = []
    for name, settings in (("without a cache", _NONE), ("with one in memory", _MEMORY)):
        with served(settings) as server:
            rate, share = uvloop.run(zipf(server, seconds))
        rates.append(rate)
        print(f"{PICTURES} pictures after Zipf ({EXPONENT:g}) {name}: {rate:.1f}/s, {share:.0%} were known")
    print(f"that is {rates[1] / rates[0]:.2f} times as many")


def tell_stopped(seconds: float) -> bool:
    """Whether nobody failed, or waited longer than for Redis."""
    before, meanwhile = measure_stopped(seconds)
    p99, later = before.ms("200", 99), meanwhile.ms("200", 99)
    print(f"Redis stands still for {seconds:g} s: {dict(meanwhile.counts)},")
    print(f"P99 {p99:.1f} ms before and {later:.1f} ms meanwhile")
    return meanwhile.counts.keys() == {"200"} and later - p99 < WAIT_S * 1e3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.caching")
    parser.add_argument("--seconds", type=float, default=STOPPED_S, help="of each measurement")
    parser.add_argument("--pictures", type=int, default=300, help="for what a hit and a miss cost")
    chosen = parser.parse_args(arguments)
    is_cheap = tell_costs(chosen.pictures)
    tell_zipf(chosen.seconds)
    return 0 if tell_stopped(chosen.seconds) and is_cheap else FAILED


if __name__ == "__main__":
    sys.exit(main())
