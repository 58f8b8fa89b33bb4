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


def app(buffer: RecordBuffer) -> web.Application:
    app = web.Application()
    app.router.add_post("/echo/{name}", echo, expect_handler=refuse)
    app.router.add_get("/fail", fail)
    app.on_response_prepare.append(buffer.add)
    return app


@pytest.fixture
def records() -> list[RequestRecord]:
    return []


@pytest.fixture
def buffer(records: list[RequestRecord]) -> RecordBuffer:
    return RecordBuffer([records.append])


async def test_records_sizes_route_and_the_path_without_its_query(
    serve: Serve, client: ClientSession, buffer: RecordBuffer, records: list[RequestRecord]
) -> None:
    url = await serve(app(buffer))
    async with client.post(f"{url}/echo/a%0Ab?key=secret", data=b"12345", headers={REQUEST_ID: "mine"}) as response:
        assert response.status == 200
    buffer.flush()
    (record,) = records
    assert (record.id, record.method, record.path, record.route) == ("mine", "POST", "/echo/a%0Ab", "/echo/{name}")
    assert (record.status, record.received, record.sent, record.pipeline) == (200, 5, 5, "echo")
    assert 0 < record.seconds < 30


async def test_the_route_has_the_prefix_of_the_parent_app(
    serve: Serve, client: ClientSession, buffer: RecordBuffer, records: list[RequestRecord]
) -> None:
    host = web.Application()
    host.add_subapp("/vision", app(buffer))
    url = await serve(host)
    async with client.post(f"{url}/vision/echo/x"), client.get(f"{url}/elsewhere"):
        pass
    buffer.flush()
    assert [record.route for record in records] == ["/vision/echo/{name}"]


async def test_records_responses_that_no_handler_returned(
    serve: Serve, client: ClientSession, buffer: RecordBuffer, records: list[RequestRecord]
) -> None:
    url = await serve(app(buffer))
    for path in ("/nowhere", "/fail"):
        async with client.get(url + path):
            pass
    async with client.post(f"{url}/echo/x", headers={"Expect": "100-continue"}):
        pass
    buffer.flush()
    assert [(record.status, record.route) for record in records] == [(404, ""), (409, "/fail"), (417, "/echo/{name}")]


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "é"])
async def test_replaces_an_invalid_id(
    sent: str, serve: Serve, client: ClientSession, buffer: RecordBuffer, records: list[RequestRecord]
) -> None:
    url = await serve(app(buffer))
    async with client.get(f"{url}/fail", headers={REQUEST_ID: sent}):
        pass
    buffer.flush()
    assert len(records[0].id) == 32


async def test_a_failing_listener_affects_neither_the_response_nor_other_listeners(
    serve: Serve,
    client: ClientSession,
    buffer: RecordBuffer,
    records: list[RequestRecord],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: RequestRecord) -> None:
        raise ZeroDivisionError

    buffer.listeners.insert(0, broken)
    url = await serve(app(buffer))
    async with client.get(f"{url}/fail", headers={REQUEST_ID: "mine"}) as response:
        assert response.status == 409
    buffer.flush()
    assert len(records) == 1
    assert [record.levelno for record in caplog.records if "mine" in record.getMessage()] == [logging.ERROR]


async def test_passes_each_record_once(
    serve: Serve, client: ClientSession, buffer: RecordBuffer, records: list[RequestRecord]
) -> None:
    url = await serve(app(buffer))
    for _ in range(3):
        async with client.get(f"{url}/fail"):
            pass
        buffer.flush()
    buffer.flush()
    assert len(records) == 3


def test_the_stages_of_all_pictures_are_summed_in_order() -> None:
    record = RequestRecord(
        "id", "POST", timings=[{"upload": 1.0}, {"queue": 2.0, "decode": 0.25}, {"queue": 3.0, "decode": 0.5}]
    )
    assert record.stages == {"upload": 1.0, "queue": 5.0, "decode": 0.75}
    assert record.timing == "upload;dur=1.00, queue;dur=5.00, decode;dur=0.75"


@pytest.mark.parametrize(
    ("status", "refused", "failed"),
    [(200, False, False), (404, False, False), (429, True, False), (503, True, False), (500, False, True)],
)
def test_a_refusal_is_not_a_failure(status: int, refused: bool, failed: bool) -> None:
    record = RequestRecord("id", "POST", status=status)
    assert (record.refused, record.failed) == (refused, failed)


def test_the_upload_is_the_first_stage() -> None:
    record = RequestRecord("id", "POST")
    record.since -= 2.0
    record.end_upload(3)
    assert record.pictures == 3
    assert list(record.stages) == ["upload"]
    assert 2000 <= record.stages["upload"] < 60_000


def test_every_count_has_a_field() -> None:
    record = RequestRecord("id", "POST", status=200, seconds=0.0123, timings=[{"upload": 1.23456}])
    record.counts.update({"faces": 2})
    fields = record.fields()
    assert (fields["id"], fields["faces"], fields["ms"], fields["stages_ms"]) == ("id", 2, 12.3, {"upload": 1.23})
