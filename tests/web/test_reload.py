from typing import Any

import pytest
from aiohttp import ClientSession, web

import faceattr_aio
from faceattr_aio.config.schema import Config
from faceattr_aio.errors import ReloadFailed, StartError
from faceattr_aio.web.app import ENDPOINTS, EXECUTOR, UPLOADS, make_app
from faceattr_aio.web.reload import RELOADABLE, merge
from tests.conftest import Serve

RAW = {"Content-Type": "image/png"}
KEY, OTHER = "one-key-of-sixteen", "another-of-sixteen"


def config(trick: dict[str, Any] | None = None, **sections: dict[str, Any]) -> Config:
    entry = {"factory": "tests.support.pipelines:Trick", "path": "/trick", **(trick or {})}
    inference = {"workers": 1, **sections.pop("inference", {})}
    return Config.model_validate({"inference": inference, "pipelines": {"trick": entry}, **sections})


def test_reloadable_settings_are_applied_and_the_others_are_listed() -> None:
    running = config(server={"port": 1, "drain_s": 1}, inference={"limit": 3, "pool": "thread"})
    wanted = config(server={"port": 2, "drain_s": 2}, inference={"limit": 4, "pool": "process", "timeout_s": 5})
    taken, later = merge(running, wanted)
    assert (taken.server.port, taken.server.drain_s) == (1, 2)
    assert (taken.inference.limit, taken.inference.pool, taken.inference.timeout_s) == (4, "thread", 5)
    assert later == ["inference.pool", "server.port"]


def test_equal_settings_need_no_restart() -> None:
    running = config(auth={"keys": [KEY]}, clients={"trusted_proxies": ["10.0.0.0/8"]})
    assert merge(running, running.model_copy()) == (running, [])
    assert merge(Config(), Config()) == (Config(), [])


def test_a_pipelines_own_settings_are_reloadable_but_not_its_factory_and_path() -> None:
    taken, later = merge(config(), config({"sleep_s": 2.0, "path": "/other", "share": 0.5}))
    assert (taken.pipelines["trick"].path, taken.pipelines["trick"].share) == ("/trick", 1.0)
    assert taken.pipelines["trick"].settings.model_dump()["sleep_s"] == 2.0
    assert later == ["pipelines.trick.path", "pipelines.trick.share"]
    other = Config.model_validate(
        {"pipelines": {"trick": {"factory": "bench.support.sleeper:Sleep", "path": "/trick"}}}
    )
    taken, later = merge(config(inference={"workers": 1}), other)
    assert taken.pipelines["trick"].factory == "tests.support.pipelines:Trick"
    assert later == ["inference.workers", "pipelines.trick.factory"]


def test_adding_or_removing_a_pipeline_needs_a_restart() -> None:
    taken, later = merge(config(), Config(inference=config().inference))
    assert list(taken.pipelines) == ["trick"]
    assert later == ["pipelines.faces", "pipelines.trick"]


def test_every_reloadable_key_exists() -> None:
    for key in RELOADABLE:
        section, name = key.split(".")
        assert name in type(getattr(Config(), section)).model_fields


async def ask(client: ClientSession, url: str, png: bytes, key: str = "") -> int:
    headers = RAW | ({"X-API-Key": key} if key else {})
    async with client.post(f"{url}/trick", data=png, headers=headers) as response:
        return response.status


async def test_a_reload_applies_keys_limits_and_client_shares(serve: Serve, client: ClientSession, png: bytes) -> None:
    app = make_app(config(auth={"keys": [KEY]}))
    url = await serve(app)
    assert await ask(client, url, png, OTHER) == 401
    await faceattr_aio.reload(
        app,
        config(
            auth={"keys": [OTHER]},
            inference={"limit": 7, "deadline_s": 30},
            upload={"max_in_progress": 5, "timeout_s": 9, "min_rate": 77},
            clients={"fair": True, "requests_per_minute": 1},
        ),
    )
    assert await ask(client, url, png, KEY) == 401
    assert await ask(client, url, png, OTHER) == 200
    assert await ask(client, url, png, OTHER) == 429
    uploads, (endpoint,) = app[UPLOADS], app[ENDPOINTS]
    assert (uploads.limiter.limit, uploads.limits.timeout_s, uploads.limits.min_rate) == (5, 9, 77)
    assert (app[EXECUTOR].limiter.limit, endpoint.deadline_s) == (7, 30)
    assert endpoint.limits.slots.share == 0.5


@pytest.mark.parametrize(
    ("wanted", "failure"),
    [
        ({"auth": {"keys_file": "/nowhere"}}, StartError),
        ({"auth": {"admin_keys_file": "/nowhere"}}, StartError),
        ({"trick": {"broken_while": "/"}}, ReloadFailed),
    ],
)
async def test_a_failed_reload_changes_nothing(
    wanted: dict[str, Any], failure: type[Exception], serve: Serve, client: ClientSession, png: bytes
) -> None:
    app: web.Application = make_app(config())
    url = await serve(app)
    with pytest.raises(failure):
        await faceattr_aio.reload(app, config(inference={"limit": 1}, upload={"max_in_progress": 1}, **wanted))
    assert app[EXECUTOR].limiter.limit == 4
    assert app[UPLOADS].limiter.limit == 256
    assert app[EXECUTOR].pool.restarts == {}
    assert await ask(client, url, png) == 200
