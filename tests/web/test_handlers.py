"""Requests for one pipeline over real sockets: forms of input, options, and bad requests."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from tests.support.gate import Gate
from tests.support.http import Make, connect, form, head, pieces, until_in_flight


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


async def test_the_response_has_stage_timings_and_the_request_id(make: Make, png: bytes, client: ClientSession) -> None:
    async with client.post(await make(), data=form(png), headers={"X-Request-ID": "mine"}) as response:
        assert response.headers["X-Request-ID"] == "mine"
        assert (await response.json())["id"] == "mine"
        stages = [stage.split(";dur=") for stage in response.headers["Server-Timing"].split(", ")]
    assert [name for name, _ in stages] == ["upload", "queue", "decode", "trick"]
    assert all(float(ms) >= 0 for _, ms in stages)


async def test_accept_image_png_returns_the_drawn_picture(make: Make, png: bytes, client: ClientSession) -> None:
    async with client.post(await make(), data=form(png), headers={"Accept": "image/png"}) as response:
        assert (response.status, response.content_type) == (200, "image/png")
        assert (await response.read()).startswith(b"image/png")


async def test_one_bad_picture_of_a_batch_does_not_affect_the_others(
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
async def test_a_bad_request_is_answered_with_its_status_and_problem_type(
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
async def test_a_bad_body_is_answered_with_its_status_and_problem_type(
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


async def test_serves_a_reachable_deadline(make: Make, png: bytes, client: ClientSession) -> None:
    headers = {"Content-Type": "image/png", "Prefer": "wait=60"}
    async with client.post(await make(), data=png, headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize("configured", [False, True])
async def test_work_whose_deadline_passes_in_the_queue_is_never_started(
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
    assert not gate.has_arrival()


async def test_the_deadline_includes_the_upload(make: Make, png: bytes, client: ClientSession) -> None:
    never = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield png[:100_000]  # in time for 24 seconds
        await never.wait()

    headers = {"Content-Type": "image/png", "Prefer": "wait=0.3"}
    async with asyncio.timeout(10), client.post(await make(), data=stalled(), headers=headers) as response:
        assert response.status == 504


async def test_http_1_0_is_answered_and_the_connection_closed(make: Make, png: bytes) -> None:
    async with connect(await make()) as (reader, writer):
        request = head("Content-Type: image/png", f"Content-Length: {len(png)}").replace(b"HTTP/1.1", b"HTTP/1.0")
        writer.write(request + png)
        assert (await reader.read()).startswith(b"HTTP/1.0 200")


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
async def test_another_method_is_405_with_allow(method: str, make: Make, client: ClientSession) -> None:
    async with client.request(method, await make(), data=b"x" * 1000) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert response.content_type == "application/problem+json"
