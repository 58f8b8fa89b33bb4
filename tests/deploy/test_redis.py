"""The result cache in a real Redis: shared by servers; requests are answered when Redis is slow, down or corrupt."""

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
    """Send a picture and return the Cache-Status of the response."""
    async with client.post(f"{url}/trick", data=data, headers=RAW) as response:
        assert response.status == 200, await response.text()
        return response.headers["Cache-Status"].removeprefix("faceattr_aio; ")


async def stored_keys(store: Store) -> list[bytes]:
    """Wait until there are keys and return them; the server writes them after its response."""
    async with asyncio.timeout(30):
        while not (keys := store.keys()):
            await asyncio.sleep(0.01)
    return keys


async def test_servers_share_results(store: Store, serve: Serve, client: ClientSession, png: bytes) -> None:
    one, other = await serve(app(store.url)), await serve(app(store.url, ttl_s=60))
    assert await ask(client, one, png) == "fwd=uri-miss; stored"
    (key,) = await stored_keys(store)
    assert await ask(client, other, png) == "hit"
    left: Any = store.client.pttl(key)
    assert 0 < left <= 600_000


@pytest.mark.parametrize("rubbish", [b"", b"\xff\xfe", b"no json", b"[1]", b'{"key": "another", "result": {}}'])
async def test_invalid_entries_are_ignored(
    rubbish: bytes, store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(app(store.url))
    await ask(client, url, png)
    (key,) = await stored_keys(store)
    store.client.set(key, rubbish)
    assert await ask(client, url, png) == "fwd=uri-miss; stored"


async def test_requests_are_answered_without_redis_and_it_is_used_again_when_it_is_back(
    own_store: Store, serve: Serve, client: ClientSession, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceattr_aio.admission.circuit_breaker._OPEN_S", 0.1)
    url = await serve(app(own_store.url))
    own_store.daemon.end()
    assert [await ask(client, url, png) for _ in range(6)] == ["fwd=uri-miss; stored"] * 6
    own_store.start()
    async with asyncio.timeout(30):
        while await ask(client, url, png) != "hit":
            await asyncio.sleep(0.02)


async def test_a_redis_that_hangs_is_asked_three_times_and_then_skipped(
    own_store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(app(own_store.url))
    await ask(client, url, png)
    await stored_keys(own_store)
    os.kill(own_store.daemon.pid, signal.SIGSTOP)
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
        os.kill(own_store.daemon.pid, signal.SIGCONT)


async def test_a_missing_redis_is_asked_three_times_and_then_skipped(tmp_path: Path) -> None:
    cache = RedisCache(CacheConfig(url=f"unix://{tmp_path}/nowhere"))
    assert [await cache.get("a") for _ in range(5)] == [None] * 5
    assert cache.failures == 3
    await cache.put("a", "b")
    await cache.close()
    assert cache.failures == 3
