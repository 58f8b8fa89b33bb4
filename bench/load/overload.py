"""A server on one core at 1, 2, 4 and 8 times its capacity, with the load on another core: the goodput that remains,
the latency of accepted and of refused requests, and the CPU time of a refusal.

    python -m bench.overload --rounds 3 --seconds 10

Exit status 1: a target was missed; 3: the machine was too unsteady.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import IO

import uvloop

from bench.support.openloop import Record, offer, post, saturate, session
from bench.support.served import ROOT, UNCACHED, Server, server_core, start_server
from bench.support.sleeper import SLEEP

PICTURE, TYPE = ROOT / "docs" / "astronaut.jpg", "image/jpeg"
MULTIPLES = (1, 2, 4, 8)
WORKERS, LIMIT = 1, 4
LEAST_GOODPUT = {2: 0.95, 4: 0.92, 8: 0.85}
"""Share of the highest goodput of all multiples."""
LONGEST_WAIT = 1.5
"""99th percentile of accepted requests, in limit / workers x service time."""
REFUSAL_P50_MS, REFUSAL_P99_MS, REFUSAL_CPU_MS = 3.0, 15.0, 0.3
STEADY = 0.10
"""(highest - lowest) / median of the capacity over the rounds."""
SETTINGS = f"{UNCACHED}[inference]\nworkers = {WORKERS}\nlimit = {LIMIT}\n"
SLEEPER = f"{SETTINGS}timeout_s = 600\n{SLEEP}seconds = 300\n"
REFUSED_BODY = bytes(100_000)
FAILED, INCONCLUSIVE = 1, 3


@dataclass(frozen=True)
class Round:
    """Answers a second to closed-loop clients, and the records at each multiple of it."""

    capacity: float
    seconds: float
    records: dict[int, Record]

    @property
    def peak(self) -> float:
        return max(self.goodput(multiple) for multiple in MULTIPLES)

    def goodput(self, multiple: int) -> float:
        return self.records[multiple].counts["200"] / self.seconds


@contextmanager
def served(config: str, log: IO[str] | None = None) -> Iterator[Server]:
    """Start a server on the first core that this process may use, and move this process to the others. The log goes to
    a file, as in production, or to `log`.
    """
    with server_core() as core, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "log").open("w") as file:
            server = start_server(folder, config, {}, {core}, log or file)
            try:
                yield server
            finally:
                server.kill()


async def measure_round(url: str, seconds: float) -> Round:
    async with session() as client:
        ask = partial(post, client, f"{url}/analyze", PICTURE.read_bytes(), TYPE)
        capacity = (await saturate(ask, WORKERS + 1, seconds)).counts["200"] / seconds
        records = {}
        for multiple in MULTIPLES:
            records[multiple] = await offer(ask, multiple * capacity, seconds)
        return Round(capacity, seconds, records)


async def measure_refusal_cpu(server: Server, requests: int) -> float:
    """Milliseconds of the server's CPU time for each refusal of a body of 100 KB on a kept connection."""
    url = f"{server.url}/sleep"
    async with session() as client:
        filling = [asyncio.create_task(post(client, url, PICTURE.read_bytes(), TYPE)) for _ in range(LIMIT)]
        ask = partial(post, client, url, REFUSED_BODY, TYPE)
        await asyncio.sleep(1.0)  # until they are in flight
        before = server.cpu_s()
        refused = [await ask() for _ in range(requests)]
        spent = server.cpu_s() - before
        for task in filling:
            task.cancel()
        await asyncio.gather(*filling, return_exceptions=True)
    assert set(refused) == {"503"}, f"not all requests were refused: {set(refused)}"
    return spent / requests * 1e3


def over_rounds(rounds: Sequence[Round], figure: Callable[[Round], float]) -> float:
    return median(figure(one) for one in rounds)


def spread(rounds: Sequence[Round]) -> float:
    """(highest - lowest) / median of the capacity without overload."""
    capacities = [one.capacity for one in rounds]
    return (max(capacities) - min(capacities)) / median(capacities)


def report(rounds: Sequence[Round], refusal_cpu_ms: float) -> Iterator[tuple[str, bool]]:
    """Lines of the table, each with whether its targets are met; medians over the rounds."""
    capacity = over_rounds(rounds, lambda one: one.capacity)
    longest = LONGEST_WAIT * LIMIT / capacity * 1e3
    yield f"{WORKERS} worker, limit {LIMIT}, capacity {capacity:.1f}/s, spread {spread(rounds):.0%}", True
    yield " load  goodput  of peak   accepted p50    p99 (limit)   refused p50    p99   other", True
    for multiple in MULTIPLES:
        yield _line(rounds, multiple, longest)
    yield f"a refusal of 100 KB costs {refusal_cpu_ms:.2f} ms of CPU time", refusal_cpu_ms < REFUSAL_CPU_MS


def _line(rounds: Sequence[Round], multiple: int, longest: float) -> tuple[str, bool]:
    def ms(outcome: str, percentile: float) -> float:
        return over_rounds(rounds, lambda one: one.records[multiple].ms(outcome, percentile))

    goodput = over_rounds(rounds, lambda one: one.goodput(multiple))
    share = over_rounds(rounds, lambda one: one.goodput(multiple) / one.peak)
    waited, refused, refused_late = ms("200", 99), ms("503", 50), ms("503", 99)
    unexpected = sum(sum(one.records[multiple].unexpected().values()) for one in rounds)
    kept = (
        share >= LEAST_GOODPUT.get(multiple, 0),
        waited < longest,
        refused < REFUSAL_P50_MS,
        refused_late < REFUSAL_P99_MS,
        unexpected == 0,
    )
    text = (
        f"{multiple:4}x {goodput:6.1f}/s {share:7.0%} {ms('200', 50):12.1f} ms {waited:6.1f} ({longest:3.0f}) ms"
        f"{refused:10.1f} ms {refused_late:6.1f} ms {unexpected:6}"
    )
    return text, all(kept)


async def measure(
    rounds: int, seconds: float, warm_up_s: float = 1.0, refusals: int = 1000
) -> tuple[list[Round], float]:
    """The rounds, each of which measures every load for `seconds`, and the milliseconds of CPU for a refusal."""
    with served(SETTINGS) as server:
        await measure_round(server.url, warm_up_s)
        measured = [await measure_round(server.url, seconds) for _ in range(rounds)]
    with served(SLEEPER) as server:
        return measured, median([await measure_refusal_cpu(server, refusals) for _ in range(rounds)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.overload")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="duration of each measurement")
    chosen = parser.parse_args()
    rounds, refusal_cpu_ms = uvloop.run(measure(chosen.rounds, chosen.seconds))
    kept = True
    for line, good in report(rounds, refusal_cpu_ms):
        print(line if good else f"{line}   <-- target missed", flush=True)
        kept = kept and good
    if spread(rounds) > STEADY:
        print("inconclusive: the machine was too unsteady")
        return INCONCLUSIVE
    return 0 if kept else FAILED


if __name__ == "__main__":
    sys.exit(main())
