"""Thousands of damaged pictures for a real server with its models: each response is documented, and afterwards the
server uses the same resources as before.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession, TCPConnector
from tqdm import tqdm

from tests.fuzz.answers import fault
from tests.fuzz.corpus import keep, picture
from tests.fuzz.tally import FIRST, INPUTS, Tally
from tests.fuzz.wholeness import ANSWER_S, LIMIT, FuzzedServer

pytestmark = pytest.mark.pixels

CONNECTIONS = LIMIT + 1
"""One more than the limit, so that some requests are refused and retried."""
WARM_UP = 300
DOCUMENTED = {200, 400, 413, 415, 422}
MOST_FAULTS = 10
RETRY_S = 60.0


class Sender:
    """Sends pictures over a few persistent connections."""

    def __init__(self, url: str, numbers: range, tally: Tally) -> None:
        self.faults: list[str] = []
        self._url = url
        self._left: Iterator[int] = iter(tqdm(numbers, "pictures", disable=None))
        self._tally = tally
        self._slowest_s = 0.0

    async def send_all(self) -> None:
        async with ClientSession(connector=TCPConnector(limit=CONNECTIONS)) as client:
            await asyncio.gather(*(self._send(client) for _ in range(CONNECTIONS)))
        self._tally.notes.append(f"slowest answer {self._slowest_s:.2f} s")

    async def _send(self, client: ClientSession) -> None:
        for number in self._left:
            data = picture(number)
            try:
                async with asyncio.timeout(RETRY_S):
                    wrong = await self._until_answered(client, number, data)
            except (TimeoutError, ClientError) as error:
                wrong = f"no answer: {type(error).__name__}: {error}"
            if wrong:
                self.faults.append(f"input {number}, kept as {keep(number, data)}: {wrong}")
            if len(self.faults) >= MOST_FAULTS:
                return

    async def _until_answered(self, client: ClientSession, number: int, data: bytes) -> str | None:
        """Send a picture, and retry after refusals. Return what is wrong with one of the responses, or None."""
        while True:
            status, wrong, wait_s = await self._ask(client, number, data)
            self._tally.counts[str(status)] += 1
            if wrong or status != 503:
                return wrong or (None if status in DOCUMENTED else f"status {status}")
            await asyncio.sleep(wait_s)

    async def _ask(self, client: ClientSession, number: int, data: bytes) -> tuple[int, str | None, float]:
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(ANSWER_S):
            async with client.post(self._url, params=_options(number), data=data, headers=_headers(number)) as response:
                body = await response.read()
        self._slowest_s = max(self._slowest_s, asyncio.get_running_loop().time() - began)
        wrong = fault(response.status, response.headers, body)
        refused = response.status == 503 and wrong is None
        return response.status, wrong, json.loads(body)["retry_after_ms"] / 1e3 if refused else 0


def _options(number: int) -> dict[str, str]:
    return {"detail": "high"} if number % 50 == 0 else {}


def _headers(number: int) -> dict[str, str]:
    accepted = {0: "image/jpeg", 1: "image/png"}.get(number % 10, "application/json")
    return {"Content-Type": "application/octet-stream", "Accept": accepted}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FuzzedServer]:
    server = FuzzedServer(tmp_path, upload_s=30)
    yield server
    server.kill()


async def test_damaged_pictures_get_documented_responses_and_leave_no_resource_in_use(
    server: FuzzedServer, tally: Tally, png: bytes
) -> None:
    warming = Sender(server.url, range(-WARM_UP, 0), Tally("warming up"))
    await warming.send_all()
    before = await server.settled()
    sender = Sender(server.url, range(FIRST, FIRST + INPUTS), tally)
    await sender.send_all()
    assert warming.faults + sender.faults == []
    after = await server.stop_and_check(before, png)
    tally.notes += [f"before: {before}", f"after: {after}"]
    assert server.faults() == []
