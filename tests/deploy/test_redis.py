"""Results in a real Redis: shared by servers, and no request the worse when it is slow, gone or full of rubbish."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from faceattr_aio.cache.redis_cache import RedisCache
from faceattr_aio.config.schema import CacheConfig, Config
from faceattr_aio.web.app import make_app
from tests.conftest import Serve
from tests.deploy.store import Store

RAW = {"Content-Type": "image/png"}


def app(url: str, **cache: object) -> web.Application:
    entry = {"factory": "tests.support.pipelines:Steady", "path": "/trick"}
    settings = {"backend": "redis", "url": url, "timeout_s": 0.2, **cache}
    return make_app(Config.model_validate({"pipelines": {"trick": entry}, "cache": settings}))


async def ask(client: ClientSession, url: str, data: bytes) -> str:
    """What the answer says of the cache."""
    async with client.post(f"{url}/trick", data=data, headers=RAW) as response:
        assert response.status == 200, await response.text()
        return response.headers["Cache-Status"].removeprefix("faceattr_aio; ")


async def kept(store: Store) -> list[bytes]:
    """The keys, once there are any: nobody waits until they are there."""
    async with asyncio.timeout(30):
        while not (keys := store.keys()):
            await asyncio.sleep(0.01)
    return keys


async def test_what_one_server_found_the_other_knows(
    store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    one, other = await serve(app(store.url)), await serve(app(store.url, ttl_s=60))
    assert await ask(client, one, png) == "fwd=uri-miss; stored"
    (key,) = await kept(store)
    assert await ask(client, other, png) == "hit"
    left: Any = store.client.pttl(key)
    assert 0 < left <= 600_000


@pytest.mark.parametrize("rubbish", [b"", b"\xff\xfe", b"no json", b"[1]", b'{"key": "another", "result": {}}'])
async def test_what_somebody_else_has_put_there_is_not_known(
    rubbish: bytes, store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(app(store.url))
    await ask(client, url, png)
    (key,) = await kept(store)
    store.client.set(key, rubbish)
    assert await ask(client, url, png) == "fwd=uri-miss; stored"


async def test_a_redis_that_is_gone_costs_no_request_its_answer_and_is_used_again_when_it_is_back(
    store: Store, serve: Serve, client: ClientSession, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceattr_aio.admission.circuit_breaker._OPEN_S", 0.1)
    url = await serve(app(store.url))
    store.daemon.end()
    assert [await ask(client, url, png) for _ in range(6)] == ["fwd=uri-miss; stored"] * 6
    store.start()
    async with asyncio.timeout(30):
        while await ask(client, url, png) != "hit":
            await asyncio.sleep(0.02)


async def test_a_redis_that_stands_still_is_waited_for_a_few_times_and_then_left_alone(
    store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(app(store.url))
    await ask(client, url, png)
    os.kill(store.daemon.pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            assert await ask(client, url, png) == "fwd=uri-miss; stored"
        async with client.get(f"{url}/metrics") as response:
            assert "faceattr_cache_failures 3.0" in await response.text()
        for _ in range(20):
            await ask(client, url, png)
        async with client.get(f"{url}/metrics") as response:
            assert "faceattr_cache_failures 3.0" in await response.text()
    finally:
        os.kill(store.daemon.pid, signal.SIGCONT)


async def test_where_there_is_no_redis_it_is_asked_three_times(tmp_path: Path) -> None:
    cache = RedisCache(CacheConfig(url=f"unix://{tmp_path}/nowhere"))
    assert [await cache.get("a") for _ in range(5)] == [None] * 5
    assert cache.failures == 3
    await cache.put("a", "b")
    await cache.close()
    assert cache.failures == 3
