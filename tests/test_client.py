import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from aiohttp import web

from faceattr_aio import Config, make_app
from faceattr_aio.client import Client, UnexpectedAnswer, Unreachable
from faceattr_aio.errors import (
    BadOption,
    DeadlineExceeded,
    Overloaded,
    RateLimited,
    Unauthorized,
    UnknownJob,
    UnreadableImage,
    UnsupportedMedia,
)
from faceattr_aio.schemas import Answer
from faceattr_aio.telemetry.metrics import resident
from tests.conftest import Serve
from tests.support.gate import Gate
from tests.support.process import ROOT

KEY = "0123456789abcdef"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def app(**sections: Any) -> web.Application:
    return make_app(Config.model_validate({"inference": {"workers": 1, "limit": 1}} | sections))


def trick(gate: Gate) -> dict[str, Any]:
    return {"trick": {"factory": "tests.support.pipelines:Trick", "path": "/trick", "gate": str(gate.folder)}}


def stub(handler: Handler) -> web.Application:
    """A server that answers as it is told to."""
    app = web.Application()
    app.router.add_post("/analyze", handler)
    return app


def problem(status: int, kind: str, retry_after: str = "7", **members: object) -> web.Response:
    document = {"type": f"urn:faceattr:{kind}", "status": status, "detail": "Said so.", "instance": "1", **members}
    headers = {"Retry-After": retry_after} if retry_after else {}
    return web.json_response(document, status=status, headers=headers, content_type="application/problem+json")


ANSWER = {
    "id": "1",
    "image": {"width": 9, "height": 9, "format": "png"},
    "faces": [],
    "models": {},
    "cached": False,
    "newer": "than the client",
}


@pytest.mark.pixels
async def test_a_file_and_bytes_get_their_faces(serve: Serve, png_file: Path) -> None:
    async with Client(await serve(app())) as client:
        one, other = await client.analyze(png_file), await client.analyze(png_file.read_bytes(), attributes="age")
        (face,) = one.faces
        assert isinstance(one, Answer)
        assert [face.box.x, face.box.y] == pytest.approx([173, 68], abs=4)
        assert face.gender is not None
        assert face.gender.label == "female"
        assert (len(other.faces), other.faces[0].gender) == (1, None)


@pytest.mark.pixels
@pytest.mark.parametrize(
    ("example", "printed"),
    list(enumerate([r"female 3\d\.\d \(\d+, \d+\) x=17\d .*", "1 face", "1\nThe file is not a picture of .*"])),
)
async def test_the_examples_run(serve: Serve, example: int, printed: str) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text(), re.DOTALL)
    assert len(examples) == 3
    code = examples[example].replace("http://127.0.0.1:5000", await serve(app()))
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    said, _ = await run.communicate()
    assert run.returncode == 0
    assert re.fullmatch(printed, said.decode().strip())


@pytest.mark.pixels
async def test_a_picture_comes_back_drawn_on(serve: Serve, png_file: Path) -> None:
    async with Client(f"{await serve(app())}/") as client:
        drawn = cv2.imdecode(np.frombuffer(await client.annotate(png_file, "image/png"), np.uint8), 1)
        assert drawn is not None
        assert (drawn != cv2.imread(str(png_file))).any()


@pytest.mark.pixels
async def test_of_several_each_has_its_answer_or_its_failure(serve: Serve, png_file: Path) -> None:
    async with Client(await serve(app())) as client:
        good, text, cut = await client.analyze_batch([png_file, b"no picture", png_file.read_bytes()[:9999]])
        assert isinstance(good, Answer)
        assert len(good.faces) == 1
        assert (type(text), type(cut)) == (UnsupportedMedia, UnreadableImage)
        (alone,) = await client.analyze_batch([png_file])
        assert isinstance(alone, Answer)


async def test_a_failure_has_the_type_that_the_server_has_for_it(serve: Serve, png: bytes) -> None:
    async with Client(await serve(app())) as client:
        with pytest.raises(UnsupportedMedia) as said:
            await client.analyze(b"no picture")
        assert said.value.detail == "The file is not a picture of an accepted type (jpeg, png, webp)."
        with pytest.raises(BadOption, match="max_faces"):
            await client.analyze(png, max_faces=0)


async def test_a_key_is_shown(serve: Serve) -> None:
    url = await serve(app(auth={"keys": [KEY]}))
    async with Client(url) as nobody, Client(url, key=KEY) as somebody:
        with pytest.raises(Unauthorized):
            await nobody.analyze(b"no picture")
        with pytest.raises(UnsupportedMedia):
            await somebody.analyze(b"no picture")


async def test_a_full_server_is_asked_again_until_it_has_room(serve: Serve, gate: Gate, png_file: Path) -> None:
    async with Client(await serve(app(pipelines=trick(gate))), path="/trick") as client:
        first = asyncio.create_task(client.ask([png_file]))
        await asyncio.to_thread(gate.wait_for, 1)
        with pytest.raises(Overloaded) as said:
            await client.ask([png_file], deadline_s=0.05)
        assert (said.value.members["limit"], said.value.members["in_flight"]) == (1, 1)
        second = asyncio.create_task(client.ask([png_file]))
        refused = asyncio.create_task(client.ask([png_file], deadline_s=0.3))
        with pytest.raises((Overloaded, DeadlineExceeded)):
            await refused
        gate.open()
        assert (await first)["bytes"] == (await second)["bytes"] == png_file.stat().st_size


async def test_it_comes_back_no_sooner_than_it_is_told_to_and_says_what_is_left(serve: Serve) -> None:
    asked: list[tuple[float, float]] = []

    async def refuse_twice(request: web.Request) -> web.Response:
        asked.append((time.monotonic(), float(request.headers["Prefer"].removeprefix("wait="))))
        answers = [problem(503, "overloaded", retry_after_ms=300), problem(429, "rate-limited", retry_after="1")]
        return answers[len(asked) - 1] if len(asked) <= 2 else web.json_response(ANSWER)

    async with Client(await serve(stub(refuse_twice))) as client:
        assert (await client.analyze(b"picture", deadline_s=20)).faces == ()
    (first, left), (second, less), (third, least) = asked
    assert second - first >= 0.3
    assert third - second >= 1
    assert 20 >= left > less > least > 0


async def test_who_would_come_back_too_late_fails_at_once(serve: Serve) -> None:
    asked = 0

    async def refuse(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return problem(429, "rate-limited", retry_after_ms=5000)

    async with Client(await serve(stub(refuse)), deadline_s=4) as client:
        with pytest.raises(RateLimited) as said:
            await client.analyze(b"picture")
    assert (asked, said.value.retry_after_s) == (1, 5)


async def test_no_answer_in_time_is_a_deadline_exceeded(serve: Serve) -> None:
    never = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with Client(await serve(stub(hang)), deadline_s=0.2) as client:
        with pytest.raises(DeadlineExceeded):
            await client.analyze(b"picture")
    never.set()


async def test_a_server_that_is_not_there_yet_is_tried_again(unused_tcp_port: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(ANSWER)

    async with Client(f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(Unreachable, match="There is no answer from http"):
            await client.analyze(b"picture", deadline_s=0.2)
        waiting = asyncio.create_task(client.analyze(b"picture"))
        await asyncio.sleep(0)
        runner = web.AppRunner(stub(answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
        assert (await waiting).id == "1"
        await runner.cleanup()


@pytest.mark.parametrize(
    "answer",
    [
        {"text": "<html>", "content_type": "text/html"},
        {"text": "<html>", "content_type": "text/html", "status": 502},
        {"text": "[]", "content_type": "application/json"},
        {"text": '{"type": "urn:other:thing", "detail": "?"}', "status": 418},
    ],
)
async def test_what_no_such_server_would_say_is_unexpected(serve: Serve, answer: dict[str, Any]) -> None:
    async def say(_: web.Request) -> web.Response:
        return web.Response(**answer)

    async with Client(await serve(stub(say))) as client:
        with pytest.raises(UnexpectedAnswer):
            await client.analyze(b"picture")


async def test_a_large_file_is_sent_as_it_is_read(serve: Serve, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(300 << 20)
    received = most = 0

    async def count(request: web.Request) -> web.Response:
        nonlocal received, most
        async for chunk in request.content.iter_any():
            received += len(chunk)
        most = resident()
        return web.json_response(ANSWER)

    async with Client(await serve(stub(count))) as client:
        before = resident()
        await client.analyze(large)
        assert received == 300 << 20
        assert most - before < 60 << 20


async def test_a_file_that_is_not_there_is_the_callers_to_know(serve: Serve, tmp_path: Path) -> None:
    async with Client(await serve(app())) as client:
        with pytest.raises(FileNotFoundError):
            await client.analyze(tmp_path / "nothing.jpg")


async def test_a_job_is_ordered_and_its_answer_asked_for_later(serve: Serve, gate: Gate, png: bytes) -> None:
    async with Client(await serve(app(pipelines=trick(gate)))) as client:
        job = await client.submit([png, png], pipeline="trick", times=2)
        assert (job.status, job.progress.of) == ("queued", 2)
        asking = asyncio.create_task(client.result(job.id))
        await asyncio.to_thread(gate.wait_for, 1)
        with pytest.raises(DeadlineExceeded):
            await client.result(job.id, deadline_s=0.1)
        gate.open()
        over = await asking
        assert over.result
        assert [one["bytes"] for one in over.result["results"]] == [len(png)] * 2
        with pytest.raises(UnknownJob):
            await client.result("another")
        with pytest.raises(UnsupportedMedia):
            await client.submit([b"no picture"])
