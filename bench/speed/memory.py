"""Memory of a server with one or two workers after work, all its processes together, and of a thousand idle
connections. Shared pages are split among processes (PSS), also with other programs: run it alone.

python -m bench.memory
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from bench.load.overload import PICTURE, TYPE
from bench.support.openloop import post, saturate, session
from bench.support.served import QUIET, UNCACHED, Server, start_server

MOST_MB = {("process", 2): 260.0, ("process", 1): 200.0, ("thread", 2): 170.0, ("thread", 1): 135.0}
CONNECTIONS, MOST_IDLE_MB = 1000, 20.0
WARM_UP_S = 3.0


async def worked_mb(server: Server) -> float:
    """MB after some seconds of work."""
    async with session() as client:
        ask = partial(post, client, f"{server.url}/analyze", PICTURE.read_bytes(), TYPE)
        await saturate(ask, 4, WARM_UP_S)
    return server.proportional() / 1e6


@asynccontextmanager
async def idle_connection(url: str) -> AsyncIterator[None]:
    """Open a connection that has been answered once and is kept open."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" in await reader.readuntil(b"\r\n\r\n")
    yield
    writer.transport.abort()


async def idle_mb(server: Server) -> float:
    """MB that idle connections add, measured before any work, which would leave free heap memory for them."""
    before, open_before = server.proportional(), server.descriptors()
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            await stack.enter_async_context(idle_connection(server.url))
        assert server.descriptors() - open_before >= CONNECTIONS
        return (server.proportional() - before) / 1e6


def measure(pool: str, workers: int, figure: Callable[[Server], Coroutine[None, None, float]]) -> float:
    """Measure `figure` on a new server."""
    with tempfile.TemporaryDirectory() as folder:
        settings = f"{UNCACHED}[inference]\nworkers = {workers}\npool = '{pool}'\n"
        server = start_server(Path(folder), settings, QUIET)
        try:
            return uvloop.run(figure(server))
        finally:
            server.kill()


def main() -> int:
    argparse.ArgumentParser(prog="python -m bench.memory").parse_args()
    kept = True
    for (pool, workers), most in MOST_MB.items():
        worked, idle = measure(pool, workers, worked_mb), measure(pool, workers, idle_mb)
        print(f"{workers} {pool}: {worked:.0f} MB (limit {most:.0f}), {CONNECTIONS} idle connections add {idle:.1f} MB")
        kept = kept and worked < most and idle < MOST_IDLE_MB
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
