"""What a server with two workers holds in memory, all its processes together (PSS: shared pages are split), after it
has worked; and what a thousand idle connections add.

python -m bench.memory
"""

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from bench.openloop import post, saturate, session
from bench.overload import PICTURE, TYPE
from bench.served import Server, start_server

MOST_MB = {"process": 260.0, "thread": 170.0}
CONNECTIONS, MOST_IDLE_MB = 1000, 20.0
WARM_UP_S = 3.0


def proportional(pid: int) -> int:
    """Bytes of a process's memory, of what it shares its share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def held_mb(server: Server) -> float:
    return sum(proportional(pid) for pid in (server.pid, *server.descendants())) / 1e6


async def measure(server: Server) -> tuple[float, float]:
    """MB after work, and those that idle connections add."""
    async with session() as client:
        ask = partial(post, client, f"{server.url}/analyze", PICTURE.read_bytes(), TYPE)
        await saturate(ask, 4, WARM_UP_S)
    worked, parts = held_mb(server), urlsplit(server.url)
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            stack.callback(writer.transport.abort)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" in await reader.readuntil(b"\r\n\r\n")
        return worked, held_mb(server) - worked


def main() -> int:
    kept = True
    for pool, most in MOST_MB.items():
        with tempfile.TemporaryDirectory() as folder:
            server = start_server(Path(folder), f"[inference]\nworkers = 2\npool = '{pool}'\n", {})
            try:
                worked, idle = uvloop.run(measure(server))
            finally:
                server.kill()
        print(f"{pool}: {worked:.0f} MB (bound {most:.0f}), {CONNECTIONS} idle connections {idle:.1f} MB more")
        kept = kept and worked < most and idle < MOST_IDLE_MB
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
