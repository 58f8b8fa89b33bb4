"""One pipeline behind HTTP, on real sockets; the workers are threads, so that a test can look at everything."""

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, FormData, web

from faceattr_aio.config import Config
from faceattr_aio.problems import LINGERING, Handler
from faceattr_aio.web import EXECUTOR, UPLOADS, make_app
from tests.conftest import Serve
from tests.gate import Gate

TRICK = {"factory": "tests.pipelines:Trick", "path": "/trick"}
Make = Callable[..., Awaitable[str]]


@pytest.fixture
async def apps() -> AsyncIterator[list[web.Application]]:
    """The apps of the test; at its end no slot, upload or byte may be left in use."""
    apps: list[web.Application] = []
    yield apps
    for app in apps:
        async with asyncio.timeout(30):
            while app[EXECUTOR].limiter.in_flight or app[UPLOADS].limiter.in_flight:  # in threads
                await asyncio.sleep(0.005)
        assert app[UPLOADS].spool.used == 0


@pytest.fixture
async def make(serve: Serve, apps: list[web.Application], tmp_path: Path) -> Make:
    """Serves the trick pipeline and gives its URL."""

    async def start(trick: dict[str, Any] | None = None, **sections: dict[str, Any]) -> str:
        entry = TRICK | (trick or {})
        sections.setdefault("inference", {"workers": 1, "limit": 2})
        sections["upload"] = {"dir": str(tmp_path), **sections.get("upload", {})}
        app = make_app(Config.model_validate({"pipelines": {"trick": entry}, **sections}))
        apps.append(app)
        return f"{await serve(app)}/trick"

    return start


def form(*pictures: bytes, field: str = "image") -> FormData:
    data = FormData()
    for picture in pictures:
        data.add_field(field, picture, filename="a.png")
    return data


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


async def test_all_forms_of_input_give_the_same_bytes(make: Make, png: bytes, client: ClientSession) -> None:
    url, raw = await make(), {"Content-Type": "image/png"}
    answers = []
    for data, headers in ((form(png), {}), (form(png, field="file"), {}), (png, raw), (pieces(png), raw)):
        async with client.post(url, data=data, headers=headers) as response:
            assert response.status == 200
            answers.append(await response.json())
    assert len({answer["sha256"] for answer in answers}) == 1
    assert {answer["bytes"] for answer in answers} == {len(png)}
    assert len({answer["id"] for answer in answers}) == 4
    assert [answer["cached"] for answer in answers] == [False] * 4


async def test_the_answer_tells_its_stages_and_its_id(make: Make, png: bytes, client: ClientSession) -> None:
    async with client.post(await make(), data=form(png), headers={"X-Request-ID": "mine"}) as response:
        assert response.headers["X-Request-ID"] == "mine"
        assert (await response.json())["id"] == "mine"
        stages = [stage.split(";dur=") for stage in response.headers["Server-Timing"].split(", ")]
    assert [name for name, _ in stages] == ["upload", "queue", "decode", "trick"]
    assert all(float(ms) >= 0 for _, ms in stages)


async def test_a_picture_comes_back_when_one_is_asked_for(make: Make, png: bytes, client: ClientSession) -> None:
    async with client.post(await make(), data=form(png), headers={"Accept": "image/png"}) as response:
        assert (response.status, response.content_type) == (200, "image/png")
        assert (await response.read()).startswith(b"image/png")


async def test_in_a_batch_one_bad_picture_does_not_spoil_the_others(
    make: Make, png: bytes, client: ClientSession
) -> None:
    async with client.post(await make(), data=form(png, b"no picture", b"", png)) as response:
        assert response.status == 200
        answer = await response.json()
    assert [result.get("bytes") for result in answer["results"]] == [len(png), None, None, len(png)]
    assert [result["error"]["status"] for result in answer["results"][1:3]] == [415, 400]
    assert answer["results"][1]["error"]["instance"] == answer["id"]


@pytest.mark.parametrize(
    ("query", "headers", "pictures", "status", "kind"),
    [
        ("?times=0", {}, 1, 400, "bad-option"),
        ("?colour=red", {}, 1, 400, "bad-option"),
        ("", {"Accept": "text/html"}, 1, 406, "not-acceptable"),
        ("", {"Accept": "\u20ac"}, 1, 406, "not-acceptable"),
        ("", {"Accept": "image/png"}, 2, 406, "not-acceptable"),
        ("", {}, 3, 400, "batch-too-large"),
        ("", {}, 0, 400, "no-image"),
        ("", {"Content-Encoding": "gzip"}, 1, 415, "unsupported-media"),
        ("?do=refuse", {}, 1, 422, "unreadable-image"),
        ("?do=raise", {}, 1, 500, "internal"),
    ],
)
async def test_what_is_wrong_with_a_request_is_said(
    query: str,
    headers: dict[str, str],
    pictures: int,
    status: int,
    kind: str,
    make: Make,
    png: bytes,
    client: ClientSession,
) -> None:
    data = form(*[png] * pictures) if pictures else form(b"x", field="other")
    async with client.post(await make(upload={"max_batch": 2}) + query, data=data, headers=headers) as response:
        assert response.status == status
        assert (await response.json(content_type="application/problem+json"))["type"] == f"urn:faceattr:{kind}"


@pytest.mark.parametrize(
    ("data", "content_type", "status", "kind"),
    [
        (b"", "image/png", 400, "no-image"),
        (b"<html>", "image/png", 415, "unsupported-media"),
        (b"{}", "application/json", 415, "unsupported-media"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "unsupported-media"),
        (b"x", "multipart/mixed; boundary=b", 415, "unsupported-media"),
        (b"x", "multipart/form-data", 400, "malformed-upload"),
        (b"--b\r\n", "multipart/form-data; boundary=b", 400, "malformed-upload"),
        (b"--b\r\n", "multipart/form-data; boundary=\u20ac", 400, "malformed-upload"),
        (b"x", "\u20ac", 415, "unsupported-media"),
        (b"x" * 3000, "application/octet-stream", 413, "upload-too-large"),
    ],
)
async def test_what_is_wrong_with_a_body_is_said(
    data: bytes, content_type: str, status: int, kind: str, make: Make, client: ClientSession
) -> None:
    url = await make(upload={"max_bytes": 2000})
    async with client.post(url, data=data, headers={"Content-Type": content_type}) as response:
        assert response.status == status
        assert (await response.json(content_type="application/problem+json"))["type"] == f"urn:faceattr:{kind}"


async def test_a_chunked_body_over_the_limit_gets_413(make: Make, client: ClientSession) -> None:
    url = await make(upload={"max_bytes": 200_000})
    async with client.post(url, data=pieces(b"x" * 1_000_000), headers={"Content-Type": "image/png"}) as response:
        assert response.status == 413


@contextlib.asynccontextmanager
async def connect(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of our own."""
    host, port = url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(20):
            yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def head(*more: str) -> bytes:
    """Of a request, up to its body."""
    return "\r\n".join(["POST /trick HTTP/1.1", "Host: x", *more, "\r\n"]).encode()


async def ask_raw(url: str, more: str, body: bytes = b"") -> bytes:
    """The heads that come back for one request."""
    async with connect(url) as (reader, writer):
        writer.write(head("Content-Type: image/png", more) + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if answer.startswith(b"HTTP/1.1 100"):
            answer += await reader.readuntil(b"\r\n\r\n")
    return answer


async def hold(url: str, gate: Gate, png: bytes, client: ClientSession, requests: int) -> list[asyncio.Task[int]]:
    """So many requests at the gate or waiting behind it."""

    async def ask() -> int:
        async with client.post(url, data=png, headers={"Content-Type": "image/png"}) as response:
            return response.status

    tasks = [asyncio.create_task(ask()) for _ in range(requests)]
    await asyncio.to_thread(gate.wait_for, 1)
    return tasks


async def until_in_flight(app: web.Application, requests: int) -> None:
    async with asyncio.timeout(30):
        while app[EXECUTOR].limiter.in_flight != requests:  # counted in threads
            await asyncio.sleep(0.005)


@pytest.fixture
async def full(
    make: Make, apps: list[web.Application], gate: Gate, png: bytes, client: ClientSession
) -> AsyncIterator[str]:
    """The URL of a server in which every slot is taken; in the end all that took one are answered."""
    url = await make({"gate": str(gate.folder)})
    held = await hold(url, gate, png, client, 2)
    await until_in_flight(apps[0], 2)
    yield url
    gate.open()
    assert await asyncio.gather(*held) == [200, 200]


async def test_a_full_server_refuses_before_the_body_is_read(full: str) -> None:
    answer = await ask_raw(full, "Content-Length: 1000000")  # of which not one byte is sent
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: 1\r\n" in answer


async def test_the_connection_of_a_refusal_is_usable_once_the_body_has_come(full: str) -> None:
    async with connect(full) as (reader, writer):
        for length in (0, 1, 300_000):
            writer.write(head("Content-Type: image/png", f"Content-Length: {length}"))
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 503")
            found = re.search(rb"Content-Length: (\d+)", answer)
            assert found
            await reader.readexactly(int(found[1]))
            writer.write(b"x" * length)


async def test_a_refused_body_that_does_not_come_is_waited_for_no_longer_than_an_upload(
    make: Make, apps: list[web.Application]
) -> None:
    async with connect(await make(upload={"timeout_s": 0.2})) as (reader, writer):
        writer.write(head("Content-Type: text/html", "Content-Length: 9"))
        assert (await reader.read()).startswith(b"HTTP/1.1 415")  # and the end of the connection
    assert apps[0][LINGERING].count == 0


async def test_a_host_still_has_its_say_in_a_refusal(serve: Serve, client: ClientSession) -> None:
    @web.middleware
    async def sign(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        response.headers["X-Host"] = "yes"
        return response

    app = web.Application(middlewares=[sign])
    app.add_subapp("/vision", make_app(Config.model_validate({"pipelines": {"trick": TRICK}})))
    url = f"{await serve(app)}/vision/trick"
    async with client.post(url, data=b"x" * 1_000_000, headers={"Content-Type": "text/html"}) as response:
        assert (response.status, response.headers["X-Host"]) == (415, "yes")


async def test_a_body_in_crumbs_is_refused_and_the_connection_closed(make: Make) -> None:
    async with connect(await make()) as (reader, writer):
        writer.write(head("Content-Type: image/png", "Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 2000)
        assert (await reader.read()).startswith(b"HTTP/1.1 400")


async def test_a_deadline_out_of_reach_is_refused_before_the_body_is_read(
    make: Make, apps: list[web.Application]
) -> None:
    url = await make()
    apps[0][EXECUTOR].limiter.observe(5.0)
    for more in ("", "\r\nExpect: 100-continue"):
        answer = await ask_raw(url, f"Prefer: wait=4\r\nContent-Length: 1000000{more}")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 1\r\n" in answer


async def test_a_deadline_within_reach_is_served(make: Make, png: bytes, client: ClientSession) -> None:
    headers = {"Content-Type": "image/png", "Prefer": "wait=60"}
    async with client.post(await make(), data=png, headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize("configured", [False, True])
async def test_work_whose_deadline_passes_while_it_waits_is_never_done(
    configured: bool, make: Make, apps: list[web.Application], gate: Gate, png: bytes, client: ClientSession
) -> None:
    inference = {"workers": 1, "limit": 2} | ({"deadline_s": 0.5} if configured else {})
    url = await make({"gate": str(gate.folder)}, inference=inference)
    raw = {"Content-Type": "image/png"}
    patient = asyncio.create_task(client.post(url, data=png, headers=raw | {"Prefer": "wait=60"}))
    await asyncio.to_thread(gate.wait_for, 1)
    late = {} if configured else {"Prefer": "wait=0.5"}
    async with client.post(url, data=png, headers=raw | late) as response:
        assert response.status == 504
    gate.open()
    assert (await patient).status == 200
    await until_in_flight(apps[0], 0)
    assert not gate.somebody_came()


async def test_a_deadline_also_holds_for_the_upload(make: Make, png: bytes, client: ClientSession) -> None:
    never = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield png[:100_000]  # in time for 24 seconds
        await never.wait()

    headers = {"Content-Type": "image/png", "Prefer": "wait=0.3"}
    async with client.post(await make(), data=stalled(), headers=headers) as response:
        assert response.status == 504


async def test_expect_continue_is_refused_when_full_and_the_connection_closed(full: str) -> None:
    answer = await ask_raw(full, "Content-Length: 1000000\r\nExpect: 100-continue")
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"100 Continue" not in answer
    assert b"Connection: close" in answer
    assert b"X-Request-ID" in answer


async def test_expect_continue_is_invited_when_there_is_room(make: Make, png: bytes) -> None:
    url = await make()
    answer = await ask_raw(url, f"Content-Length: {len(png)}\r\nExpect: 100-continue", png)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


@pytest.mark.parametrize("head", ["Content-Length: 3000000", "Content-Length: 9\r\nContent-Encoding: gzip"])
async def test_expect_continue_is_refused_for_what_the_headers_rule_out(head: str, make: Make) -> None:
    answer = await ask_raw(await make(upload={"max_bytes": 2000}), f"{head}\r\nExpect: 100-continue")
    assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 415"))


async def test_an_unknown_expectation_is_417(make: Make) -> None:
    assert (await ask_raw(await make(), "Content-Length: 9\r\nExpect: miracles")).startswith(b"HTTP/1.1 417")


async def test_a_slot_is_not_taken_while_the_upload_lasts(make: Make, png: bytes, client: ClientSession) -> None:
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
async def test_a_client_that_leaves_during_its_upload_leaves_nothing(
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


async def test_a_client_that_leaves_while_queued_costs_no_work(
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
    assert not gate.somebody_came()


async def test_every_slot_is_back_after_a_storm(
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
