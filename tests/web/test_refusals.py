"""Refusals before the body is read, `Expect: 100-continue`, and what happens to the rest of a refused body."""

import re

import pytest
from aiohttp import ClientSession, web

from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import EXECUTOR, make_app
from faceattr_aio.web.responses import LINGERING, Handler
from tests.conftest import Serve
from tests.support.http import TRICK, Make, ask_raw, connect, head


async def test_refuses_when_full_before_reading_the_body(full: str) -> None:
    answer = await ask_raw(full, "Content-Length: 1000000")  # of which not one byte is sent
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: 1\r\n" in answer


async def test_the_connection_stays_usable_after_a_refusal_once_the_body_was_sent(full: str) -> None:
    async with connect(full) as (reader, writer):
        for length in (0, 1, 300_000):
            writer.write(head("Content-Type: image/png", f"Content-Length: {length}"))
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 503")
            found = re.search(rb"Content-Length: (\d+)", answer)
            assert found
            await reader.readexactly(int(found[1]))
            writer.write(b"x" * length)


async def test_a_refused_body_is_awaited_no_longer_than_the_upload_timeout(
    make: Make, apps: list[web.Application]
) -> None:
    async with connect(await make(upload={"timeout_s": 0.2})) as (reader, writer):
        writer.write(head("Content-Type: text/html", "Content-Length: 9"))
        assert (await reader.read()).startswith(b"HTTP/1.1 415")  # and the end of the connection
    assert apps[0][LINGERING].count == 0


async def test_middlewares_of_the_host_app_see_a_refusal(serve: Serve, client: ClientSession) -> None:
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


async def test_a_body_in_chunks_of_one_byte_is_refused_and_the_connection_closed(make: Make) -> None:
    async with connect(await make()) as (reader, writer):
        writer.write(head("Content-Type: image/png", "Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 2000)
        assert (await reader.read()).startswith(b"HTTP/1.1 400")


async def test_refuses_an_unreachable_deadline_before_reading_the_body(make: Make, apps: list[web.Application]) -> None:
    url = await make()
    apps[0][EXECUTOR].limiter.observe(5.0)
    for more in ("", "\r\nExpect: 100-continue"):
        answer = await ask_raw(url, f"Prefer: wait=4\r\nContent-Length: 1000000{more}")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 1\r\n" in answer


async def test_expect_continue_gets_503_when_full_and_the_connection_is_closed(full: str) -> None:
    answer = await ask_raw(full, "Content-Length: 1000000\r\nExpect: 100-continue")
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"100 Continue" not in answer
    assert b"Connection: close" in answer
    assert b"X-Request-ID" in answer


async def test_expect_continue_gets_100_when_a_slot_is_free(make: Make, png: bytes) -> None:
    url = await make()
    answer = await ask_raw(url, f"Content-Length: {len(png)}\r\nExpect: 100-continue", png)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


@pytest.mark.parametrize("head", ["Content-Length: 3000000", "Content-Length: 9\r\nContent-Encoding: gzip"])
async def test_expect_continue_gets_the_final_status_when_the_headers_are_refused(head: str, make: Make) -> None:
    answer = await ask_raw(await make(upload={"max_bytes": 2000}), f"{head}\r\nExpect: 100-continue")
    assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 415"))


async def test_an_unknown_expectation_is_417(make: Make) -> None:
    assert (await ask_raw(await make(), "Content-Length: 9\r\nExpect: miracles")).startswith(b"HTTP/1.1 417")
