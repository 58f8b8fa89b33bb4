"""A steady rate of requests during a failure: the outcome of each, the number of lost requests, and the time until all
requests are accepted again.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from bench.stress.answers import REFUSALS, no_answer

PATIENCE_S = 5.0
BY = "X-Served-By"
"""Header of the balancer with the address of the instance that answered."""


@dataclass(frozen=True)
class Probe:
    """One request: scheduled start, duration, outcome, and the instance that answered, if known."""

    at: float
    seconds: float
    outcome: str
    by: str = ""

    @property
    def ended(self) -> float:
        return self.at + self.seconds

    @property
    def accepted(self) -> bool:
        return self.outcome == "200"

    @property
    def refused(self) -> bool:
        return self.outcome in map(str, REFUSALS)


@dataclass
class Probes:
    """All requests so far, in the order in which they ended."""

    probes: list[Probe] = field(default_factory=list)

    async def until(self, number: int, by: str = "", within_s: float = 60.0) -> None:
        """Wait until `number` more requests are accepted, by one instance if it is given. Raises TimeoutError."""
        seen = len(self.probes)
        async with asyncio.timeout(within_s):
            while self._accepted(seen, by) < number:  # noqa: ASYNC110  # they end in other tasks
                await asyncio.sleep(0.01)

    def _accepted(self, since: int, by: str) -> int:
        return sum(probe.accepted and probe.by.endswith(by) for probe in self.probes[since:])


@asynccontextmanager
async def send_probes(url: str, body: bytes, content_type: str, rate: float) -> AsyncIterator[Probes]:
    """Send `rate` requests a second, however late the answers; at the end wait for all answers."""
    found, end = Probes(), asyncio.Event()
    timeout = ClientTimeout(PATIENCE_S)
    async with ClientSession(connector=TCPConnector(limit=0), timeout=timeout) as client, asyncio.TaskGroup() as tasks:

        async def one(scheduled: float) -> None:
            outcome, by = await _ask(client, url, body, content_type)
            found.probes.append(Probe(scheduled, asyncio.get_running_loop().time() - scheduled, outcome, by))

        async def schedule() -> None:
            due = asyncio.get_running_loop().time()
            while not end.is_set():
                tasks.create_task(one(due))
                due += 1 / rate
                with suppress(TimeoutError):
                    await asyncio.wait_for(end.wait(), max(0.0, due - asyncio.get_running_loop().time()))

        tasks.create_task(schedule())
        try:
            yield found
        finally:
            end.set()


async def _ask(client: ClientSession, url: str, body: bytes, content_type: str) -> tuple[str, str]:
    try:
        async with client.post(url, data=body, headers={"Content-Type": content_type}) as response:
            await response.read()
            return str(response.status), response.headers.get(BY, "")
    except (ClientError, OSError, TimeoutError) as error:
        return no_answer(error).outcome, ""


def settled(probes: Sequence[Probe], failure_ended: float) -> float:
    """Seconds from `failure_ended`, the end of the failure, until the last request that was not accepted had ended."""
    late = [probe.ended for probe in probes if not probe.accepted and probe.ended >= failure_ended]
    return max(late, default=failure_ended) - failure_ended
