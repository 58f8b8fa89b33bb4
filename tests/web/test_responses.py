import asyncio
import json
import logging

import pytest
from aiohttp import ClientSession, web

from faceattr_aio.errors import InternalError, Overloaded, TooManyPixels
from faceattr_aio.inference.process import WorkerCrashed
from faceattr_aio.telemetry.record import RecordBuffer, RequestRecord
from faceattr_aio.web.body import Lingering
from faceattr_aio.web.responses import LINGERING, problem_middleware
from tests.conftest import Serve


async def overloaded(_: web.Request) -> web.Response:
    raise Overloaded("Full.", retry_after_s=3.2, limit=4, in_flight=4, retry_after_ms=3200)


async def too_many(_: web.Request) -> web.Response:
    raise TooManyPixels("It has too many.", log="a detail for us")


async def internal(_: web.Request) -> web.Response:
    raise InternalError("It was us.", log="Traceback: /a/secret/path")


async def crashed(_: web.Request) -> web.Response:
    raise WorkerCrashed(log="/a/secret/path")


async def unforeseen(_: web.Request) -> web.Response:
    raise ZeroDivisionError("/a/secret/path")


async def moved(_: web.Request) -> web.Response:
    raise web.HTTPFound("/elsewhere")


async def fine(_: web.Request) -> web.Response:
    return web.Response(text="fine")


@pytest.fixture
async def url(serve: Serve) -> str:
    app = web.Application(middlewares=[problem_middleware])
    app[LINGERING] = Lingering(limit=1, seconds=1, max_bytes=1024)
    for handler in (overloaded, too_many, internal, crashed, unforeseen, moved, fine):
        app.router.add_get(f"/{handler.__name__}", handler)
    return await serve(app)


async def test_the_recorded_time_includes_the_handler(serve: Serve, client: ClientSession) -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return web.Response()

    records: list[RequestRecord] = []
    buffer = RecordBuffer([records.append])
    app = web.Application(middlewares=[problem_middleware])
    app.on_response_prepare.append(buffer.add)
    app.router.add_get("/slow", slow)
    async with client.get(f"{await serve(app)}/slow") as response:
        assert response.status == 200
    buffer.flush()
    assert [record.seconds >= 0.1 for record in records] == [True]


async def test_a_refusal_has_retry_after(url: str, client: ClientSession) -> None:
    async with client.get(f"{url}/overloaded") as response:
        assert (response.status, response.content_type) == (503, "application/problem+json")
        assert response.headers["Retry-After"] == "4"
        assert json.loads(await response.text()) == {
            "type": "urn:faceattr:overloaded",
            "title": "The server is at capacity",
            "status": 503,
            "detail": "Full.",
            "instance": response.headers["X-Request-ID"],
            "limit": 4,
            "in_flight": 4,
            "retry_after_ms": 3200,
        }


async def test_a_bad_picture_is_not_logged_as_an_error(
    url: str, client: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with client.get(f"{url}/too_many") as response:
        assert response.status == 422
    assert "a detail for us" not in caplog.text


@pytest.mark.parametrize("path", ["internal", "crashed", "unforeseen"])
async def test_an_internal_error_is_logged_with_the_request_id_and_hidden_from_the_client(
    path: str, url: str, client: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async with client.get(f"{url}/{path}", headers={"X-Request-ID": "my-id"}) as response:
        assert response.status == 500
        assert "secret" not in await response.text()
    assert "request my-id" in caplog.text
    assert "/a/secret/path" in caplog.text


@pytest.mark.parametrize(
    ("path", "method", "status", "kind"),
    [("/no", "GET", 404, "not-found"), ("/fine", "POST", 405, "method-not-allowed")],
)
async def test_errors_of_aiohttp_become_problem_documents(
    path: str, method: str, status: int, kind: str, url: str, client: ClientSession
) -> None:
    async with client.request(method, url + path) as response:
        assert (response.status, response.content_type) == (status, "application/problem+json")
        assert json.loads(await response.text())["type"] == f"urn:faceattr:{kind}"
        assert response.headers.get("Allow") == ("GET,HEAD" if status == 405 else None)


async def test_a_redirect_is_not_a_problem(url: str, client: ClientSession) -> None:
    async with client.get(f"{url}/moved", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/elsewhere")


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-123", True), ("x" * 129, False), ("a b", False), ("<script>", False), ("", False)]
)
async def test_a_valid_request_id_of_the_client_is_used(
    sent: str, kept: bool, url: str, client: ClientSession
) -> None:  # a table
    async with client.get(f"{url}/fine", headers={"X-Request-ID": sent}) as response:
        given = response.headers["X-Request-ID"]
    assert (given == sent) is kept
    assert given
