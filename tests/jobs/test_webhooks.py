"""Who is told of jobs, and who never is, whatever a client names."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, web

from faceattr_aio.config.schema import Config
from faceattr_aio.errors import BadOption
from faceattr_aio.jobs.webhooks import Webhooks, is_private
from faceattr_aio.schemas import Job, Progress
from faceattr_aio.web.app import make_app
from tests.conftest import Serve

JOB = Job(id="a", status="done", pipeline="trick", progress=Progress(done=1, of=1), result={"faces": []})
LIST = ("Example.org", "port.example:8443", "https://prefix.example/hooks/", "*.wild.example", "127.0.0.1:9")


class Receiver:
    """Somebody who is told, and answers with these statuses, the last for good."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)
        self.asked: list[dict[str, Any]] = []
        self.done = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if status < 500:
            self.done.set()
        return web.Response(status=status, headers={"Location": "/hook"} if 300 <= status < 400 else {})

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/hook", self.answer)
        return app


@pytest.fixture
async def callbacks() -> AsyncIterator[Callable[..., Webhooks]]:
    made: list[Webhooks] = []

    def make(*allowed: str) -> Webhooks:
        made.append(Webhooks(allowed))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceattr_aio.jobs.webhooks._PAUSES_S", (0.0, 0.01, 0.01, 0.01))


async def until_told(callbacks: Webhooks) -> None:
    async with asyncio.timeout(30):
        while not callbacks.is_idle:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "https://EXAMPLE.org:8443/any?x=1",
        "http://port.example:8443/",
        "https://prefix.example/hooks/one",
        "https://prefix.example/hooks",
        "https://a.wild.example/",
        "https://a.b.wild.example:1234/",
        "http://127.0.0.1:9/",
    ],
)
async def test_what_is_listed_may_be_told(url: str, callbacks: Callable[..., Webhooks]) -> None:
    callbacks(*LIST).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "//example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://example.org.evil.example/",
        "http://evil.example/?example.org",
        "http://example.org@evil.example/",
        "http://user@example.org/",
        "http://:password@example.org/",
        "http://evil.example#example.org",
        "http://port.example/",
        "http://prefix.example/hooks/one",
        "https://prefix.example/hooks-of-others",
        "https://prefix.example/hooks/../admin",
        "https://prefix.example/hooks/%2e%2e/admin",
        "https://prefix.example:444/hooks/one",
        "https://wild.example/",
        "https://notwild.example/",
        "http://127.0.0.1:10/",
        "http://[::1]:9/",
        "http://\x00/",
        "http://[bad/",
    ],
)
async def test_what_is_not_listed_is_refused(url: str, callbacks: Callable[..., Webhooks]) -> None:
    with pytest.raises(BadOption, match="not among"):
        callbacks(*LIST).check(url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest"]
)
async def test_who_fits_a_pattern_alone_must_be_outside(url: str, callbacks: Callable[..., Webhooks]) -> None:
    with pytest.raises(BadOption):
        callbacks("*").check(url)
    callbacks("*", url.removesuffix("latest")).check(url)


@pytest.mark.parametrize(
    ("address", "inward"),
    [
        *((one, True) for one in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0")),  # noqa: S104
        *((one, True) for one in ("::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "2002:7f00:1::", "224.0.0.1")),
        *((one, True) for one in ("100.64.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1")),
        *((one, False) for one in ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "a.name", "64:ff9b::808:808")),
    ],
)
def test_which_addresses_are_of_our_own_network(address: str, inward: bool) -> None:
    assert is_private(address) == inward


async def test_without_a_list_there_are_none(callbacks: Callable[..., Webhooks]) -> None:
    with pytest.raises(BadOption, match="none are allowed"):
        callbacks().check("https://example.org/")


async def test_who_is_listed_is_told_the_job_as_it_is_asked_for(
    serve: Serve, callbacks: Callable[..., Webhooks]
) -> None:
    receiver, told = Receiver(204), callbacks("127.0.0.1")
    told.tell(JOB, f"{await serve(receiver.app())}/hook")
    await until_told(told)
    assert receiver.asked == [JOB.model_dump(mode="json", exclude_none=True)]


async def test_who_is_to_be_told_at_the_end_is_told(serve: Serve) -> None:
    receiver, told = Receiver(503, 204), Webhooks(["127.0.0.1"])
    told.tell(JOB, f"{await serve(receiver.app())}/hook")
    await told.close()
    assert len(receiver.asked) == 2


@pytest.mark.parametrize(
    ("statuses", "times"), [((500, 503, 200), 3), ((429, 200), 2), ((404,), 1), ((307,), 1), ((500,), 4)]
)
async def test_it_is_tried_again_while_that_may_help_and_nobody_is_followed(
    statuses: tuple[int, ...], times: int, serve: Serve, callbacks: Callable[..., Webhooks]
) -> None:
    receiver, told = Receiver(*statuses), callbacks("127.0.0.1")
    told.tell(JOB, f"{await serve(receiver.app())}/hook")
    await until_told(told)
    assert len(receiver.asked) == times


async def test_who_is_not_there_or_never_answers_is_given_up(
    callbacks: Callable[..., Webhooks], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("faceattr_aio.jobs.webhooks._TIMEOUT_S", 0.05)
    told = callbacks("127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        told.tell(JOB, url)
        await until_told(told)
    told.tell(JOB, url)
    await until_told(told)
    assert sum("could not be told" in record.message for record in caplog.records) == 2


async def test_a_name_that_leads_inwards_is_not_called_though_it_fits_a_pattern(
    serve: Serve, callbacks: Callable[..., Webhooks], caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(200)
    url = (await serve(receiver.app())).replace("127.0.0.1", "localhost") + "/hook"
    pattern, named = callbacks("*"), callbacks("localhost")
    pattern.check(url)  # it is found out when it is called
    pattern.tell(JOB, url)
    await until_told(pattern)
    assert receiver.asked == []
    assert "could not be told" in caplog.text
    named.tell(JOB, url)
    await until_told(named)
    assert len(receiver.asked) == 1


async def test_a_job_that_is_over_is_told_to_its_callback(serve: Serve, client: ClientSession, png: bytes) -> None:
    receiver = Receiver(200)
    hook = f"{await serve(receiver.app())}/hook"
    entry = {"factory": "tests.support.pipelines:Trick", "path": "/trick"}
    sections = {"pipelines": {"trick": entry}, "jobs": {"callbacks": [hook]}}
    url = await serve(make_app(Config.model_validate(sections)))
    query, raw = {"callback": hook}, {"Content-Type": "image/png"}
    async with client.post(f"{url}/jobs", params=query, data=png, headers=raw) as response:
        job = (await response.json())["id"]
    async with asyncio.timeout(30):
        await receiver.done.wait()
    assert [(one["id"], one["status"], one["result"]["bytes"]) for one in receiver.asked] == [(job, "done", len(png))]
    async with client.post(f"{url}/jobs", params={"callback": hook + "s"}, data=png, headers=raw) as response:
        assert response.status == 400
