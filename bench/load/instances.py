"""Goodput of three instances behind nginx compared with one, and the outcomes that clients receive while one of three
is killed and restarted. The pipeline sleeps, so that the number of cores does not matter.

    python -m bench.instances --rounds 3 --seconds 5

Exit status 1: the ratio is below its target, or a client received something other than an answer or a refusal.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median

import uvloop

from bench.load.overload import PICTURE, TYPE
from bench.stress.nginx_instances import INSTANCES, Instance, start_instances
from bench.stress.probes import BY
from bench.support.openloop import Ask, offer, post, saturate, session
from bench.support.served import UNCACHED
from bench.support.sleeper import SLEEP

FAILED = 1
LEAST_TIMES = 2.7
WORKERS, LIMIT, SLEEP_S = 2, 8, 0.05
CAPACITY = WORKERS / SLEEP_S
"""Pictures a second of one instance, if only the sleep took time."""
SETTINGS = f"""{UNCACHED}{SLEEP}seconds = {SLEEP_S}
[inference]
workers = {WORKERS}
limit = {LIMIT}
pool = "thread"
"""
LOAD = 0.9
"""Share of the capacity of three that is offered while one is lost; more than the capacity of two."""
_BUSY = 2 * WORKERS
"""Clients for each instance: one picture is processed while the next waits."""


async def times(url: str, one: str, seconds: float) -> float:
    """Ratio of the goodput at `url`, the balancer, to that of `one`."""
    body = PICTURE.read_bytes()
    async with session() as client:

        async def goodput(base: str, clients: int) -> float:
            record = await saturate(partial(post, client, f"{base}/sleep", body, TYPE), clients, seconds)
            return record.counts["200"] / seconds

        alone = await goodput(one, _BUSY)
        return await goodput(url, INSTANCES * _BUSY) / alone


async def lose(url: str, instance: Instance, seconds: float) -> Counter[str]:
    """Outcomes of all requests; the instance is killed after a third of the time and restarted after two thirds."""
    async with session() as client:
        ask: Ask = partial(post, client, f"{url}/sleep", PICTURE.read_bytes(), TYPE)
        load = asyncio.create_task(offer(ask, LOAD * INSTANCES * CAPACITY, seconds))
        await asyncio.sleep(seconds / 3)
        instance.kill()
        await asyncio.sleep(seconds / 3)
        instance.restart()
        counts = (await load).counts
        await _answers(url, instance)
        return counts


async def _answers(url: str, instance: Instance) -> None:
    """Wait until the balancer sends requests to it again. Raises TimeoutError."""
    async with asyncio.timeout(30), session() as client:
        by = ""
        while not by.endswith(f":{instance.port}"):
            async with client.get(f"{url}/livez") as response:
                by = response.headers[BY]


def measure(rounds: int, seconds: float) -> tuple[list[float], Counter[str]]:
    """The ratio of each round, and the outcomes of all requests while an instance was lost."""
    ratios, lost = [], Counter[str]()
    with tempfile.TemporaryDirectory() as name, start_instances(Path(name), SETTINGS) as (url, instances):
        for number in range(rounds):
            ratios.append(uvloop.run(times(url, instances[0].server.url, seconds)))
            lost += uvloop.run(lose(url, instances[number % INSTANCES], 3 * seconds))
    return ratios, lost


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.instances")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement")
    chosen = parser.parse_args(arguments)
    ratios, lost = measure(chosen.rounds, chosen.seconds)
    print(f"{INSTANCES} instances: {median(ratios):.2f} times one ({', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    print("while one was lost:", ", ".join(f"{outcome}: {count}" for outcome, count in sorted(lost.items())))
    return FAILED if median(ratios) < LEAST_TIMES or lost.keys() - {"200", "503"} else 0


if __name__ == "__main__":
    sys.exit(main())
