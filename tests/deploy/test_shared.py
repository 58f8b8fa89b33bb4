"""Rate limits and API keys that servers share in a real Redis, and their fallback without it."""

import asyncio
import hashlib
import os
import signal

import pytest
from aiohttp import ClientSession, web

from faceattr_aio.admission.redis_state import RedisState
from faceattr_aio.config.schema import Config
from faceattr_aio.errors import RateLimited
from faceattr_aio.web.app import make_app
from tests.conftest import Serve
from tests.deploy.store import Store

RAW = {"Content-Type": "image/png"}
KEYS = "faceattr:keys"


def app(url: str, keys: list[str] | None = None, **sections: object) -> web.Application:
    entry = {"factory": "tests.support.pipelines:Trick", "path": "/trick"}
    settings = {"shared": {"url": url, "timeout_s": 0.5, "keys_period_s": 0.05}, "pipelines": {"trick": entry}}
    if keys is not None:
        settings["auth"] = {"keys": keys, "shared_keys": True}
    return make_app(Config.model_validate(settings | sections))


def rated(url: str, per_minute: int) -> web.Application:
    return app(url, clients={"requests_per_minute": per_minute})


async def ask(client: ClientSession, url: str, png: bytes, key: str = "") -> int:
    async with client.post(f"{url}/trick", data=png, headers=RAW | {"X-API-Key": key}) as response:
        return response.status


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


async def test_the_rate_of_a_client_is_counted_across_servers(
    store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    one, other = await serve(rated(store.url, 4)), await serve(rated(store.url, 4))
    asked = [await ask(client, url, png) for url in (one, other) * 3]
    assert asked == [200] * 4 + [429] * 2
    async with client.post(f"{other}/trick", data=png, headers=RAW) as response:
        document = await response.json(content_type=None)
        assert document["type"] == "urn:faceattr:rate-limited"
        assert 1 <= int(response.headers["Retry-After"]) <= 15
        assert 0 < document["retry_after_ms"] <= 15_000


async def test_the_entry_of_a_client_expires(store: Store, serve: Serve, client: ClientSession, png: bytes) -> None:
    assert await ask(client, await serve(rated(store.url, 60)), png) == 200
    (key,) = store.keys()
    expires_ms = store.client.pttl(key)
    assert 0 < int(str(expires_ms)) <= 1000


async def test_while_redis_hangs_each_server_counts_the_rate_alone_without_waiting(
    own_store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(rated(own_store.url, 4))
    os.kill(own_store.daemon.pid, signal.SIGSTOP)
    try:
        assert [await ask(client, url, png) for _ in range(5)] == [200] * 4 + [429]
        async with client.get(f"{url}/metrics") as response:
            assert "faceattr_shared_failures 3.0" in await response.text()  # then Redis is not asked for some seconds
    finally:
        os.kill(own_store.daemon.pid, signal.SIGCONT)


async def test_a_key_is_accepted_soon_after_it_was_added_and_refused_soon_after_it_was_removed(
    store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    store.client.sadd(KEYS, sha256("of-the-first-day"), "no digest", "abcd")
    url = await serve(app(store.url, ["of-the-file-here"]))
    assert await ask(client, url, png, "of-the-file-here") == 200
    assert await ask(client, url, png, "of-the-first-day") == 200
    assert [await ask(client, url, png, key) for key in ("", "abcd", "no digest", "of-another-day")] == [401] * 4
    store.client.sadd(KEYS, sha256("of-another-day"))
    await until_status_is(client, url, png, "of-another-day", 200)
    store.client.srem(KEYS, sha256("of-another-day"))
    await until_status_is(client, url, png, "of-another-day", 401)


async def test_keys_are_still_accepted_while_redis_is_down(
    own_store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    own_store.client.sadd(KEYS, sha256("of-the-first-day"))
    url = await serve(app(own_store.url, []))
    own_store.daemon.end()
    assert await ask(client, url, png, "of-the-first-day") == 200
    assert await ask(client, url, png) == 401


async def until_status_is(client: ClientSession, url: str, png: bytes, key: str, status: int) -> None:
    async with asyncio.timeout(30):
        while await ask(client, url, png, key) != status:
            await asyncio.sleep(0.01)


async def test_a_server_starts_without_its_shared_redis(serve: Serve, client: ClientSession, png: bytes) -> None:
    url = await serve(app("redis://127.0.0.1:1/0", ["of-the-file-here"], clients={"requests_per_minute": 60}))
    assert await ask(client, url, png, "of-the-file-here") == 200
    assert await ask(client, url, png, "of-the-first-day") == 401


async def test_an_invalid_entry_of_a_client_counts_as_a_failure_and_the_client_is_accepted(store: Store) -> None:
    settings = {"url": store.url, "timeout_s": 5}
    shared = RedisState(Config.model_validate({"shared": settings}).shared, with_keys=False)
    store.client.set("faceattr:rate:a", "rubbish")
    await shared.count("a", 1)
    assert shared.failures == 1
    await shared.count("b", 1)
    with pytest.raises(RateLimited, match="1 requests a minute"):
        await shared.count("b", 1)
    await shared.close()
