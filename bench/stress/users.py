"""A crowd of real users over HTTP: what is simulated elsewhere, done here. Knows no pipeline."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiohttp import ClientError, ClientSession, hdrs

from bench.stress.crowd import Crowd, Told
from bench.support.openloop import session

_TYPE = {hdrs.CONTENT_TYPE: "application/octet-stream"}


@dataclass
class Street:
    """Where a crowd asks, with which pictures, each as likely as its weight says."""

    client: ClientSession
    url: str
    bodies: Sequence[bytes]
    weights: Sequence[float]
    told: Told
    began: float

    def now(self) -> float:
        """Seconds since the crowd came."""
        return asyncio.get_running_loop().time() - self.began

    async def request(self, first: float) -> None:
        """Asks, and asks again when refused, if that is what the crowd does; counts from the moment `first`."""
        began = first
        while pause := await self._attempt(began, first):
            if not self.told.crowd.retries:
                return
            await asyncio.sleep(pause)
            began = self.now()

    async def live(self, pauses: Iterator[float]) -> None:
        """A user, to the end."""
        for pause in pauses:
            await asyncio.sleep(pause)
            await self.request(self.now())

    async def _attempt(self, began: float, first: float) -> int:
        """Gives the seconds after which to ask again, 0 when there is nothing more to ask."""
        (body,) = random.choices(self.bodies, self.weights)
        try:
            async with self.client.post(self.url, data=body, headers=_TYPE) as response:
                await response.read()
        except (ClientError, OSError, TimeoutError):
            self.told.failed += 1
            return 0
        if response.status == 503 and hdrs.RETRY_AFTER in response.headers:  # noqa: PLR2004  # come again
            self.told.refuse(self.now())
            return int(response.headers[hdrs.RETRY_AFTER])
        if response.ok:
            self.told.answer(self.now(), began, first)
        else:
            self.told.failed += 1
        return 0


async def meet(url: str, bodies: Sequence[bytes], weights: Sequence[float], crowd: Crowd, seed: int) -> Told:
    """Lets the crowd come; ends when its time is over, however many still wait."""
    async with session() as client:
        told = Told(crowd)
        street = Street(client, url, bodies, weights, told, asyncio.get_running_loop().time())
        users = [asyncio.create_task(street.live(crowd.user(number, seed))) for number in range(crowd.users)]
        for moment in crowd.arrivals(seed):
            await asyncio.sleep(moment - street.now())
            users.append(asyncio.create_task(street.request(moment)))
        await asyncio.sleep(crowd.end_s - street.now())
        for user in users:
            user.cancel()
        await asyncio.gather(*users, return_exceptions=True)
        return told
