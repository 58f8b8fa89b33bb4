"""What servers share in a real Redis, and what each does alone when it is not to be had."""

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


async def test_a_client_has_its_rate_of_all_servers_together(
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


async def test_what_is_kept_of_a_client_goes_by_itself(
    store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    assert await ask(client, await serve(rated(store.url, 60)), png) == 200
    (key,) = store.keys()
    left = store.client.pttl(key)
    assert 0 < int(str(left)) <= 1000


async def test_the_rate_is_that_of_the_one_server_while_redis_is_gone_and_nobody_waits_for_it(
    store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(rated(store.url, 4))
    os.kill(store.daemon.pid, signal.SIGSTOP)
    try:
        assert [await ask(client, url, png) for _ in range(5)] == [200] * 4 + [429]
        async with client.get(f"{url}/metrics") as response:
            assert "faceattr_shared_failures 3.0" in await response.text()  # then nothing is asked for a while
    finally:
        os.kill(store.daemon.pid, signal.SIGCONT)


async def test_a_key_is_let_in_soon_after_it_was_added_and_refused_soon_after_it_was_taken_away(
    store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    store.client.sadd(KEYS, sha256("of-the-beginning"), "no digest", "abcd")
    url = await serve(app(store.url, ["of-the-file-here"]))
    assert await ask(client, url, png, "of-the-file-here") == 200
    assert await ask(client, url, png, "of-the-beginning") == 200
    assert [await ask(client, url, png, key) for key in ("", "abcd", "no digest", "of-another-day")] == [401] * 4
    store.client.sadd(KEYS, sha256("of-another-day"))
    await until(client, url, png, "of-another-day", 200)
    store.client.srem(KEYS, sha256("of-another-day"))
    await until(client, url, png, "of-another-day", 401)


async def test_keys_stay_known_while_redis_is_gone(
    store: Store, serve: Serve, client: ClientSession, png: bytes
) -> None:
    store.client.sadd(KEYS, sha256("of-the-beginning"))
    url = await serve(app(store.url, []))
    store.daemon.end()
    assert await ask(client, url, png, "of-the-beginning") == 200
    assert await ask(client, url, png) == 401


async def until(client: ClientSession, url: str, png: bytes, key: str, status: int) -> None:
    async with asyncio.timeout(30):
        while await ask(client, url, png, key) != status:
            await asyncio.sleep(0.01)


async def test_a_server_starts_without_the_redis_that_it_is_to_share(
    serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(app("redis://127.0.0.1:1/0", ["of-the-file-here"], clients={"requests_per_minute": 60}))
    assert await ask(client, url, png, "of-the-file-here") == 200
    assert await ask(client, url, png, "of-the-beginning") == 401


async def test_rubbish_under_a_clients_name_counts_as_a_failure_and_lets_it_in(store: Store) -> None:
    shared = RedisState(Config.model_validate({"shared": {"url": store.url}}).shared, with_keys=False)
    store.client.set("faceattr:rate:a", "rubbish")
    await shared.rate.count("a", 1)
    assert shared.failures == 1
    await shared.rate.count("b", 1)
    with pytest.raises(RateLimited, match="1 requests a minute"):
        await shared.rate.count("b", 1)
    await shared.close()
