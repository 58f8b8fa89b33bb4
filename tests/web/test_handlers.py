"""One pipeline behind HTTP, on real sockets; the workers are threads, so that a test can look at everything."""

import asyncio
import contextlib
import json
import logging
import os
import random
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, FormData, TCPConnector, web

from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import ENDPOINTS, EXECUTOR, UPLOADS, make_app
from faceattr_aio.web.responses import LINGERING, Handler
from tests.conftest import Serve
from tests.support.gate import Gate

TRICK = {"factory": "tests.support.pipelines:Trick", "path": "/trick"}
Make = Callable[..., Awaitable[str]]


@pytest.fixture
async def apps() -> AsyncIterator[list[web.Application]]:
    """The apps of the test; at its end no slot, upload, byte or share may be left in use."""
    apps: list[web.Application] = []
    yield apps
    for app in apps:
        async with asyncio.timeout(30):
            while app[EXECUTOR].limiter.in_flight or app[UPLOADS].limiter.in_flight or shares(app):  # in threads
                await asyncio.sleep(0.005)
        assert app[UPLOADS].spool.used == 0


def shares(app: web.Application) -> dict[str, set[object]]:
    """What each client holds."""
    (endpoint,) = app[ENDPOINTS]
    return endpoint.limits._slots._held | endpoint.limits._uploads._held


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
    return "\r\n".join(["POST /trick HTTP/1.1", "Host: x", *more, "\r\n"]).encode("utf-8", "surrogateescape")


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
    async with asyncio.timeout(10), client.post(await make(), data=stalled(), headers=headers) as response:
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


async def test_a_client_that_ends_its_side_after_the_request_gets_no_answer_and_costs_no_slot(
    make: Make, apps: list[web.Application], png: bytes
) -> None:
    """So aiohttp has it: what a client has no more to say on, it is taken to have left."""
    url = await make()
    async with connect(url) as (reader, writer):
        writer.write(head("Content-Type: image/png", f"Content-Length: {len(png)}") + png)
        writer.write_eof()
        assert await reader.read() == b""
    await until_in_flight(apps[0], 0)


async def test_http_1_0_is_answered_and_the_connection_closed(make: Make, png: bytes) -> None:
    async with connect(await make()) as (reader, writer):
        request = head("Content-Type: image/png", f"Content-Length: {len(png)}").replace(b"HTTP/1.1", b"HTTP/1.0")
        writer.write(request + png)
        assert (await reader.read()).startswith(b"HTTP/1.0 200")


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
async def test_another_method_is_405_and_says_which_there_is(method: str, make: Make, client: ClientSession) -> None:
    async with client.request(method, await make(), data=b"x" * 1000) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert response.content_type == "application/problem+json"


async def test_after_each_of_fifty_bursts_with_hang_ups_the_count_is_exact(
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


KEY = "one-key-of-sixteen"
RAW = {"Content-Type": "image/png"}


@pytest.fixture
async def other() -> AsyncIterator[ClientSession]:
    """A client at another address than everybody else."""
    async with ClientSession(connector=TCPConnector(local_addr=("127.0.0.2", 0))) as session:
        yield session


async def status(client: ClientSession, url: str, data: Any, **headers: str) -> int:
    """Of one upload; a 429 must say when to come back."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.post(url, data=data, headers=RAW | named) as response:
        if response.status == 429:
            assert int(response.headers["Retry-After"]) >= 1
            assert (await response.json(content_type="application/problem+json"))["type"] == "urn:faceattr:rate-limited"
        return response.status


async def until_shared(app: web.Application, client: str, slots: int = 0, uploads: int = 0) -> None:
    """Returns when the client holds so many of each."""
    fairness = app[ENDPOINTS][0].limits
    async with asyncio.timeout(30):
        while (len(fairness._slots._held.get(client, ())), len(fairness._uploads._held.get(client, ()))) != (
            slots,
            uploads,
        ):
            await asyncio.sleep(0.005)


async def test_the_greedy_client_alone_is_refused_while_another_is_served(
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


async def test_who_hangs_up_has_its_share_in_use_until_the_work_is_over(
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


async def test_what_is_refused_after_its_upload_gives_its_share_back(make: Make, client: ClientSession) -> None:
    url = await make(inference={"workers": 1, "limit": 2}, clients={"fair": True})
    assert [await status(client, url, b"no picture") for _ in range(4)] == [415] * 4


async def test_slow_uploads_of_one_client_leave_room_for_those_of_another(
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


async def test_unless_asked_for_there_is_no_share(
    make: Make, gate: Gate, png: bytes, client: ClientSession, apps: list[web.Application]
) -> None:
    url = await make({"gate": str(gate.folder)})
    held = await hold(url, gate, png, client, 2)
    await until_in_flight(apps[0], 2)
    assert await status(client, url, png) == 503
    gate.open()
    assert await asyncio.gather(*held) == [200] * 2


async def test_a_client_over_its_rate_is_refused_and_another_is_served(
    make: Make, png: bytes, client: ClientSession, other: ClientSession
) -> None:
    url = await make(clients={"requests_per_minute": 2})
    assert [await status(client, url, png) for _ in range(4)] == [200, 200, 429, 429]
    assert await status(other, url, png) == 200
    async with client.post(url, data=png, headers=RAW) as response:
        assert 20 <= int(response.headers["Retry-After"]) <= 30


async def test_the_rate_counts_a_body_once_and_a_refusal_by_its_headers_not_at_all(
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
async def test_a_forwarded_address_is_believed_from_a_listed_proxy_and_only_its_right_end(
    proxies: list[str], status_of_another: int, make: Make, png: bytes, client: ClientSession
) -> None:
    url = await make(clients={"requests_per_minute": 1, "trusted_proxies": proxies})
    assert await status(client, url, png, X_Forwarded_For="203.0.113.9") == 200
    assert await status(client, url, png, X_Forwarded_For="198.51.100.1, 203.0.113.9") == 429
    assert await status(client, url, png, X_Forwarded_For="203.0.113.9, 198.51.100.1") == status_of_another


async def test_a_key_has_its_own_rate_wherever_it_is_shown_from(
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
async def test_without_a_key_that_fits_nothing_is_read_and_nothing_else_is_told(
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
