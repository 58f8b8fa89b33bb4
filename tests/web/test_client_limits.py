"""Limits of each client: concurrent requests and uploads, requests per minute, API keys."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from faceattr_aio.web.app import ENDPOINTS
from tests.support.gate import Gate
from tests.support.http import RAW, Make, ask_raw, hold, status, until, until_in_flight

KEY = "one-key-of-sixteen"


async def until_shared(app: web.Application, client: str, slots: int = 0, uploads: int = 0) -> None:
    """Wait until the client holds these numbers of slots and uploads."""
    limits = app[ENDPOINTS][0].limits
    await until(lambda: [limits.slots.in_use.get(client, 0), limits.uploads.in_use.get(client, 0)] == [slots, uploads])


async def test_only_the_client_over_its_share_is_refused(
    make: Make, gate: Gate, png: bytes, client: ClientSession, other: ClientSession, apps: list[web.Application]
) -> None:
    url = await make({"gate": str(gate.folder)}, inference={"workers": 1, "limit": 5}, clients={"fair": True})
    storm = [asyncio.create_task(status(client, url, png)) for _ in range(40)]
    async with asyncio.timeout(30):
        while sum(task.done() for task in storm) < 37:  # three of five are its share
            await asyncio.sleep(0.005)
    assert (await ask_raw(url, "Content-Length: 1000000")).startswith(b"HTTP/1.1 429")
    assert (await ask_raw(url, "Content-Length: 9\r\nExpect: 100-continue")).startswith(b"HTTP/1.1 429")
    served = [asyncio.create_task(status(other, url, png)) for _ in range(2)]
    await until_in_flight(apps[0], 5)
    assert await status(other, url, png) == 503  # it has room in its share, and the server has none
    gate.open()
    assert sorted(await asyncio.gather(*storm)) == [200] * 3 + [429] * 37
    assert await asyncio.gather(*served) == [200] * 2
    await until_shared(apps[0], "127.0.0.1")
    assert await asyncio.gather(*(status(client, url, png) for _ in range(3))) == [200] * 3


async def test_a_client_that_disconnects_keeps_its_share_in_use_until_the_work_ends(
    make: Make, gate: Gate, png: bytes, client: ClientSession, apps: list[web.Application]
) -> None:
    url = await make({"gate": str(gate.folder)}, inference={"workers": 1, "limit": 4}, clients={"fair": True})
    held = await hold(url, gate, png, client, 2)
    await until_shared(apps[0], "127.0.0.1", 2)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    for _ in range(3):
        assert await status(client, url, png) == 429
    gate.open()
    await until_shared(apps[0], "127.0.0.1")
    assert await asyncio.gather(*(status(client, url, png) for _ in range(2))) == [200] * 2


async def test_a_refusal_after_the_upload_returns_the_share(make: Make, client: ClientSession) -> None:
    url = await make(inference={"workers": 1, "limit": 2}, clients={"fair": True})
    assert [await status(client, url, b"no picture") for _ in range(4)] == [415] * 4


async def test_slow_uploads_of_one_client_do_not_block_those_of_another(
    make: Make, png: bytes, client: ClientSession, other: ClientSession, apps: list[web.Application]
) -> None:
    url = await make(upload={"max_in_progress": 4}, clients={"fair": True})
    never = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield png[:1000]
        await never.wait()

    slow = [asyncio.create_task(client.post(url, data=stalled(), headers=RAW)) for _ in range(2)]
    await until_shared(apps[0], "127.0.0.1", uploads=2)
    assert await status(client, url, png) == 429
    assert await status(other, url, png) == 200
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    await until_shared(apps[0], "127.0.0.1")
    assert await status(client, url, png) == 200


async def test_clients_have_no_share_by_default(
    make: Make, gate: Gate, png: bytes, client: ClientSession, apps: list[web.Application]
) -> None:
    url = await make({"gate": str(gate.folder)})
    held = await hold(url, gate, png, client, 2)
    await until_in_flight(apps[0], 2)
    assert await status(client, url, png) == 503
    gate.open()
    assert await asyncio.gather(*held) == [200] * 2


async def test_only_the_client_over_its_rate_is_refused(
    make: Make, png: bytes, client: ClientSession, other: ClientSession
) -> None:
    url = await make(clients={"requests_per_minute": 2})
    assert [await status(client, url, png) for _ in range(4)] == [200, 200, 429, 429]
    assert await status(other, url, png) == 200
    async with client.post(url, data=png, headers=RAW) as response:
        assert 20 <= int(response.headers["Retry-After"]) <= 30


async def test_the_rate_counts_each_body_once_and_refusals_by_headers_not_at_all(
    make: Make, png: bytes, client: ClientSession
) -> None:
    url = await make(clients={"requests_per_minute": 3})
    invited = f"Content-Length: {len(png)}\r\nExpect: 100-continue"
    for _ in range(5):
        assert await status(client, url, png, Accept="text/html") == 406
    for _ in range(2):
        assert b"HTTP/1.1 200" in await ask_raw(url, invited, png)
    assert await status(client, url, b"no picture") == 415
    assert (await ask_raw(url, invited, png)).startswith(b"HTTP/1.1 429")


@pytest.mark.parametrize(
    ("proxies", "status_of_another"), [(["127.0.0.1/32"], 200), (["127.0.0.9/32"], 429), ([], 429)]
)
async def test_x_forwarded_for_is_trusted_only_from_listed_proxies_and_from_the_right(
    proxies: list[str], status_of_another: int, make: Make, png: bytes, client: ClientSession
) -> None:
    url = await make(clients={"requests_per_minute": 1, "trusted_proxies": proxies})
    assert await status(client, url, png, X_Forwarded_For="203.0.113.9") == 200
    assert await status(client, url, png, X_Forwarded_For="198.51.100.1, 203.0.113.9") == 429
    assert await status(client, url, png, X_Forwarded_For="203.0.113.9, 198.51.100.1") == status_of_another


async def test_a_key_has_one_rate_for_all_addresses(
    make: Make, png: bytes, client: ClientSession, other: ClientSession
) -> None:
    url = await make(clients={"requests_per_minute": 1}, auth={"keys": [KEY, f"other-{KEY}"]})
    assert await status(client, url, png, X_API_Key=KEY) == 200
    assert await status(other, url, png, Authorization=f"Bearer {KEY}") == 429
    assert await status(client, url, png, X_API_Key=f"other-{KEY}") == 200


@pytest.mark.parametrize("expect", ["", "\r\nExpect: 100-continue"])
@pytest.mark.parametrize(
    "head",
    [
        "Accept: text/html",
        "X-API-Key:",
        "X-API-Key: wrong",
        "Authorization:",
        "Authorization: Bearer",
        f"Authorization: Basic {KEY}",
        "Authorization: Bearer \udcff\udc80",
        f"X-API-Key: wrong\r\nX-API-Key: {KEY}",
    ],
)
async def test_without_an_accepted_key_the_answer_is_401_before_the_body_and_all_other_checks(
    head: str, expect: str, make: Make
) -> None:
    url = await make(auth={"keys": [KEY]}, upload={"max_bytes": 2000})
    answer = await ask_raw(url, f"{head}\r\nContent-Length: 1000000{expect}")  # of which not one byte is sent
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"100 Continue" not in answer
    assert b"WWW-Authenticate: Bearer\r\n" in answer


async def test_health_needs_no_key(make: Make, png: bytes, client: ClientSession) -> None:
    url = await make(auth={"keys": [KEY]}, clients={"fair": True, "requests_per_minute": 1})
    assert await status(client, url, png, Authorization=f"bearer {KEY}") == 200
    for _ in range(3):
        for path in ("/livez", "/healthz", "/readyz"):
            async with client.get(url.removesuffix("/trick") + path) as response:
                assert response.status == 200
