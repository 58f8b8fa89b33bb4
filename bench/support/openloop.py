"""Open-loop load: requests start at a fixed rate, however late the answers, and the time of each counts from its
scheduled start, so that a server that stalls cannot hide it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]  # it has no type hints

_LONGEST_US, _DIGITS = 60_000_000, 3
PATIENCE_S = 30.0

Ask = Callable[[], Coroutine[Any, Any, str]]
"""Sends one request and returns its outcome: a status, or the name of an error."""


def _histogram() -> HdrHistogram:
    return HdrHistogram(1, _LONGEST_US, _DIGITS)


@dataclass
class Record:
    """The number of requests by outcome, and the times of each outcome."""

    counts: Counter[str] = field(default_factory=Counter)
    times: dict[str, HdrHistogram] = field(default_factory=dict)

    def add(self, outcome: str, seconds: float) -> None:
        self.counts[outcome] += 1
        self.times.setdefault(outcome, _histogram()).record_value(max(1, round(seconds * 1e6)))

    def ms(self, outcome: str, percentile: float) -> float:
        """Milliseconds at that percentile; 0 if there was no such outcome."""
        return float(self.times.get(outcome, _histogram()).get_value_at_percentile(percentile)) / 1e3

    def unexpected(self) -> dict[str, int]:
        """Outcomes other than an answer or a refusal."""
        return {outcome: count for outcome, count in self.counts.items() if outcome not in ("200", "503")}


def session() -> ClientSession:
    """A client with an unlimited number of kept connections."""
    return ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(PATIENCE_S))


async def post(client: ClientSession, url: str, body: Any, content_type: str = "") -> str:
    """Upload a form, or `body` with its type. Return the outcome."""
    headers = {"Content-Type": content_type} if content_type else {}
    try:
        async with client.post(url, data=body, headers=headers) as response:
            await response.read()
            return str(response.status)
    except (ClientError, OSError, TimeoutError) as error:
        return type(error).__name__


async def offer(ask: Ask, rate: float, seconds: float) -> Record:
    """Start `rate` requests a second for `seconds`, and wait for the last answer."""
    loop, record = asyncio.get_running_loop(), Record()
    began = loop.time()

    async def one(scheduled: float) -> None:
        outcome = await ask()
        record.add(outcome, loop.time() - scheduled)

    async with asyncio.TaskGroup() as requests:
        for number in range(round(rate * seconds)):
            scheduled = began + number / rate
            await asyncio.sleep(max(0, scheduled - loop.time()))
            requests.create_task(one(scheduled))
    return record


async def saturate(ask: Ask, clients: int, seconds: float) -> Record:
    """Closed-loop load: each client sends its next request as soon as it has an answer."""
    loop, record = asyncio.get_running_loop(), Record()
    end = loop.time() + seconds

    async def client() -> None:
        while (began := loop.time()) < end:
            record.add(await ask(), loop.time() - began)

    await asyncio.gather(*(client() for _ in range(clients)))
    return record
