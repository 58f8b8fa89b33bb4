"""Quotas over HTTP: a quick pipeline keeps its slots while all slots of a slow pipeline are in use."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, web

from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import EXECUTOR, make_app
from tests.conftest import Serve
from tests.support.gate import Gate
from tests.support.http import RAW, until_in_flight

TRICK = "tests.support.pipelines:Trick"


@pytest.fixture
def app(gate: Gate, tmp_path: Path) -> web.Application:
    """Two workers and eight slots. The quota of the slow pipeline is half of them; its pictures wait at the gate."""
    return make_app(
        Config.model_validate(
            {
                "inference": {"workers": 2, "limit": 8, "timeout_s": 60},
                "upload": {"dir": str(tmp_path)},
                "pipelines": {
                    "slow": {"factory": TRICK, "path": "/slow", "share": 0.5, "gate": str(gate.folder)},
                    "quick": {"factory": TRICK, "path": "/quick"},
                },
            }
        )
    )


@pytest.fixture
async def held(app: web.Application, serve: Serve, gate: Gate, png: bytes, client: ClientSession) -> AsyncIterator[str]:
    """The URL of a server in which all slots of the slow pipeline are in use. At the end all of them are answered."""
    url = await serve(app)
    tasks = [asyncio.create_task(ask(client, f"{url}/slow", png)) for _ in range(4)]
    await asyncio.to_thread(gate.wait_for, 1)
    await until_in_flight(app, 4)
    yield url
    gate.open()
    assert await asyncio.gather(*tasks) == [200] * 4


async def ask(client: ClientSession, url: str, png: bytes, **headers: str) -> int:
    async with client.post(url, data=png, headers=RAW | headers) as response:
        await response.read()
        return response.status


async def test_a_quota_of_one_half_leaves_the_other_workers_and_slots_free(
    held: str, app: web.Application, gate: Gate, png: bytes, client: ClientSession
) -> None:
    async def send_25_requests() -> list[int]:
        return [await ask(client, f"{held}/quick", png) for _ in range(25)]

    statuses = await asyncio.gather(*(send_25_requests() for _ in range(4)))
    assert statuses == [[200] * 25] * 4
    assert not gate.has_arrival()  # the slow pipeline uses one worker
    assert app[EXECUTOR].limiter.in_flight == 4


async def test_a_refusal_over_the_quota_has_the_retry_after_of_that_pipeline(
    held: str, app: web.Application, png: bytes, client: ClientSession
) -> None:
    limiter = app[EXECUTOR].limiter_of("slow")
    limiter.observe(5.0)
    for _ in range(8):
        async with client.post(f"{held}/slow", data=png, headers=RAW) as response:
            problem = await response.json()
            assert (response.status, response.headers["Retry-After"]) == (503, "20")
        assert (problem["type"], problem["limit"], problem["in_flight"]) == ("urn:faceattr:overloaded", 4, 4)
    assert await ask(client, f"{held}/quick", png, Prefer="wait=4") == 200


async def test_refuses_over_the_quota_before_reading_the_body(held: str) -> None:
    address = urlsplit(held)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 1000000\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 503")
    writer.close()
    await writer.wait_closed()


async def test_the_service_time_is_estimated_for_each_quota(
    serve: Serve, png: bytes, client: ClientSession, tmp_path: Path
) -> None:
    slow = {"factory": TRICK, "path": "/slow", "share": 0.5, "sleep_s": 0.5}
    sections = {"inference": {"workers": 2}, "upload": {"dir": str(tmp_path)}, "pipelines": {"slow": slow}}
    app = make_app(Config.model_validate(sections))
    url = await serve(app)
    before = app[EXECUTOR].limiter.service_s
    assert await ask(client, f"{url}/slow", png) == 200
    assert app[EXECUTOR].limiter_of("slow").service_s >= 0.5
    assert app[EXECUTOR].limiter.service_s == before


async def test_a_reload_recomputes_the_quota_from_the_new_limit(app: web.Application, serve: Serve, gate: Gate) -> None:
    gate.open()
    await serve(app)
    executor = app[EXECUTOR]
    inference = executor.config.inference.model_copy(update={"limit": 20})
    await executor.reload(executor.config.model_copy(update={"inference": inference}))
    assert (executor.limiter.limit, executor.limiter_of("slow").limit) == (20, 10)


async def test_a_pipeline_with_a_quota_is_not_starved_by_another_under_constant_load(
    app: web.Application, serve: Serve, gate: Gate, png: bytes, client: ClientSession
) -> None:
    gate.open()
    url, over = await serve(app), asyncio.Event()

    async def flood() -> None:
        while not over.is_set():
            await ask(client, f"{url}/quick", png)

    floods = [asyncio.create_task(flood()) for _ in range(8)]
    async with asyncio.timeout(60):
        answered = 0
        while answered < 20:
            answered += await ask(client, f"{url}/slow", png) == 200
    over.set()
    await asyncio.gather(*floods)


async def test_a_pipeline_without_a_quota_can_use_all_slots(
    serve: Serve, gate: Gate, png: bytes, client: ClientSession, tmp_path: Path
) -> None:
    pipelines = {"slow": {"factory": TRICK, "path": "/slow", "gate": str(gate.folder)}}
    sections = {"inference": {"workers": 2, "limit": 8, "timeout_s": 60}, "upload": {"dir": str(tmp_path)}}
    url = await serve(make_app(Config.model_validate({"pipelines": pipelines, **sections})))
    tasks = [asyncio.create_task(ask(client, f"{url}/slow", png)) for _ in range(8)]
    await asyncio.to_thread(gate.wait_for, 2)
    gate.open()
    assert await asyncio.gather(*tasks) == [200] * 8
