"""A fixed load: the settings of a server, the requests, and the expected statuses."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import ClientSession, FormData

from bench.support.sleeper import SLEEP
from tests.support.gate import Gate
from tests.support.process import TRICK, Server
from tests.support.serving import RAW

WORKERS, LIMIT, UPLOADS = 2, 4, 7
LOAD = {
    ("/sleep", 200): 12,
    ("/long", 200): 2,
    ("/analyze", 200): 4,
    ("/trick", 200): 5,
    ("/trick?do=refuse", 422): 2,
    ("/trick?do=raise", 500): 3,
    ("/trick?do=die", 500): 1,
    ("/trick", 503): 4,
}
"""Number of requests by path and expected status. A batch of two pictures comes in addition. A request with 503 has
a deadline of zero.
"""


def configure(gate: Gate) -> str:
    """Return settings with the pipeline `faces`, two that sleep for 0.12 s and 0.6 s, `trick`, and one at the gate."""
    return f"""
[inference]
workers = {WORKERS}
limit = {LIMIT}
timeout_s = 60
[upload]
max_in_progress = {UPLOADS}
min_rate = 1
[pipelines.faces]
{SLEEP}seconds = 0.12
{SLEEP.replace("sleep]", "long]").replace("/sleep", "/long")}seconds = 0.6
{TRICK}
{TRICK.replace("trick]", "held]").replace("/trick", "/held")}gate = '{gate.folder}'
"""


@dataclass
class Sender:
    """Sends one picture to a server."""

    client: ClientSession
    server: Server
    picture: bytes

    async def work(self) -> None:
        """Send all requests, WORKERS at a time."""
        slots = asyncio.Semaphore(WORKERS)

        async def post(path: str, status: int) -> None:
            async with slots:
                await self.post(path, status)

        await asyncio.gather(*(post(*one) for one, times in LOAD.items() for _ in range(times)), self.post_two())

    async def post(self, path: str, status: int) -> None:
        headers = RAW | ({"Prefer": "wait=0"} if (path, status) == ("/trick", 503) else {})
        async with self.client.post(f"{self.server.url}{path}", data=self.picture, headers=headers) as response:
            assert response.status == status, await response.text()

    async def post_two(self) -> None:
        form = FormData()
        for _ in range(2):
            form.add_field("image", self.picture, filename="a.png")
        async with self.client.post(f"{self.server.url}/analyze", data=form) as response:
            assert response.status == 200

    async def post_halting(self, go_on: asyncio.Event) -> None:
        """Send a few bytes, wait for the event, and end the body there."""

        async def halting() -> AsyncIterator[bytes]:
            yield self.picture[:1000]
            await go_on.wait()

        async with self.client.post(f"{self.server.url}/trick", data=halting(), headers=RAW) as response:
            assert response.status == 422
