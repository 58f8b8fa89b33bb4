"""The known load: a server's settings, what is asked of it, and what it has to answer."""

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
"""How many to which path, and their answers; a batch of two pictures comes on top. Who gets 503 had no time to wait."""


def configure(gate: Gate) -> str:
    """Real faces; others that sleep for 0.12 s and 0.6 s, that do tricks, and that are held at the gate."""
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
    """Sends one picture wherever it is wanted."""

    client: ClientSession
    server: Server
    picture: bytes

    async def work(self) -> None:
        """All of the load, as many at a time as there are workers."""
        two = asyncio.Semaphore(WORKERS)

        async def post(path: str, status: int) -> None:
            async with two:
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
        """Halts after a few bytes; the rest never comes."""

        async def halting() -> AsyncIterator[bytes]:
            yield self.picture[:1000]
            await go_on.wait()

        async with self.client.post(f"{self.server.url}/trick", data=halting(), headers=RAW) as response:
            assert response.status == 422
