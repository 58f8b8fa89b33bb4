"""Every answer of an app ends in a story, whoever gave it."""

import logging

import pytest
from aiohttp import ClientSession, web

from faceattr_aio.telemetry.record import REQUEST_ID, RecordBuffer, RequestRecord, record_of
from tests.conftest import Serve


async def echo(request: web.Request) -> web.Response:
    record_of(request).pipeline = "echo"
    return web.Response(body=await request.read())


async def fail(_: web.Request) -> web.Response:
    raise web.HTTPConflict


async def refuse(_: web.Request) -> web.StreamResponse:
    return web.Response(status=417)


def app(journal: RecordBuffer) -> web.Application:
    app = web.Application()
    app.router.add_post("/echo/{name}", echo, expect_handler=refuse)
    app.router.add_get("/fail", fail)
    app.on_response_prepare.append(journal.end)
    return app


@pytest.fixture
def told() -> list[RequestRecord]:
    return []


@pytest.fixture
def journal(told: list[RequestRecord]) -> RecordBuffer:
    return RecordBuffer([told.append])


async def test_a_request_is_told_with_sizes_route_and_path_without_its_query(
    serve: Serve, client: ClientSession, journal: RecordBuffer, told: list[RequestRecord]
) -> None:
    url = await serve(app(journal))
    async with client.post(f"{url}/echo/a%0Ab?key=secret", data=b"12345", headers={REQUEST_ID: "mine"}) as response:
        assert response.status == 200
    journal.tell()
    (one,) = told
    assert (one.id, one.method, one.path, one.route) == ("mine", "POST", "/echo/a%0Ab", "/echo/{name}")
    assert (one.status, one.received, one.sent, one.pipeline) == (200, 5, 5, "echo")
    assert 0 < one.seconds < 30


async def test_in_a_host_the_route_has_the_hosts_prefix(
    serve: Serve, client: ClientSession, journal: RecordBuffer, told: list[RequestRecord]
) -> None:
    host = web.Application()
    host.add_subapp("/vision", app(journal))
    url = await serve(host)
    async with client.post(f"{url}/vision/echo/x"), client.get(f"{url}/elsewhere"):
        pass
    journal.tell()
    assert [one.route for one in told] == ["/vision/echo/{name}"]


async def test_answers_that_no_handler_gave_are_told_too(
    serve: Serve, client: ClientSession, journal: RecordBuffer, told: list[RequestRecord]
) -> None:
    url = await serve(app(journal))
    for path in ("/nowhere", "/fail"):
        async with client.get(url + path):
            pass
    async with client.post(f"{url}/echo/x", headers={"Expect": "100-continue"}):
        pass
    journal.tell()
    assert [(one.status, one.route) for one in told] == [(404, ""), (409, "/fail"), (417, "/echo/{name}")]


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "é"])
async def test_an_id_that_is_not_sane_is_replaced(
    sent: str, serve: Serve, client: ClientSession, journal: RecordBuffer, told: list[RequestRecord]
) -> None:
    url = await serve(app(journal))
    async with client.get(f"{url}/fail", headers={REQUEST_ID: sent}):
        pass
    journal.tell()
    assert len(told[0].id) == 32


async def test_a_listener_that_fails_keeps_nobody_from_the_answer_or_the_story(
    serve: Serve,
    client: ClientSession,
    journal: RecordBuffer,
    told: list[RequestRecord],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: RequestRecord) -> None:
        raise ZeroDivisionError

    journal.listeners.insert(0, broken)
    url = await serve(app(journal))
    async with client.get(f"{url}/fail", headers={REQUEST_ID: "mine"}) as response:
        assert response.status == 409
    journal.tell()
    assert len(told) == 1
    assert [record.levelno for record in caplog.records if "mine" in record.getMessage()] == [logging.ERROR]


async def test_each_story_is_told_once(
    serve: Serve, client: ClientSession, journal: RecordBuffer, told: list[RequestRecord]
) -> None:
    url = await serve(app(journal))
    for _ in range(3):
        async with client.get(f"{url}/fail"):
            pass
        journal.tell()
    journal.tell()
    assert len(told) == 3
