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
from tests.test_client import ANSWER, app, problem, stub

DRAINING = {"type": "urn:faceattr:draining", "detail": "The server is going down."}


async def gather(url: str, *pictures: Picture) -> list[Answer | FaceattrError]:
    async with Client(url) as client:
        return [outcome async for outcome in client.stream(pictures)]


def answering(*lines: object, whole: bool = True) -> web.Application:
    """A server that gives these lines and then ends, or breaks off."""

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
async def test_answers_come_while_later_pictures_are_awaited(serve: Serve, png_file: Path) -> None:
    answered = asyncio.Queue[Answer | FaceattrError]()
    seen = list[object]()

    async def pictures() -> AsyncIterator[Picture]:
        for picture in (png_file, b"no picture", png_file.read_bytes()):
            yield picture
            outcome = await answered.get()
            seen.append(len(outcome.faces) if isinstance(outcome, Answer) else type(outcome))

    async with asyncio.timeout(60), Client(await serve(app())) as client:
        async for outcome in client.stream(pictures(), max_faces=1):
            answered.put_nowait(outcome)
    assert seen == [1, UnsupportedMedia, 1]


@pytest.mark.pixels
async def test_the_example_runs(serve: Serve) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "streams.md").read_text(), re.DOTALL)
    code = example.replace("http://127.0.0.1:5000", await serve(app()))
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    said, _ = await run.communicate()
    assert (run.returncode, said.split()) == (0, [b"1"] * 3)


async def test_a_refusal_is_raised_as_what_it_is(serve: Serve) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return problem(503, "overloaded")

    with pytest.raises(Overloaded, match="Said so") as refused:
        await gather(await serve(stub(refuse)), b"x")
    assert refused.value.retry_after_s == 7


async def test_a_last_line_without_a_number_is_raised(serve: Serve) -> None:
    url = await serve(answering(ANSWER | {"number": 0}, {"id": "1", "error": DRAINING}))
    with pytest.raises(Draining):
        await gather(url, b"x", b"y")


async def test_what_breaks_off_or_is_no_answer_is_said(serve: Serve) -> None:
    with pytest.raises(Unreachable):
        await gather(await serve(answering(ANSWER, whole=False)), b"x")
    with pytest.raises(Unreachable):
        await gather("http://127.0.0.1:1", b"x")
    with pytest.raises(UnexpectedAnswer):
        await gather(await serve(answering("no document")), b"x")


async def test_a_file_that_cannot_be_read_ends_the_stream(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await gather(await serve(answering(ANSWER)), b"x", tmp_path / "nowhere.jpg")
