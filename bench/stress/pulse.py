"""A steady beat of requests while something breaks: what became of each, how many were lost, and how long it took until
all went well again. Knows not what breaks.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from bench.stress.answers import REFUSALS, no_answer

PATIENCE_S = 5.0
BY = "X-Served-By"
"""Header of an answer, where somebody in between says whose it is."""


@dataclass(frozen=True)
class Beat:
    """One request: when it was to begin, how long it took, what came of it, and who answered, if that is told."""

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
class Pulse:
    """All beats so far, in the order in which they ended."""

    beats: list[Beat] = field(default_factory=list)

    async def until(self, number: int, by: str = "", within_s: float = 60.0) -> None:
        """So many more were accepted, by that server if one is named. Raises TimeoutError."""
        seen = len(self.beats)
        async with asyncio.timeout(within_s):
            while self._accepted(seen, by) < number:  # noqa: ASYNC110  # they end in tasks of their own
                await asyncio.sleep(0.01)

    def _accepted(self, since: int, by: str) -> int:
        return sum(beat.accepted and beat.by.endswith(by) for beat in self.beats[since:])


@asynccontextmanager
async def pulse(url: str, body: bytes, content_type: str, rate: float) -> AsyncIterator[Pulse]:
    """`rate` requests a second, each on time whatever became of the others; in the end all are waited for."""
    found, end = Pulse(), asyncio.Event()
    timeout = ClientTimeout(PATIENCE_S)
    async with ClientSession(connector=TCPConnector(limit=0), timeout=timeout) as client, asyncio.TaskGroup() as tasks:

        async def one(meant: float) -> None:
            outcome, by = await _ask(client, url, body, content_type)
            found.beats.append(Beat(meant, asyncio.get_running_loop().time() - meant, outcome, by))

        async def beat() -> None:
            due = asyncio.get_running_loop().time()
            while not end.is_set():
                tasks.create_task(one(due))
                due += 1 / rate
                with suppress(TimeoutError):
                    await asyncio.wait_for(end.wait(), max(0.0, due - asyncio.get_running_loop().time()))

        tasks.create_task(beat())
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


def settled(beats: Sequence[Beat], mended: float) -> float:
    """Seconds from when the trouble was over until the last request that was not accepted had ended."""
    late = [beat.ended for beat in beats if not beat.accepted and beat.ended >= mended]
    return max(late, default=mended) - mended
