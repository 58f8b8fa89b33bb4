"""Requests a second of one and of two serving processes, over many kept connections and over few. The pipeline does
nothing, so that the event loop is the bottleneck.

    python -m bench.processes --rounds 4 --seconds 1.5

The load needs one of the cores. On one core, two processes share it and the load has the other; on two, they have both,
and the load, which costs a fifteenth of what they cost, takes its part of the second. The figure that applies to other
machines is the CPU time for each request.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import NamedTuple

import uvloop

from bench.load.overload import PICTURE, TYPE
from bench.support.served import PATIENCE_S, QUIET, Server, cpu_s, server_core, start_server
from bench.support.sleeper import SLEEP
from bench.support.wire import connections, saturate, upload

PROCESSES, CORES, CONNECTIONS = (1, 2), (1, 2), (2, 4, 32)
POOLS = ("thread", "process")
REQUEST = upload("/sleep", PICTURE.read_bytes(), TYPE)
SETTINGS = f"""
{SLEEP}seconds = 0
[inference]
workers = 2
limit = {2 * 2 * max(CONNECTIONS)}
"""
"""The settings of the pool and of the processes are appended."""
Point = tuple[str, int, int]
"""Pool, cores, processes."""
FORMATS = (".0f", ".2f", ".2f", ".2f", "g")
"""Formats of the fields of Measured."""
_LOOK_S = 0.01


class Measured(NamedTuple):
    """Requests a second; milliseconds of CPU for each request, of all serving processes, of all worker processes, and
    of the load; and the connections of the process with the most.
    """

    rate: float
    serving_ms: float
    workers_ms: float
    load_ms: float
    most: float


async def fullest(server: Server, idle: Sequence[int], connections: int) -> int:
    """Connections of the process with the most, once all are open and those of the last measurement are closed. `idle`
    is the server's `spread` without connections.
    """
    async with asyncio.timeout(PATIENCE_S):
        while sum(now := server.spread()) != sum(idle) + connections:  # noqa: ASYNC110  # the state of another process
            await asyncio.sleep(_LOOK_S)
    return max(taken - before for taken, before in zip(now, idle, strict=True))


def _spent(server: Server) -> list[float]:
    """Milliseconds of CPU so far: of the serving processes, the workers and this process."""
    serving = server.serving()
    workers = set(server.descendants()).difference(serving)
    return [sum(map(cpu_s, serving)) * 1e3, sum(map(cpu_s, workers)) * 1e3, time.process_time() * 1e3]


async def measure(server: Server, idle: Sequence[int], number: int, seconds: float) -> Measured:
    async with connections(server.url, REQUEST, number) as opened:
        most = await fullest(server, idle, number)
        before, began = _spent(server), time.perf_counter()
        counts = await saturate(opened, seconds)
        spent = time.perf_counter() - began
        serving, workers, load = (now - then for now, then in zip(_spent(server), before, strict=True))
    done = counts["200"]
    assert set(counts) == {"200"}, f"not all requests were answered: {counts}"
    return Measured(done / spent, serving / done, workers / done, load / done, most)


@contextmanager
def started(settings: str, cores: set[int] | None = None) -> Iterator[Server]:
    """Start a server; all its processes have ended afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        server = start_server(Path(folder), settings, QUIET, cores)
        try:
            yield server
        finally:
            server.kill_all()


async def measure_all(rounds: int, seconds: float, pools: Sequence[str] = POOLS) -> dict[Point, list[list[Measured]]]:
    """The rounds of each point; each round measures every number of connections."""
    measured: dict[Point, list[list[Measured]]] = {}
    with server_core() as core:
        second = min(os.sched_getaffinity(0))
        for pool, cores, processes in [*product(pools, CORES, PROCESSES)] * rounds:
            settings = f"{SETTINGS}pool = '{pool}'\n[server]\nprocesses = {processes}\n"
            with started(settings, {core, second} if cores > 1 else {core}) as server:
                idle = server.spread()
                one = [await measure(server, idle, number, seconds) for number in CONNECTIONS]
            measured.setdefault((pool, cores, processes), []).append(one)
    return measured


def report(measured: Mapping[Point, Sequence[Sequence[Measured]]]) -> Iterator[str]:
    """A Markdown table: medians over the rounds, a figure for each number of connections. CPU is for one request."""
    rates = f"requests/s: {', '.join(map(str, CONNECTIONS))} connections"
    yield f"| pool | cores | processes | {rates} | serving, ms | workers, ms | load, ms | most on one process |"
    yield "|---|---|---|---|---|---|---|---|"
    for point, rounds in measured.items():
        of_each = [map(median, zip(*seen, strict=True)) for seen in zip(*rounds, strict=True)]
        figures = zip(FORMATS, zip(*of_each, strict=True), strict=True)
        cells = (", ".join(f"{one:{form}}" for one in each) for form, each in figures)
        yield f"| {' | '.join([*map(str, point), *cells])} |"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.processes")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.5, help="duration of each measurement")
    chosen = parser.parse_args(arguments)
    for line in report(uvloop.run(measure_all(chosen.rounds, chosen.seconds))):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
