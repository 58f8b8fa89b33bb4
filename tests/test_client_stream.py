"""Streams of the client against the real app and against stubs."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from faceattr_aio.client import Client, Picture, UnexpectedAnswer, Unreachable
from faceattr_aio.errors import Draining, FaceattrError, Overloaded, UnsupportedMedia
from faceattr_aio.schemas import Answer
from tests.conftest import Serve
from tests.support.process import ROOT
from tests.support.stub_server import ANSWER, app, problem, stub

DRAINING = {"type": "urn:faceattr:draining", "detail": "The server is shutting down."}


async def gather(url: str, *pictures: Picture) -> list[Answer | FaceattrError]:
    async with Client(url) as client:
        return [outcome async for outcome in client.stream(pictures)]


def answering(*lines: object, whole: bool = True) -> web.Application:
    """A server that sends these lines and then ends or aborts the response."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(json.dumps(line).encode() + b"\n")
        await request.read()
        if not whole and request.transport:
            request.transport.abort()
        return response

    return stub(answer)


@pytest.mark.pixels
async def test_yields_answers_before_later_pictures_are_known(serve: Serve, png_file: Path) -> None:
    answered = asyncio.Queue[Answer | FaceattrError]()
    outcomes = list[object]()

    async def pictures() -> AsyncIterator[Picture]:
        for picture in (png_file, b"no picture", png_file.read_bytes()):
            yield picture
            outcome = await answered.get()
            outcomes.append(len(outcome.faces) if isinstance(outcome, Answer) else type(outcome))

    async with asyncio.timeout(60), Client(await serve(app())) as client:
        async for outcome in client.stream(pictures(), max_faces=1):
            answered.put_nowait(outcome)
    assert outcomes == [1, UnsupportedMedia, 1]


@pytest.mark.pixels
async def test_the_example_runs(serve: Serve) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "streams.md").read_text(), re.DOTALL)
    code = example.replace("http://127.0.0.1:5000", await serve(app()))
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    output, _ = await run.communicate()
    assert (run.returncode, output.split()) == (0, [b"1"] * 3)


async def test_raises_a_refusal_with_its_own_type(serve: Serve) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return problem(503, "overloaded")

    with pytest.raises(Overloaded, match="Said so") as refused:
        await gather(await serve(stub(refuse)), b"x")
    assert refused.value.retry_after_s == 7


async def test_raises_the_failure_of_the_whole_stream(serve: Serve) -> None:
    url = await serve(answering(ANSWER | {"number": 0}, {"id": "1", "error": DRAINING}))
    with pytest.raises(Draining):
        await gather(url, b"x", b"y")


async def test_raises_for_a_broken_connection_and_for_an_unexpected_response(serve: Serve) -> None:
    with pytest.raises(Unreachable):
        await gather(await serve(answering(ANSWER, whole=False)), b"x")
    with pytest.raises(Unreachable):
        await gather("http://127.0.0.1:1", b"x")
    with pytest.raises(UnexpectedAnswer):
        await gather(await serve(answering("no document")), b"x")


async def test_raises_for_a_missing_file(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await gather(await serve(answering(ANSWER)), b"x", tmp_path / "nowhere.jpg")
