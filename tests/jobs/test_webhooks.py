"""Callbacks: which URLs are called, and that no client can make the server call another one."""

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
from tests.support.jobs import RAW, TRICK_ENTRY

JOB = Job(id="a", status="done", pipeline="trick", progress=Progress(done=1, of=1), result={"faces": []})
MakeWebhooks = Callable[..., Webhooks]
LIST = ("Example.org", "port.example:8443", "https://prefix.example/hooks/", "*.wild.example", "127.0.0.1:9")


class Receiver:
    """A receiver of callbacks that answers with these statuses, and then always with the last one."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)
        self.received: list[dict[str, Any]] = []
        self.done = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.received.append(await request.json())
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if status < 500:
            self.done.set()
        return web.Response(status=status, headers={"Location": "/hook"} if 300 <= status < 400 else {})

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/hook", self.answer)
        return app


@pytest.fixture
async def make_webhooks() -> AsyncIterator[Callable[..., Webhooks]]:
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


async def until_idle(webhooks: Webhooks) -> None:
    async with asyncio.timeout(30):
        while not webhooks.is_idle:
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
async def test_a_listed_url_is_allowed(url: str, make_webhooks: MakeWebhooks) -> None:
    make_webhooks(*LIST).check(url)


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
async def test_a_url_that_is_not_listed_is_refused(url: str, make_webhooks: MakeWebhooks) -> None:
    with pytest.raises(BadOption, match="not among"):
        make_webhooks(*LIST).check(url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest"]
)
async def test_a_private_address_must_be_listed_itself_even_if_a_pattern_matches(
    url: str, make_webhooks: MakeWebhooks
) -> None:
    with pytest.raises(BadOption):
        make_webhooks("*").check(url)
    make_webhooks("*", url.removesuffix("latest")).check(url)


@pytest.mark.parametrize(
    ("address", "private"),
    [
        *((one, True) for one in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0")),  # noqa: S104
        *((one, True) for one in ("::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "2002:7f00:1::", "224.0.0.1")),
        *((one, True) for one in ("100.64.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1")),
        *((one, False) for one in ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "a.name", "64:ff9b::808:808")),
    ],
)
def test_private_addresses(address: str, private: bool) -> None:
    assert is_private(address) == private


async def test_without_a_list_every_url_is_refused(make_webhooks: MakeWebhooks) -> None:
    with pytest.raises(BadOption, match="none are allowed"):
        make_webhooks().check("https://example.org/")


async def test_a_callback_receives_the_job_in_the_form_of_get(serve: Serve, make_webhooks: MakeWebhooks) -> None:
    receiver, webhooks = Receiver(204), make_webhooks("127.0.0.1")
    webhooks.notify(JOB, f"{await serve(receiver.app())}/hook")
    await until_idle(webhooks)
    assert receiver.received == [JOB.model_dump(mode="json", exclude_none=True)]


async def test_closing_waits_for_pending_callbacks(serve: Serve) -> None:
    receiver, webhooks = Receiver(503, 204), Webhooks(["127.0.0.1"])
    webhooks.notify(JOB, f"{await serve(receiver.app())}/hook")
    await webhooks.close()
    assert len(receiver.received) == 2


@pytest.mark.parametrize(
    ("statuses", "times"), [((500, 503, 200), 3), ((429, 200), 2), ((404,), 1), ((307,), 1), ((500,), 4)]
)
async def test_a_callback_is_tried_again_after_temporary_failures_only_and_redirections_are_not_followed(
    statuses: tuple[int, ...], times: int, serve: Serve, make_webhooks: MakeWebhooks
) -> None:
    receiver, webhooks = Receiver(*statuses), make_webhooks("127.0.0.1")
    webhooks.notify(JOB, f"{await serve(receiver.app())}/hook")
    await until_idle(webhooks)
    assert len(receiver.received) == times


async def test_a_receiver_that_is_down_or_does_not_answer_is_given_up(
    make_webhooks: MakeWebhooks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("faceattr_aio.jobs.webhooks._TIMEOUT_S", 0.05)
    webhooks = make_webhooks("127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        webhooks.notify(JOB, url)
        await until_idle(webhooks)
    webhooks.notify(JOB, url)
    await until_idle(webhooks)
    assert sum("was given up" in record.message for record in caplog.records) == 2


async def test_a_name_with_a_private_address_is_not_called_even_if_a_pattern_matches(
    serve: Serve, make_webhooks: MakeWebhooks, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(200)
    url = (await serve(receiver.app())).replace("127.0.0.1", "localhost") + "/hook"
    pattern, named = make_webhooks("*"), make_webhooks("localhost")
    pattern.check(url)  # the address is checked when it is called
    pattern.notify(JOB, url)
    await until_idle(pattern)
    assert receiver.received == []
    assert "was given up" in caplog.text
    named.notify(JOB, url)
    await until_idle(named)
    assert len(receiver.received) == 1


async def test_the_callback_of_an_ended_job_is_called(serve: Serve, client: ClientSession, png: bytes) -> None:
    receiver = Receiver(200)
    hook = f"{await serve(receiver.app())}/hook"
    sections = {"pipelines": {"trick": TRICK_ENTRY}, "jobs": {"callbacks": [hook]}}
    url = await serve(make_app(Config.model_validate(sections)))
    query = {"callback": hook}
    async with client.post(f"{url}/jobs", params=query, data=png, headers=RAW) as response:
        job = (await response.json())["id"]
    async with asyncio.timeout(30):
        await receiver.done.wait()
    (received,) = receiver.received
    assert (received["id"], received["status"], received["result"]["bytes"]) == (job, "done", len(png))
    async with client.post(f"{url}/jobs", params={"callback": hook + "s"}, data=png, headers=RAW) as response:
        assert response.status == 400
