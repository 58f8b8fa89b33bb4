"""Cached and shared results over HTTP: headers, number of inferences, slots."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, FormData, web

from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import EXECUTOR, make_app
from tests.conftest import Serve
from tests.support.gate import Gate

RAW = {"Content-Type": "image/png"}
Make = Callable[..., Awaitable[web.Application]]


def steady(gate: Gate | None = None, **sections: dict[str, Any]) -> web.Application:
    entry = {"factory": "tests.support.pipelines:Steady", "path": "/trick"} | (
        {"gate": str(gate.folder)} if gate else {}
    )
    inference = {"workers": 1, "limit": 2, "timeout_s": 60}
    return make_app(Config.model_validate({"pipelines": {"trick": entry}, "inference": inference, **sections}))


def digest_of(data: bytes) -> dict[str, str]:
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"}


@pytest.fixture
def ask(client: ClientSession) -> Callable[..., Awaitable[tuple[int, str, bool | None]]]:
    async def post(url: str, data: object, query: str = "", **headers: str) -> tuple[int, str, bool | None]:
        """Return the status, Cache-Status without the name of the cache, and `cached` of the body."""
        more = RAW if isinstance(data, bytes) else {}
        async with client.post(f"{url}/trick{query}", data=data, headers=more | headers) as response:
            cache_status = response.headers.get("Cache-Status", "").removeprefix("faceattr_aio; ")
            document = await response.json(content_type=None) if "json" in response.content_type else {}
            return response.status, cache_status, document.get("cached")

    return post


Ask = Callable[..., Awaitable[tuple[int, str, bool | None]]]
MISS, HIT = (200, "fwd=uri-miss; stored", False), (200, "hit", True)


async def test_a_picture_is_computed_once_as_raw_body_and_as_form(serve: Serve, ask: Ask, png: bytes) -> None:
    url = await serve(steady())
    form = FormData()
    form.add_field("image", png, filename="a.png")
    assert [await ask(url, data) for data in (png, png, form)] == [MISS, HIT, HIT]


@pytest.mark.parametrize(
    ("query", "headers", "answer"),
    [
        ("?times=2", {}, MISS),
        ("", {"Cache-Control": "no-cache"}, (200, "fwd=bypass", False)),
        ("", {"Cache-Control": "max-age=0, no-store"}, (200, "fwd=bypass", False)),
        ("", {"Accept": "image/png"}, (200, "fwd=bypass", None)),
        ("", {"Cache-Control": "max-age=0"}, HIT),
    ],
)
async def test_other_options_and_cache_directives_are_computed(
    query: str, headers: dict[str, str], answer: tuple[int, str, bool | None], serve: Serve, ask: Ask, png: bytes
) -> None:
    url = await serve(steady())
    assert await ask(url, png) == MISS
    assert await ask(url, png, query, **headers) == answer


async def test_caches_no_failures_and_nothing_with_backend_none(serve: Serve, ask: Ask, png: bytes) -> None:
    url, off = await serve(steady()), await serve(steady(cache={"backend": "none"}))
    assert [(await ask(url, png, "?do=refuse"))[0] for _ in range(2)] == [422, 422]
    assert [await ask(off, png) for _ in range(2)] == [(200, "fwd=bypass", False)] * 2


async def test_responses_have_the_configured_cache_control(serve: Serve, client: ClientSession, png: bytes) -> None:
    url = await serve(steady(cache={"control": "private, max-age=60"}))
    async with client.post(f"{url}/trick", data=png, headers=RAW) as response:
        assert response.headers["Cache-Control"] == "private, max-age=60"


async def test_fifty_identical_uploads_cost_one_inference_and_one_slot(
    serve: Serve, ask: Ask, gate: Gate, png: bytes
) -> None:
    app = steady(gate)
    url = await serve(app)
    requests = [asyncio.ensure_future(ask(url, png)) for _ in range(50)]
    await asyncio.to_thread(gate.wait_for, 1)
    async with asyncio.timeout(30):
        while app[EXECUTOR].limiter.in_flight != 1:
            await asyncio.sleep(0.01)
    gate.open()
    answers = await asyncio.gather(*requests)
    assert answers.count(MISS) == 1
    assert set(answers) <= {MISS, HIT, (200, "fwd=uri-miss; collapsed", False)}
    assert not gate.has_arrival()


async def test_a_full_server_answers_cached_results_by_content_digest(
    serve: Serve, client: ClientSession, ask: Ask, gate: Gate, png: bytes
) -> None:
    held_entry = {"factory": "tests.support.pipelines:Trick", "path": "/held", "gate": str(gate.folder)}
    steady_entry = {"factory": "tests.support.pipelines:Steady", "path": "/trick"}
    config = {"pipelines": {"trick": steady_entry, "held": held_entry}, "inference": {"workers": 1, "limit": 1}}
    url = await serve(make_app(Config.model_validate(config)))
    assert await ask(url, png) == MISS
    held = asyncio.create_task(client.post(f"{url}/held", data=png, headers=RAW))
    await asyncio.to_thread(gate.wait_for, 1)
    assert (await ask(url, png))[0] == 503
    assert await ask(url, png, **digest_of(png)) == HIT
    assert (await ask(url, png, **digest_of(b"another")))[0] == 503
    assert (await ask(url, png, "?times=2", **digest_of(png)))[0] == 503
    assert await ask(url, png + bytes(400_000), **digest_of(png)) == HIT  # the body is not read
    gate.open()
    assert (await held).status == 200


async def test_refuses_a_picture_that_does_not_match_its_content_digest(serve: Serve, ask: Ask, png: bytes) -> None:
    url = await serve(steady())
    assert (await ask(url, png, **digest_of(b"another")))[0] == 400
    assert await ask(url, png, **digest_of(png)) == MISS
    assert await ask(url, png, **digest_of(png)) == HIT
    assert await ask(url, png, **{"Content-Digest": "sha-256=:rubbish:, md5=:AAAA:"}) == HIT


async def test_each_picture_of_a_batch_has_its_own_cached_flag(
    serve: Serve, client: ClientSession, ask: Ask, png: bytes, jpeg: bytes
) -> None:
    url = await serve(steady())
    assert await ask(url, png) == MISS
    form = FormData()
    for picture in (jpeg, png):
        form.add_field("image", picture, filename="a")
    async with client.post(f"{url}/trick", data=form) as response:
        results = (await response.json())["results"]
    assert [one["cached"] for one in results] == [False, True]
    assert results[1]["sha256"] == hashlib.sha256(png).hexdigest()


async def test_a_reload_with_other_settings_invalidates_the_cache(serve: Serve, ask: Ask, png: bytes) -> None:
    app = steady()
    url = await serve(app)
    assert [await ask(url, png) for _ in range(2)] == [MISS, HIT]
    entry = {"factory": "tests.support.pipelines:Steady", "path": "/trick", "sleep_s": 0.001}
    await app[EXECUTOR].reload(Config.model_validate({"pipelines": {"trick": entry}, "inference": {"workers": 1}}))
    assert [await ask(url, png) for _ in range(2)] == [MISS, HIT]


async def test_metrics_and_statistics_count_the_sources_of_results(
    serve: Serve, client: ClientSession, ask: Ask, png: bytes
) -> None:
    url = await serve(steady())
    for _ in range(3):
        await ask(url, png, **{"X-Request-ID": "mine"})
    async with client.get(f"{url}/metrics") as response:
        text = await response.text()
    samples = {outcome: f'faceattr_cache_results_total{{outcome="{outcome}"}} {n}.0' for outcome, n in COUNTS.items()}
    assert [line for line in samples.values() if line not in text.splitlines()] == []
    async with client.get(f"{url}/stats/mine") as response:
        assert (await response.json())["hit"] == 1


COUNTS = {"hit": 2, "miss": 1, "collapsed": 0, "bypass": 0}
