"""The cost of kept connections that are spread unevenly over serving processes, each with its own workers and slots:
the share of refusals while another process has free slots, and the share of the workers' capacity that is used. Each
connection is a client that waits for its answer; a refused client retries after the time of one picture. A pipeline
sleeps instead of working, so that the number of cores does not matter.

    python -m bench.uneven --draws 10 --seconds 1
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from statistics import mean
from typing import NamedTuple

import uvloop

from bench.speed.processes import PROCESSES, REQUEST, fullest, started
from bench.support.served import Server
from bench.support.sleeper import SLEEP
from bench.support.wire import connections, saturate

PICTURE_S, WORKERS, LIMIT = 0.05, 2, 8
CONNECTIONS = (2, 4, 6, 8)
"""No more than there are slots, so that all could be admitted."""
SETTINGS = f"""
{SLEEP}seconds = {PICTURE_S}
[inference]
workers = {WORKERS}
limit = {LIMIT}
pool = "thread"
"""
Point = tuple[int, int]
"""Connections, processes."""


class Draw(NamedTuple):
    """One set of connections: the share of refused requests, the used share of the capacity that the workers have for
    that many clients, and the connections of the process with the most.
    """

    refused: float
    done: float
    most: int


async def draw(server: Server, idle: Sequence[int], number: int, seconds: float) -> Draw:
    async with connections(server.url, REQUEST, number) as opened:
        most, began = await fullest(server, idle, number), time.perf_counter()
        counts = await saturate(opened, seconds, PICTURE_S)
        spent = time.perf_counter() - began
    assert set(counts) <= {"200", "503"}, f"unexpected outcomes: {counts}"
    possible = min(number, WORKERS) / PICTURE_S * spent
    return Draw(counts["503"] / counts.total(), counts["200"] / possible, most)


async def measure_all(draws: int, seconds: float) -> dict[Point, list[Draw]]:
    measured: dict[Point, list[Draw]] = {}
    for processes in PROCESSES:
        with started(f"{SETTINGS}[server]\nprocesses = {processes}\n") as server:
            idle = server.spread()
            for _, number in product(range(draws), CONNECTIONS):
                measured.setdefault((number, processes), []).append(await draw(server, idle, number, seconds))
    return measured


def report(measured: Mapping[Point, Sequence[Draw]]) -> Iterator[str]:
    """A Markdown table: means over the draws, and the worst of them."""
    yield "| connections | processes | most on one process | refused: mean, worst | used capacity: mean, worst |"
    yield "|---|---|---|---|---|"
    for (number, processes), draws in sorted(measured.items()):
        refused, done, most = zip(*draws, strict=True)
        yield (
            f"| {number} | {processes} | {mean(most):.1f} | {mean(refused):.0%}, {max(refused):.0%} "
            f"| {mean(done):.0%}, {min(done):.0%} |"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.uneven")
    parser.add_argument("--draws", type=int, default=10, help="sets of connections for each row")
    parser.add_argument("--seconds", type=float, default=1.0, help="duration of each")
    chosen = parser.parse_args(arguments)
    for line in report(uvloop.run(measure_all(chosen.draws, chosen.seconds))):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
