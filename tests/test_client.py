"""The client against the real app and against stubs."""

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from aiohttp import web

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
from tests.support.stub_server import ANSWER, app, problem, stub

KEY = "0123456789abcdef"


def trick(gate: Gate) -> dict[str, Any]:
    return {"trick": {"factory": "tests.support.pipelines:Trick", "path": "/trick", "gate": str(gate.folder)}}


@pytest.mark.pixels
async def test_analyzes_a_file_and_bytes(serve: Serve, png_file: Path) -> None:
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
    output, _ = await run.communicate()
    assert run.returncode == 0
    assert re.fullmatch(printed, output.decode().strip())


@pytest.mark.pixels
async def test_returns_the_annotated_picture(serve: Serve, png_file: Path) -> None:
    async with Client(f"{await serve(app())}/") as client:
        annotated = cv2.imdecode(np.frombuffer(await client.annotate(png_file, "image/png"), np.uint8), 1)
        assert annotated is not None
        assert (annotated != cv2.imread(str(png_file))).any()


@pytest.mark.pixels
async def test_a_batch_returns_an_answer_or_a_failure_for_each_picture(serve: Serve, png_file: Path) -> None:
    async with Client(await serve(app())) as client:
        good, text, cut = await client.analyze_batch([png_file, b"no picture", png_file.read_bytes()[:9999]])
        assert isinstance(good, Answer)
        assert len(good.faces) == 1
        assert (type(text), type(cut)) == (UnsupportedMedia, UnreadableImage)
        (alone,) = await client.analyze_batch([png_file])
        assert isinstance(alone, Answer)


async def test_raises_a_failure_with_its_own_type(serve: Serve, png: bytes) -> None:
    async with Client(await serve(app())) as client:
        with pytest.raises(UnsupportedMedia) as raised:
            await client.analyze(b"no picture")
        assert raised.value.detail == "The file is not a picture of an accepted type (jpeg, png, webp)."
        with pytest.raises(BadOption, match="max_faces"):
            await client.analyze(png, max_faces=0)


async def test_sends_the_api_key(serve: Serve) -> None:
    url = await serve(app(auth={"keys": [KEY]}))
    async with Client(url) as without_key, Client(url, key=KEY) as with_key:
        with pytest.raises(Unauthorized):
            await without_key.analyze(b"no picture")
        with pytest.raises(UnsupportedMedia):
            await with_key.analyze(b"no picture")


async def test_retries_while_the_server_is_full(serve: Serve, gate: Gate, png_file: Path) -> None:
    async with Client(await serve(app(pipelines=trick(gate))), path="/trick") as client:
        first = asyncio.create_task(client.ask([png_file]))
        await asyncio.to_thread(gate.wait_for, 1)
        with pytest.raises(Overloaded) as raised:
            await client.ask([png_file], deadline_s=0.05)
        assert (raised.value.members["limit"], raised.value.members["in_flight"]) == (1, 1)
        second = asyncio.create_task(client.ask([png_file]))
        refused = asyncio.create_task(client.ask([png_file], deadline_s=0.3))
        with pytest.raises((Overloaded, DeadlineExceeded)):
            await refused
        gate.open()
        assert (await first)["bytes"] == (await second)["bytes"] == png_file.stat().st_size


async def test_waits_as_long_as_the_server_asks_and_sends_the_remaining_time(serve: Serve) -> None:
    requests: list[tuple[float, float]] = []

    async def refuse_twice(request: web.Request) -> web.Response:
        requests.append((time.monotonic(), float(request.headers["Prefer"].removeprefix("wait="))))
        answers = [problem(503, "overloaded", retry_after_ms=300), problem(429, "rate-limited", retry_after="1")]
        return answers[len(requests) - 1] if len(requests) <= 2 else web.json_response(ANSWER)

    async with Client(await serve(stub(refuse_twice))) as client:
        assert (await client.analyze(b"picture", deadline_s=20)).faces == ()
    (first, left), (second, less), (third, least) = requests
    assert second - first >= 0.3
    assert third - second >= 1
    assert 20 >= left > less > least > 0


async def test_raises_at_once_if_the_next_retry_would_be_too_late(serve: Serve) -> None:
    requests = 0

    async def refuse(_: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        return problem(429, "rate-limited", retry_after_ms=5000)

    async with Client(await serve(stub(refuse)), deadline_s=4) as client:
        with pytest.raises(RateLimited) as raised:
            await client.analyze(b"picture")
    assert (requests, raised.value.retry_after_s) == (1, 5)


async def test_raises_deadline_exceeded_without_a_response(serve: Serve) -> None:
    never = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with Client(await serve(stub(hang)), deadline_s=0.2) as client:
        with pytest.raises(DeadlineExceeded):
            await client.analyze(b"picture")
    never.set()


async def test_retries_a_server_that_is_still_starting(unused_tcp_port: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(ANSWER)

    async with Client(f"http://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(Unreachable, match="There is no response from http"):
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
async def test_a_response_of_another_kind_of_server_is_unexpected(serve: Serve, answer: dict[str, Any]) -> None:
    async def respond(_: web.Request) -> web.Response:
        return web.Response(**answer)

    async with Client(await serve(stub(respond))) as client:
        with pytest.raises(UnexpectedAnswer):
            await client.analyze(b"picture")


async def test_sends_a_large_file_while_reading_it(serve: Serve, tmp_path: Path) -> None:
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


async def test_raises_for_a_missing_file(serve: Serve, tmp_path: Path) -> None:
    async with Client(await serve(app())) as client:
        with pytest.raises(FileNotFoundError):
            await client.analyze(tmp_path / "nothing.jpg")


async def test_submits_a_job_and_waits_for_its_result(serve: Serve, gate: Gate, png: bytes) -> None:
    async with Client(await serve(app(pipelines=trick(gate)))) as client:
        job = await client.submit([png, png], pipeline="trick", times=2)
        assert (job.status, job.progress.of) == ("queued", 2)
        waiting = asyncio.create_task(client.result(job.id))
        await asyncio.to_thread(gate.wait_for, 1)
        with pytest.raises(DeadlineExceeded):
            await client.result(job.id, deadline_s=0.1)
        gate.open()
        job = await waiting
        assert job.result
        assert [one["bytes"] for one in job.result["results"]] == [len(png)] * 2
        with pytest.raises(UnknownJob):
            await client.result("another")
        with pytest.raises(UnsupportedMedia):
            await client.submit([b"no picture"])
