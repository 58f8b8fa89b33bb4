"""Goodput behind HTTP as a share of the pipeline alone on the same core, at saturation and at overload; the load runs
on another core. Each round measures both, so that drift of the machine cancels out.

python -m bench.efficiency --rounds 5 --seconds 8

Exit status 1: a share is below its target.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from statistics import median

import uvloop

from bench.load.overload import FAILED, PICTURE, SETTINGS, TYPE, WORKERS, served
from bench.speed import ceiling
from bench.support.openloop import offer, post, saturate, session

LEAST = {1: 0.92, 5: 0.86, 10: 0.75}
"""Least share of the ceiling, by the offered load as a multiple of the ceiling; 1: closed-loop clients."""


async def goodput(url: str, offered: int, ceiling_rate: float, seconds: float) -> float:
    """Answers a second to closed-loop clients, or at `offered` times the ceiling."""
    async with session() as client:
        ask = partial(post, client, f"{url}/analyze", PICTURE.read_bytes(), TYPE)
        await saturate(ask, WORKERS + 1, 1.0)
        if offered == 1:
            record = await saturate(ask, WORKERS + 1, seconds)
        else:
            record = await offer(ask, offered * ceiling_rate, seconds)
    return record.counts["200"] / seconds


async def measure(rounds: int, seconds: float, settings: str = SETTINGS) -> dict[int, list[float]]:
    """Shares of the ceiling, by the load."""
    core = min(os.sched_getaffinity(0))
    shares: dict[int, list[float]] = {offered: [] for offered in LEAST}
    with served(settings) as server:
        for _ in range(rounds):
            for offered, seen in shares.items():
                alone = ceiling.measure(seconds / 2, core)
                done = await goodput(server.url, offered, alone, seconds)
                alone = (alone + ceiling.measure(seconds / 2, core)) / 2
                seen.append(done / alone)
                print(f"  {offered:2}x: {done:.1f}/s of {alone:.1f}/s", file=sys.stderr)
    return shares


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.efficiency")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--pool", choices=["process", "thread"], default="process")
    chosen = parser.parse_args(arguments)
    settings = f"{SETTINGS}pool = '{chosen.pool}'\n"
    shares = uvloop.run(measure(chosen.rounds, chosen.seconds, settings))
    for offered, seen in shares.items():
        print(f"{offered:2}x  {median(seen):.1%} of the ceiling (target {LEAST[offered]:.0%})")
    return 0 if all(median(shares[offered]) >= LEAST[offered] for offered in LEAST) else FAILED


if __name__ == "__main__":
    sys.exit(main())
