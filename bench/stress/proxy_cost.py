"""Measures the CPU time of nginx for a request to an instance behind it, with the portrait, on another core than the
instance's.
"""

import tempfile
from functools import partial
from pathlib import Path

import uvloop

from bench.load.overload import PICTURE, TYPE
from bench.stress.balancer import balanced
from bench.support.openloop import post, saturate, session
from bench.support.served import QUIET, Server, server_core, start_server
from bench.support.sleeper import SLEEP

_CLIENTS = 4
_SETTINGS = f"[inference]\nworkers = 4\nlimit = 16\npool = 'thread'\n{SLEEP}"


def request_cpu_s(seconds: float) -> float:
    """CPU seconds of nginx for a request. Raises FileNotFoundError without nginx."""
    with tempfile.TemporaryDirectory() as name, server_core() as core, (Path(name) / "log").open("w") as log:
        server = start_server(Path(name), _SETTINGS, QUIET, {core}, log)
        try:
            with balanced([server.url], "least_conn", Path(name), set()) as proxy:
                return uvloop.run(_measure(proxy, seconds))
        finally:
            server.kill_all()


async def _measure(proxy: Server, seconds: float) -> float:
    async with session() as client:
        ask = partial(post, client, f"{proxy.url}/sleep", PICTURE.read_bytes(), TYPE)
        await saturate(ask, _CLIENTS, seconds / 4)
        before, record = proxy.cpu_s(), await saturate(ask, _CLIENTS, seconds)
        return (proxy.cpu_s() - before) / record.counts["200"]
