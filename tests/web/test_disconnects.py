"""Clients that disconnect, slow uploads and bursts of requests: no slot, upload, file or descriptor is lost."""

import asyncio
import contextlib
import json
import logging
import os
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from faceattr_aio.web.app import EXECUTOR, UPLOADS
from tests.support.gate import Gate
from tests.support.http import Make, connect, form, head, hold, until_in_flight


async def test_a_slow_upload_holds_no_slot(make: Make, png: bytes, client: ClientSession) -> None:
    url = await make()
    never = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield png[:1000]
        await never.wait()

    raw = {"Content-Type": "image/png"}
    slow = [asyncio.create_task(client.post(url, data=stalled(), headers=raw)) for _ in range(4)]
    for _ in range(5):
        async with client.post(url, data=png, headers=raw) as response:
            assert response.status == 200
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


@pytest.mark.parametrize("sent", [0, 1, 5_000])
async def test_a_client_that_disconnects_during_its_upload_leaves_nothing_behind(
    sent: int, make: Make, apps: list[web.Application], png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    url = await make()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        async with connect(url) as (_, writer):
            writer.write(head("Content-Type: image/png", f"Content-Length: {len(png)}") + png[:sent])
            await writer.drain()
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    async with asyncio.timeout(20):
        while apps[0][UPLOADS].limiter.in_flight or len(os.listdir("/proc/self/fd")) > before:
            await asyncio.sleep(0.01)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_client_that_disconnects_in_the_queue_costs_no_work(
    make: Make, apps: list[web.Application], gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)})
    (held,) = await hold(url, gate, png, client, 1)
    leaving = asyncio.create_task(client.post(url, data=png, headers={"Content-Type": "image/png"}))
    await until_in_flight(apps[0], 2)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await asyncio.sleep(0.2)  # until the server has seen it
    gate.open()
    assert await held == 200
    await until_in_flight(apps[0], 0)
    assert not gate.has_arrival()


async def test_a_client_that_half_closes_the_connection_gets_no_answer_and_leaks_no_slot(
    make: Make, apps: list[web.Application], png: bytes
) -> None:
    """So aiohttp has it: what a client has no more to say on, it is taken to have left."""
    url = await make()
    async with connect(url) as (reader, writer):
        writer.write(head("Content-Type: image/png", f"Content-Length: {len(png)}") + png)
        writer.write_eof()
        assert await reader.read() == b""
    await until_in_flight(apps[0], 0)


async def test_the_count_in_flight_is_exact_after_each_of_fifty_bursts_with_disconnects(
    make: Make, apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    url, chance, seen = await make({"sleep_s": 0.002}), random.Random(1), Counter[int]()

    async def ask() -> None:
        patience = chance.choice((0.001, 0.005, 0.02, 30, 30))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                async with client.post(url, data=png, headers={"Content-Type": "image/png"}) as response:
                    seen[response.status] += 1
                    assert apps[0][EXECUTOR].limiter.in_flight <= 2

    for _ in range(50):
        await asyncio.gather(*(ask() for _ in range(20)))
        await until_in_flight(apps[0], 0)
    assert set(seen) == {200, 503}


async def test_every_slot_is_free_after_a_burst_of_forty(
    make: Make, apps: list[web.Application], gate: Gate, png: bytes
) -> None:
    url = await make({"gate": str(gate.folder)}, inference={"workers": 2, "limit": 4})
    async with ClientSession() as client:

        async def ask() -> int:
            async with client.post(url, data=form(png)) as response:
                if response.status == 503:
                    assert int(response.headers["Retry-After"]) >= 1
                    assert json.loads(await response.text())["limit"] == 4
                return response.status

        storm = [asyncio.create_task(ask()) for _ in range(40)]
        await asyncio.to_thread(gate.wait_for, 2)
        while sum(task.done() for task in storm) < 36:
            await asyncio.sleep(0.01)
        assert [task.result() for task in storm if task.done()] == [503] * 36
        gate.open()
        assert sorted(await asyncio.gather(*storm)) == [200] * 4 + [503] * 36
        await until_in_flight(apps[0], 0)
        assert await asyncio.gather(*(ask() for _ in range(4))) == [200] * 4
