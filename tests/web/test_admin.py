from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import ADMIN, EXECUTOR, make_app
from tests.conftest import Serve

ADMINS, CLIENTS = "admin-key-of-sixteen", "client-key-of-sixteen"


def config(auth: dict[str, Any], **trick: str) -> Config:
    entry = {"factory": "tests.support.pipelines:Trick", "path": "/trick", **trick}
    return Config.model_validate({"inference": {"workers": 1}, "pipelines": {"trick": entry}, "auth": auth})


async def ask(client: ClientSession, url: str, key: str = "") -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with client.post(f"{url}/admin/reload", headers=headers) as response:
        return response.status, await response.json(content_type=None)


@pytest.mark.parametrize("key", ["", CLIENTS])
async def test_without_admin_keys_there_is_nothing_to_be_found(serve: Serve, client: ClientSession, key: str) -> None:
    app = make_app(config({"keys": [CLIENTS]}))
    status, problem = await ask(client, await serve(app), key)
    assert (status, problem["type"]) == (404, "urn:faceattr:not-found")
    assert app[EXECUTOR].reloads == {}


@pytest.mark.parametrize("key", ["", CLIENTS, ADMINS[:-1]])
async def test_only_an_admin_key_opens_it(serve: Serve, client: ClientSession, key: str) -> None:
    app = make_app(config({"keys": [CLIENTS], "admin_keys": [ADMINS]}))
    url = await serve(app)
    status, problem = await ask(client, url, key)
    assert (status, problem["type"]) == (401, "urn:faceattr:unauthorized")
    assert app[EXECUTOR].reloads == {}
    assert (await ask(client, url, ADMINS))[0] == 200


async def test_an_admin_key_may_come_from_a_file(serve: Serve, client: ClientSession, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# mine\n{ADMINS}\n")
    url = await serve(make_app(config({"admin_keys_file": str(tmp_path / "keys")})))
    assert (await ask(client, url, ADMINS))[0] == 200


async def test_it_answers_with_the_models_that_are_in_use_now(
    serve: Serve, client: ClientSession, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.write_text("old")
    url = await serve(make_app(config({"admin_keys": [ADMINS]}, model=str(model))))
    model.write_text("new")
    status, document = await ask(client, url, ADMINS)
    assert status == 200
    assert document["models"]["trick"].startswith("11507a0e2f5e69d5")  # of "new"


async def test_what_cannot_be_used_is_a_sentence_and_readiness_stays(
    serve: Serve, client: ClientSession, tmp_path: Path
) -> None:
    url = await serve(make_app(config({"admin_keys": [ADMINS]}, broken_while=str(tmp_path / "broken"))))
    (tmp_path / "broken").touch()
    status, problem = await ask(client, url, ADMINS)
    assert (status, problem["type"]) == (409, "urn:faceattr:reload-failed")
    assert problem["detail"] == "The previous models and settings stay in use. The trick is broken: mend it."
    async with client.get(f"{url}/readyz?verbose") as response:
        document = await response.json()
    assert (response.status, document["status"]) == (200, "ok")
    assert document["last_reload"] == "The trick is broken: mend it."
    (tmp_path / "broken").unlink()
    assert (await ask(client, url, ADMINS))[0] == 200
    async with client.get(f"{url}/readyz?verbose") as response:
        assert "last_reload" not in await response.json()


async def test_one_of_several_processes_does_not_reload_alone(serve: Serve, client: ClientSession) -> None:
    app = make_app(config({"admin_keys": [ADMINS]}))
    app[ADMIN].is_alone = False
    status, problem = await ask(client, await serve(app), ADMINS)
    assert (status, problem["type"]) == (409, "urn:faceattr:reload-failed")
    assert "SIGHUP" in problem["detail"]
    assert app[EXECUTOR].reloads == {}
