"""Sends the requests of simulated users to real servers over HTTP."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiohttp import ClientError, ClientSession, hdrs

from bench.stress.workload import Result, Workload
from bench.support.openloop import session

_TYPE = {hdrs.CONTENT_TYPE: "application/octet-stream"}


@dataclass
class RealUsers:
    """The server, the pictures with their weights, and the results."""

    client: ClientSession
    url: str
    bodies: Sequence[bytes]
    weights: Sequence[float]
    result: Result
    began: float

    def now(self) -> float:
        """Seconds since the start of the load."""
        return asyncio.get_running_loop().time() - self.began

    async def request(self, first: float) -> None:
        """Send a request, and retry after refusals if the load does so; times count from `first`."""
        began = first
        while pause := await self._attempt(began, first):
            if not self.result.workload.retries:
                return
            await asyncio.sleep(pause)
            began = self.now()

    async def live(self, pauses: Iterator[float]) -> None:
        """Simulate one user until it is cancelled."""
        for pause in pauses:
            await asyncio.sleep(pause)
            await self.request(self.now())

    async def _attempt(self, began: float, first: float) -> int:
        """Return the seconds until the next attempt, or 0 if there is none."""
        (body,) = random.choices(self.bodies, self.weights)
        try:
            async with self.client.post(self.url, data=body, headers=_TYPE) as response:
                await response.read()
        except (ClientError, OSError, TimeoutError):
            self.result.failed += 1
            return 0
        if response.status == 503 and hdrs.RETRY_AFTER in response.headers:  # noqa: PLR2004  # a refusal
            self.result.refuse(self.now())
            return int(response.headers[hdrs.RETRY_AFTER])
        if response.ok:
            self.result.answer(self.now(), began, first)
        else:
            self.result.failed += 1
        return 0


async def run_users(
    url: str, bodies: Sequence[bytes], weights: Sequence[float], workload: Workload, seed: int
) -> Result:
    """Run the load; returns when its time is over, and cancels requests in progress."""
    async with session() as client:
        result = Result(workload)
        real = RealUsers(client, url, bodies, weights, result, asyncio.get_running_loop().time())
        users = [asyncio.create_task(real.live(workload.user(number, seed))) for number in range(workload.users)]
        for moment in workload.arrivals(seed):
            await asyncio.sleep(moment - real.now())
            users.append(asyncio.create_task(real.request(moment)))
        await asyncio.sleep(workload.end_s - real.now())
        for user in users:
            user.cancel()
        await asyncio.gather(*users, return_exceptions=True)
        return result
