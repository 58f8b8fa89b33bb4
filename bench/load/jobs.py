"""`python -m bench.jobs --jobs 10000`: small jobs on Celery while workers are killed every two seconds, whole ones and
their processes in turn; Redis is killed and started again after a third of them, the server restarted after two thirds.
Every job that was accepted has to come to one result, its own, and to the same whenever it is asked for.
"""

import argparse
import asyncio
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import uvloop
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from redis import Redis

from bench.support.jobs_site import Site, site
from bench.support.served import PATIENCE_S, ROOT
from faceattr_aio.jobs.redis_store import DUE, ENDED, LIVE

FAILED = 1
_LOOK_S = 0.02
OK, ACCEPTED, BUSY, BROKEN = 200, 202, 503, 0
PICTURE = ROOT / "docs" / "astronaut.jpg"
TYPE = {"Content-Type": "image/jpeg"}
EXPECTED = {ACCEPTED, BUSY, BROKEN}
"""What a client may see while all that happens."""


@dataclass
class Seen:
    """Ids of accepted jobs by number, all that was ever told of each, and how often what was answered."""

    jobs: int
    ids: dict[int, str] = field(default_factory=dict)
    told: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    answers: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    killed: int = 0
    restarted: int = 0
    done: int = 0
    left: int = 0
    seconds: float = 0.0


async def submit(url: str, client: ClientSession, number: int, picture: bytes, seen: Seen) -> None:
    """Until it is accepted: who is refused, or gets no answer, comes back."""
    while number not in seen.ids:
        status = BROKEN
        with suppress(ClientError, OSError):
            async with client.post(f"{url}/jobs", params={"number": number}, data=picture, headers=TYPE) as response:
                status = response.status
                if status == ACCEPTED:
                    seen.ids[number] = (await response.json())["id"]
        seen.answers[status] += 1
        if number not in seen.ids:
            await asyncio.sleep(random.uniform(0.05, 0.15))


async def ask(url: str, client: ClientSession, number: int, seen: Seen) -> None:
    """Until it is over, and notes what came of it."""
    while True:
        with suppress(ClientError, OSError):
            async with client.get(f"{url}/jobs/{seen.ids[number]}", headers={"Prefer": "wait=30"}) as response:
                job = await response.json(content_type=None)
                if response.status != BUSY and job["status"] not in {"queued", "running"}:
                    break
        await asyncio.sleep(0.1)
    result = job.get("result") or {}
    seen.wrong += result.get("number") != number
    seen.told[number].add(str(result.get("word", job)))


async def work_off(url: str, client: ClientSession, numbers: Iterator[int], seen: Seen) -> None:
    picture = PICTURE.read_bytes()
    for number in numbers:
        await submit(url, client, number, picture, seen)
        await ask(url, client, number, seen)


async def kill(site: Site, period_s: float, seen: Seen) -> None:
    """A worker every so often."""
    while True:
        await asyncio.sleep(period_s)
        await asyncio.to_thread(site.kill_one, seen.killed)
        seen.killed += 1


async def restart(site: Site, seen: Seen) -> None:
    """Redis, and later the server."""
    for share, program, number in ((1 / 3, site.redis, signal.SIGKILL), (2 / 3, site.server, signal.SIGTERM)):
        while len(seen.told) < share * seen.jobs:  # noqa: ASYNC110  # others get on with it
            await asyncio.sleep(_LOOK_S)
        seen.restarted += 1
        await asyncio.to_thread(program.again, number)


async def ready(url: str, client: ClientSession) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(ClientError, OSError):
                async with client.get(f"{url}/readyz") as response:
                    if response.status == OK:
                        return
            await asyncio.sleep(0.05)


async def measure(jobs: int, period_s: float, clients: int = 64, workers: int = 2, seconds: float = 0.0) -> Seen:
    """So many jobs of so many seconds, one after another by each of the clients."""
    seen, session = Seen(jobs), ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=90))
    with site(workers, seconds) as running:
        async with session as client:
            await ready(running.url, client)
            began, numbers = time.monotonic(), iter(range(jobs))
            disturbing = [asyncio.create_task(one) for one in (kill(running, period_s, seen), restart(running, seen))]
            await asyncio.gather(*(work_off(running.url, client, numbers, seen) for _ in range(clients)))
            seen.seconds = time.monotonic() - began
            for one in disturbing:
                one.cancel()
            await asyncio.gather(*disturbing, return_exceptions=True)
            await ready(running.url, client)
            for number in range(jobs):
                await ask(running.url, client, number, seen)
        with Redis(port=running.redis_port) as redis:
            seen.done = int(redis.hget(ENDED, "done") or 0)
            seen.left = int(redis.zcard(LIVE)) + int(redis.zcard(DUE))
    return seen


def report(seen: Seen) -> Iterator[tuple[str, bool]]:
    """Lines, each with whether it keeps its bound."""
    told = [len(words) for words in seen.told.values()]
    orphans = seen.answers[BROKEN] + seen.answers[BUSY]
    yield f"{seen.killed} times a worker was killed, {seen.restarted} restarts", seen.restarted == 2  # noqa: PLR2004
    yield f"{len(seen.ids)} of {seen.jobs} jobs accepted, {len(told)} over", len(told) == seen.jobs
    yield f"{sum(number == 1 for number in told)} with exactly one result", set(told) == {1}
    yield f"{seen.wrong} with a result that is not theirs or a failure", not seen.wrong
    least = len(seen.ids)  # an answer may be lost after its job was accepted
    yield f"Redis counts {seen.done} done and {seen.left} left", least <= seen.done <= least + orphans and not seen.left
    answers = ", ".join(f"{status or 'none'}: {number}" for status, number in sorted(seen.answers.items()))
    yield f"answers to orders: {answers}", set(seen.answers) <= EXPECTED
    yield f"{seen.seconds:.1f} s, {seen.jobs / seen.seconds:.0f} jobs a second", True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.jobs")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--period", type=float, default=2.0, metavar="S", help="between two kills (2)")
    parsed = parser.parse_args()
    kept = True
    for line, good in report(uvloop.run(measure(parsed.jobs, parsed.period))):
        print(line if good else f"{line}   <-- past its bound")
        kept = kept and good
    return 0 if kept else FAILED


if __name__ == "__main__":
    sys.exit(main())
