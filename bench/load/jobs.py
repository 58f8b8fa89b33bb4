"""`python -m bench.jobs --jobs 10000`: small jobs on Celery while workers are killed every two seconds, whole ones and
their processes in turn. Redis is killed and restarted after a third of the jobs, the server after two thirds.

Checks that every accepted job gets exactly one result, its own, and returns the same result each time it is read.
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

from bench.support.jobs_site import JobSite, start_site
from bench.support.served import PATIENCE_S, ROOT
from faceattr_aio.jobs.redis_store import DUE, ENDED, LIVE, job_key

FAILED = 1
RESTARTS = 2
_POLL_S = 0.02
_RESULTS_BETWEEN_KILLS = 10
OK, ACCEPTED, BUSY, BROKEN = 200, 202, 503, 0
PICTURE = ROOT / "docs" / "astronaut.jpg"
TYPE = {"Content-Type": "image/jpeg"}
EXPECTED = {ACCEPTED, BUSY, BROKEN}
"""Statuses of submissions during the faults; 0 for no response."""


@dataclass
class JobRecords:
    """Responses to the clients, by number of the job, and the counts in Redis at the end."""

    jobs: int
    ids: dict[int, str] = field(default_factory=dict)
    results: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0
    killed: int = 0
    restarted: int = 0
    done: int = 0
    left: int = 0
    tries: list[int] = field(default_factory=list)
    seconds: float = 0.0


async def submit(url: str, client: ClientSession, number: int, picture: bytes, records: JobRecords) -> None:
    """Submit until the job is accepted."""
    while number not in records.ids:
        status = BROKEN
        with suppress(ClientError, OSError):
            async with client.post(f"{url}/jobs", params={"number": number}, data=picture, headers=TYPE) as response:
                status = response.status
                if status == ACCEPTED:
                    records.ids[number] = (await response.json())["id"]
        records.statuses[status] += 1
        if number not in records.ids:
            await asyncio.sleep(random.uniform(0.05, 0.15))


async def read(url: str, client: ClientSession, number: int, records: JobRecords) -> None:
    """Wait for the end of the job and record its result."""
    while True:
        with suppress(ClientError, OSError):
            async with client.get(f"{url}/jobs/{records.ids[number]}", headers={"Prefer": "wait=30"}) as response:
                job = await response.json(content_type=None)
                if response.status != BUSY and job["status"] not in {"queued", "running"}:
                    break
        await asyncio.sleep(0.1)
    result = job.get("result") or {}
    records.wrong += result.get("number") != number
    records.results[number].add(str(result.get("word", job)))


async def run_client(url: str, client: ClientSession, numbers: Iterator[int], records: JobRecords) -> None:
    picture = PICTURE.read_bytes()
    for number in numbers:
        await submit(url, client, number, picture, records)
        await read(url, client, number, records)


async def kill_workers(site: JobSite, period_s: float, records: JobRecords) -> None:
    """Kill every `period_s`, but only after some progress: on a slow machine a worker may take longer to start."""
    while True:
        await asyncio.sleep(period_s)
        await until_results(records, len(records.results) + _RESULTS_BETWEEN_KILLS)
        await asyncio.to_thread(site.kill_one, records.killed)
        records.killed += 1


async def until_results(records: JobRecords, number: float) -> None:
    while len(records.results) < number:  # noqa: ASYNC110  # the clients change it
        await asyncio.sleep(_POLL_S)


async def restart_servers(site: JobSite, records: JobRecords) -> None:
    """Restart Redis after a third of the jobs, and the server after two thirds."""
    for share, program, number in ((1 / 3, site.redis, signal.SIGKILL), (2 / 3, site.server, signal.SIGTERM)):
        await until_results(records, share * records.jobs)
        records.restarted += 1
        await asyncio.to_thread(program.restart, number)


async def ready(url: str, client: ClientSession) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(ClientError, OSError):
                async with client.get(f"{url}/readyz") as response:
                    if response.status == OK:
                        return
            await asyncio.sleep(0.05)


async def measure(jobs: int, period_s: float, clients: int = 64, workers: int = 2, seconds: float = 0.0) -> JobRecords:
    """Run jobs of `seconds` each; a client submits its next job after the end of the last one."""
    records, session = JobRecords(jobs), ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=90))
    with start_site(workers, seconds) as site:
        async with session as client:
            await ready(site.url, client)
            started_at, numbers = time.monotonic(), iter(range(jobs))
            faults = [asyncio.create_task(kill_workers(site, period_s, records))]
            faults.append(asyncio.create_task(restart_servers(site, records)))
            await asyncio.gather(*(run_client(site.url, client, numbers, records) for _ in range(clients)))
            records.seconds = time.monotonic() - started_at
            for task in faults:
                task.cancel()
            await asyncio.gather(*faults, return_exceptions=True)
            await ready(site.url, client)
            for number in range(jobs):
                await read(site.url, client, number, records)
        with Redis(port=site.redis_port) as redis:
            records.done = int(redis.hget(ENDED, "done") or 0)
            records.left = int(redis.zcard(LIVE)) + int(redis.zcard(DUE))
            records.tries = [int(redis.hget(job_key(one), "tries:0") or 0) for one in records.ids.values()]
    return records


def report(records: JobRecords) -> Iterator[tuple[str, bool]]:
    """Yield lines, each with whether it is within its bound."""
    results = [len(words) for words in records.results.values()]
    accepted, statuses = len(records.ids), records.statuses
    most = accepted + statuses[BROKEN] + statuses[BUSY]  # a response may be lost after its job was accepted
    counts = ", ".join(f"{status or 'none'}: {number}" for status, number in sorted(statuses.items()))
    yield f"{records.killed} kills of workers, {records.restarted} restarts", records.restarted == RESTARTS
    yield f"{accepted} of {records.jobs} jobs accepted, {len(results)} ended", len(results) == records.jobs
    yield f"{sum(number == 1 for number in results)} with exactly one result", set(results) == {1}
    yield f"{records.wrong} with an error or the result of another job", not records.wrong
    kept = accepted <= records.done <= most and not records.left
    yield f"Redis counts {records.done} done and {records.left} left", kept
    yield f"pictures were started {sum(records.tries)} times, one at most {max(records.tries, default=0)} times", True
    yield f"statuses of submissions: {counts}", set(statuses) <= EXPECTED
    yield f"{records.seconds:.1f} s, {records.jobs / records.seconds:.0f} jobs/s", True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.jobs")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--period", type=float, default=2.0, metavar="S", help="between two kills (2)")
    parsed = parser.parse_args()
    kept = True
    for line, good in report(uvloop.run(measure(parsed.jobs, parsed.period))):
        print(line if good else f"{line}   <-- out of bounds")
        kept = kept and good
    return 0 if kept else FAILED


if __name__ == "__main__":
    sys.exit(main())
