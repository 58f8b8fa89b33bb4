"""Streams of pictures over real sockets. The workers are threads, so that tests can inspect everything."""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest
from aiohttp import ClientSession, web
from prometheus_client import CollectorRegistry

from faceattr_aio.errors import Overloaded
from faceattr_aio.telemetry.setup import METRICS
from faceattr_aio.web.app import ENDPOINTS, EXECUTOR, STREAMS, UPLOADS, drain, is_idle, make_app
from tests.conftest import Serve
from tests.support.gate import Gate
from tests.support.http import Make, trick_config, until
from tests.support.streams import BOUNDARY, END, HEADERS, open_stream, part

STEADY = {"factory": "tests.support.pipelines:Steady"}
KEY = "0123456789abcdef"
ENDLESS = f"Content-Length: {1 << 40}"


def head(*more: str, version: str = "1.1") -> bytes:
    """Return the head of a request for a stream, with these headers."""
    lines = (f"{name}: {value}" for name, value in HEADERS.items())
    return "\r\n".join([f"POST /trick HTTP/{version}", "Host: x", *lines, *more, "\r\n"]).encode()


def is_released(app: web.Application) -> bool:
    """Whether no slot, upload, byte, slot of a client, reserved slot or stream is in use."""
    (endpoint,) = app[ENDPOINTS]
    limiter, uploads, limits = app[EXECUTOR].limiter, app[UPLOADS], endpoint.limits
    numbers = limiter.in_flight, limiter.reserved, uploads.limiter.in_flight, uploads.spool.used, endpoint.active
    return not any((*numbers, limits.slots.in_use, limits.uploads.in_use)) and app[STREAMS].is_idle


@pytest.fixture
async def apps() -> AsyncIterator[list[web.Application]]:
    """The apps of the test. At its end nothing may be in use."""
    apps: list[web.Application] = []
    yield apps
    for app in apps:
        await until(partial(is_released, app))


async def test_each_picture_of_a_stream_is_answered_by_a_line_in_order(
    make: Make, png: bytes, client: ClientSession
) -> None:
    url = await make(upload={"max_bytes": len(png), "max_batch": 1, "max_parts": 2})
    async with open_stream(client, url, **{"X-Request-ID": "mine"}) as stream:
        stream.show(png, b"no picture", b"", png, png)
        stream.end()
        response = await stream.response()
        lines = await stream.lines()
    assert (response.status, response.content_type) == (200, "application/x-ndjson")
    assert response.headers["X-Request-ID"] == "mine"
    assert [line["number"] for line in lines] == [0, 1, 2, 3, 4]
    assert [line.get("bytes") for line in lines] == [len(png), None, None, len(png), len(png)]
    assert [lines[number]["error"]["status"] for number in (1, 2)] == [415, 400]
    assert {line["id"] for line in lines} == {lines[1]["error"]["instance"]} == {"mine"}


async def test_the_first_line_is_sent_while_the_next_picture_is_awaited_without_a_slot(
    make: Make, apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    async with open_stream(client, await make()) as stream:
        for number in range(3):
            stream.show(png)
            assert (await stream.line())["number"] == number
            await until(lambda: apps[0][EXECUTOR].limiter.in_flight == 0)
            assert apps[0][UPLOADS].spool.used == 0
        stream.end()
        assert await stream.line() is None


async def test_a_raw_body_is_a_stream_of_one_picture(make: Make, png: bytes, client: ClientSession) -> None:
    headers = {"Content-Type": "image/png", "Accept": "application/x-ndjson"}
    async with client.post(await make(), data=png, headers=headers) as response:
        assert json.loads(await response.text())["bytes"] == len(png)


async def test_no_more_pictures_are_in_progress_than_the_window_allows(
    make: Make, apps: list[web.Application], gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)}, upload={"stream_window": 3}, inference={"workers": 1, "limit": 8})
    async with open_stream(client, url) as stream:
        stream.show(*[png] * 20)
        stream.end()
        await asyncio.to_thread(gate.wait_for, 1)
        await until(lambda: apps[0][EXECUTOR].limiter.in_flight == 3)
        assert apps[0][UPLOADS].spool.used == 3 * len(png)
        gate.open()
        assert [line["number"] for line in await stream.lines()] == list(range(20))


async def test_a_stream_waits_for_a_slot_and_is_never_refused_one(
    make: Make, apps: list[web.Application], gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)})
    raw = {"Content-Type": "image/png"}
    held = [asyncio.create_task(client.post(url, data=png, headers=raw)) for _ in range(2)]
    await asyncio.to_thread(gate.wait_for, 1)
    await until(lambda: apps[0][EXECUTOR].limiter.in_flight == 2)
    async with open_stream(client, url) as stream:
        stream.show(png, png)
        stream.end()
        await until(lambda: apps[0][EXECUTOR].limiter.reserved == 1)
        with pytest.raises(Overloaded):
            apps[0][EXECUTOR].limiter.check()
        gate.open()
        assert ["bytes" in line for line in await stream.lines()] == [True, True]
    assert [(await task).status for task in held] == [200, 200]


async def test_an_error_before_the_first_line_is_the_status(make: Make, png: bytes, client: ClientSession) -> None:
    url = await make(auth={"keys": [KEY]})
    for data, headers, status in (
        (b"junk", {}, 400),
        (b"--b--\r\n", {}, 400),
        (png, {"Content-Type": "text/html"}, 415),
        (png, {"Accept": "application/x-ndjson;q=0"}, 406),
        (png, {"Authorization": "Bearer wrong"}, 401),
        (png, {"Accept": "application/x-ndjson, application/json;q=2", "Content-Type": "multipart/form-data"}, 400),
    ):
        async with client.post(
            url, data=data, headers=HEADERS | {"Authorization": f"Bearer {KEY}"} | headers
        ) as answer:
            assert answer.status == status
    async with client.post(f"{url}?colour=red", data=png, headers=HEADERS | {"X-API-Key": KEY}) as answer:
        assert answer.status == 400


async def test_a_stream_is_sent_only_when_accept_prefers_ndjson(make: Make, png: bytes, client: ClientSession) -> None:
    url = await make()
    for accept in ("*/*", "application/json, application/x-ndjson", "application/x-ndjson;q=0.5, image/png"):
        async with client.post(url, data=png, headers={"Content-Type": "image/png", "Accept": accept}) as response:
            assert response.content_type in ("application/json", "image/png")


@pytest.mark.parametrize(
    ("broken", "kind"), [(b"broken\r\n\r\n", "malformed-upload"), (b"\r\n\r\n" + BOUNDARY, "too-many-parts")]
)
async def test_a_later_error_is_the_last_line_and_closes_the_connection(
    broken: bytes, kind: str, make: Make, png: bytes, client: ClientSession
) -> None:
    async with open_stream(client, await make(upload={"max_parts": 2})) as stream:
        stream.show(png)
        assert (await stream.line())["number"] == 0
        stream.show(png)
        stream.send(broken * 5)
        *answered, last = await stream.lines()
    assert [line["number"] for line in answered] == [1]
    assert last["error"]["type"] == f"urn:faceattr:{kind}"
    assert "number" not in last


async def test_a_stream_of_a_silent_client_is_ended(make: Make, png: bytes, client: ClientSession) -> None:
    async with open_stream(client, await make(upload={"timeout_s": 0.3})) as stream:
        stream.show(png)
        first, last = await stream.lines()
    assert (first["number"], last["error"]["status"]) == (0, 408)


async def test_no_more_streams_are_open_than_the_limit(make: Make, png: bytes, client: ClientSession) -> None:
    url = await make(upload={"max_streams": 1})
    async with open_stream(client, url) as stream:
        stream.show(png)
        assert (await stream.line())["number"] == 0
        async with open_stream(client, url) as another:
            assert (await another.response()).status == 503
        async with client.post(url, data=png, headers={"Content-Type": "image/png"}) as response:
            assert response.status == 200
        stream.show(png)
        assert (await stream.line())["number"] == 1


async def test_expect_continue_of_a_refused_stream_gets_the_final_status(
    make: Make, png: bytes, client: ClientSession
) -> None:
    url = await make(upload={"max_streams": 1})
    async with open_stream(client, url, Expect="100-continue") as stream:
        stream.show(png)
        assert (await stream.line())["number"] == 0
        host, port = url.split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head(ENDLESS, "Expect: 100-continue"))
        async with asyncio.timeout(30):
            assert (await reader.readline()).startswith(b"HTTP/1.1 503")
        writer.close()


async def test_pictures_that_have_arrived_are_answered_before_the_server_stops(
    make: Make, apps: list[web.Application], gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)}, inference={"workers": 1, "limit": 8}, upload={"stream_window": 3})
    async with open_stream(client, url) as stream, open_stream(client, url) as begun:
        stream.show(*[png] * 5)
        begun.send(part(png)[:-100])
        await asyncio.to_thread(gate.wait_for, 1)
        await until(lambda: apps[0][EXECUTOR].limiter.in_flight == 3)
        drain(apps[0])
        gate.open()
        *answered, last = await stream.lines()
        assert (await begun.response()).status == 503
        async with open_stream(client, url) as late:
            assert (await late.response()).status == 503
    assert [line["bytes"] for line in answered] == [len(png)] * 3
    assert last["error"]["type"] == "urn:faceattr:draining"
    await until(lambda: is_idle(apps[0]))


async def test_a_client_that_disconnects_releases_every_resource(
    make: Make, apps: list[web.Application], gate: Gate, png: bytes
) -> None:
    inference = {"workers": 1, "limit": 4, "timeout_s": 60}
    url = await make({"gate": str(gate.folder)}, inference=inference, upload={"stream_window": 4})
    host, port = url.split("/")[2].split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(head(ENDLESS) + BOUNDARY + part(png) * 10)
    await asyncio.to_thread(gate.wait_for, 1)
    await until(lambda: apps[0][EXECUTOR].limiter.in_flight == 2)  # the other two wait for a slot
    await until(lambda: apps[0][UPLOADS].spool.used == 4 * len(png))
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await until(lambda: apps[0][UPLOADS].limiter.in_flight == 0)
    await until(lambda: apps[0][EXECUTOR].limiter.in_flight == 1)
    assert apps[0][UPLOADS].spool.used == len(png)  # of the picture that is in a worker
    gate.open()
    await until(lambda: is_released(apps[0]))
    assert not gate.has_arrival()  # the other pictures were dropped


async def test_a_client_that_never_reads_is_disconnected(make: Make, apps: list[web.Application]) -> None:
    url = await make(upload={"timeout_s": 0.5})
    host, port = url.split("/")[2].split(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        connection.settimeout(30)
        start = head(ENDLESS, "X-Request-ID: " + "x" * 128) + BOUNDARY  # each line contains the id twice
        await asyncio.to_thread(send_until_reset, connection, start)
    await until(lambda: is_released(apps[0]))


def send_until_reset(connection: socket.socket, start: bytes) -> None:
    """Send parts until the server closes the connection; fail after 30 seconds."""
    connection.sendall(start)
    deadline = time.monotonic() + 30
    with contextlib.suppress(ConnectionError):
        while True:
            assert time.monotonic() < deadline, "the server does not close the connection"
            connection.sendall(part(b"x") * 100)


async def test_each_picture_counts_for_the_rate_limit_and_waits_for_it(
    make: Make, apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    async with open_stream(client, await make(clients={"requests_per_minute": 2})) as stream:
        stream.show(png, png, png)
        assert [(await stream.line())["number"] for _ in range(2)] == [0, 1]
        await until(lambda: apps[0][UPLOADS].spool.used == len(png))  # received; may start in half a minute
        third = asyncio.create_task(stream.line())
        assert not (await asyncio.wait({third}, timeout=0.3))[0]
        assert apps[0][EXECUTOR].limiter.in_flight == 0
        drain(apps[0])
        assert (await third)["number"] == 2
        assert [line.get("number") for line in await stream.lines()] == [None]


async def test_a_stream_waits_while_its_client_holds_its_share_of_slots(
    make: Make, apps: list[web.Application], gate: Gate, png: bytes, client: ClientSession
) -> None:
    url = await make({"gate": str(gate.folder)}, inference={"workers": 2, "limit": 2}, clients={"fair": True})
    async with open_stream(client, url) as stream:
        stream.send(part(png)[:-100])
        await until(lambda: apps[0][UPLOADS].limiter.in_flight == 1)
        held = asyncio.create_task(client.post(url, data=png, headers={"Content-Type": "image/png"}))
        await asyncio.to_thread(gate.wait_for, 1)
        stream.send(part(png)[-100:])
        await until(lambda: apps[0][UPLOADS].spool.used == 2 * len(png))
        line = asyncio.create_task(stream.line())
        assert not (await asyncio.wait({line}, timeout=0.3))[0]
        assert not gate.has_arrival()  # although one worker is idle
        gate.open()
        assert (await line)["bytes"] == len(png)
    assert (await held).status == 200


async def test_a_cached_picture_of_a_stream_takes_no_slot(
    make: Make, apps: list[web.Application], png: bytes, client: ClientSession
) -> None:
    async with open_stream(client, await make(STEADY)) as stream:
        stream.show(png)
        first = await stream.line()
        limiter = apps[0][EXECUTOR].limiter
        releases = [limiter.acquire() for _ in range(2)]
        stream.show(png)
        second = await stream.line()
        for release in releases:
            release()
    assert [first["cached"], second["cached"]] == [False, True]
    assert first["pid"] == second["pid"]


async def test_an_internal_error_affects_one_picture_of_a_stream(make: Make, png: bytes, client: ClientSession) -> None:
    async with open_stream(client, f"{await make()}?do=raise") as stream:
        stream.show(png, png)
        stream.end()
        assert [line["error"]["status"] for line in await stream.lines()] == [500, 500]


async def test_a_stream_is_recorded_for_each_picture_and_once_as_a_request(
    serve: Serve, apps: list[web.Application], png: bytes, client: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    app = make_app(trick_config(), registry)
    apps.append(app)
    url = f"{await serve(app)}/trick"

    def count(name: str) -> float:
        return registry.get_sample_value(name, {"pipeline": "trick"} if "pictures" in name else {}) or 0

    async with open_stream(client, url, **{"X-Request-ID": "whole"}) as stream:
        stream.show(png, b"no picture")
        await stream.line()
        await stream.line()
        assert (count("faceattr_pictures_total"), count("faceattr_tricks_total")) == (2, 1)
        with caplog.at_level("INFO", "faceattr_aio.access"):
            app[METRICS].sample()
            assert not caplog.records
            stream.show(png)
            stream.end()
            sent = len((await (await stream.response()).read()).splitlines())
            await until(lambda: is_released(app))
            app[METRICS].sample()
    assert sent == 1
    (record,) = caplog.records
    fields = record.request  # type: ignore[attr-defined]  # set by the access log
    assert (fields["pictures"], fields["tricks"], fields["status"], fields["id"]) == (3, 2, 200, "whole")
    assert fields["received_bytes"] > 2 * len(png)
    assert fields["sent_bytes"] > 300
    assert (count("faceattr_pictures_total"), count("faceattr_tricks_total")) == (3, 2)


async def test_a_stream_over_http_1_0_ends_with_the_connection(make: Make, png: bytes) -> None:
    url = await make()
    host, port = url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = BOUNDARY + part(png) + END
    writer.write(head(f"Content-Length: {len(body)}", version="1.0") + body)
    async with asyncio.timeout(30):
        answer, _, text = (await reader.read()).partition(b"\r\n\r\n")
    assert b" 200 OK" in answer
    assert json.loads(text)["bytes"] == len(png)
    writer.close()
