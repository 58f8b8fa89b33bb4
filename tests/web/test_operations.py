"""Health checks and the reload by an admin, over real sockets."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import ADMIN, EXECUTOR, drain, make_app
from tests.conftest import Serve
from tests.support.gate import Gate

ENTRY = {"factory": "tests.support.pipelines:Trick", "path": "/trick"}


def app(**trick: str) -> web.Application:
    return make_app(
        Config.model_validate({"inference": {"workers": 1, "limit": 1}, "pipelines": {"trick": ENTRY | trick}})
    )


async def test_a_started_server_is_alive_and_ready(serve: Serve, client: ClientSession) -> None:
    url = await serve(app())
    for path in ("/livez", "/healthz", "/readyz"):
        async with client.get(url + path) as response:
            assert (response.status, await response.json()) == (200, {"status": "ok"})
    async with client.get(f"{url}/readyz?verbose") as response:
        assert (await response.json())["checks"] == {
            "models": "ok",
            "workers": "ok",
            "storage": "ok",
            "accepting": "ok",
        }


async def test_a_full_server_is_alive_and_ready(serve: Serve, client: ClientSession, gate: Gate, png: bytes) -> None:
    url = await serve(app(gate=str(gate.folder)))
    held = asyncio.create_task(client.post(f"{url}/trick", data=png, headers={"Content-Type": "image/png"}))
    await asyncio.to_thread(gate.wait_for, 1)
    for path in ("/livez", "/readyz"):
        async with client.get(url + path) as response:
            assert response.status == 200
    gate.open()
    assert (await held).status == 200


async def test_the_server_is_not_ready_while_the_spool_is_not_writable(
    serve: Serve, client: ClientSession, png: bytes, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    url = await serve(make_app(Config.model_validate({"upload": {"dir": str(spool)}, "pipelines": {"trick": ENTRY}})))
    spool.rmdir()
    detail = "The upload could not be stored: No such file or directory."
    assert (await until_ready_is(503, url, client))["checks"]["storage"] == detail
    async with client.post(f"{url}/trick", data=png, headers={"Content-Type": "image/png"}) as response:
        assert (response.status, int(response.headers["Retry-After"])) == (503, 1)
        problem = await response.json(content_type=None)
    assert (problem["type"], problem["detail"]) == ("urn:faceattr:storage", detail)
    spool.mkdir()
    assert (await until_ready_is(200, url, client))["status"] == "ok"
    async with client.post(f"{url}/trick", data=png, headers={"Content-Type": "image/png"}) as response:
        assert response.status == 200


async def test_the_server_is_not_ready_while_a_worker_cannot_be_replaced(
    serve: Serve, client: ClientSession, png: bytes, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    entry = ENTRY | {"broken_while": str(broken)}
    inference = {"workers": 1, "pool": "process"}
    url = await serve(make_app(Config.model_validate({"inference": inference, "pipelines": {"trick": entry}})))
    broken.touch()
    async with client.post(f"{url}/trick?do=die", data=png, headers={"Content-Type": "image/png"}) as response:
        assert response.status == 500
    detail = "All workers have ended"
    async with asyncio.timeout(30):
        while detail.startswith("All workers have ended"):  # until a start has failed
            document = await until_ready_is(503, url, client)
            detail = document["checks"]["workers"]
    assert document["status"] == "workers"
    assert detail == "The trick is broken: repair it."
    broken.unlink()
    assert (await until_ready_is(200, url, client))["status"] == "ok"
    async with client.post(f"{url}/trick", data=png, headers={"Content-Type": "image/png"}) as response:
        assert response.status == 200


async def until_ready_is(status: int, url: str, client: ClientSession) -> Any:
    """Wait until /readyz has this status and return its document."""
    async with asyncio.timeout(30):
        while True:
            async with client.get(f"{url}/readyz?verbose") as response:
                if response.status == status:
                    return await response.json()
            await asyncio.sleep(0.02)


async def test_a_draining_server_is_alive_not_ready_and_refuses(
    serve: Serve, client: ClientSession, png: bytes
) -> None:
    served = app()
    url = await serve(served)
    drain(served)
    async with client.get(f"{url}/livez") as response:
        assert response.status == 200
    async with client.get(f"{url}/readyz?verbose") as response:
        assert response.status == 503
        assert await response.json() == {
            "status": "accepting",
            "checks": {"models": "ok", "workers": "ok", "storage": "ok", "accepting": "draining"},
        }
    async with client.post(f"{url}/trick", data=png, headers={"Content-Type": "image/png"}) as response:
        assert response.status == 503
        assert (await response.json(content_type=None))["type"] == "urn:faceattr:draining"
        assert response.headers["Retry-After"] == "1"
    assert served[EXECUTOR].limiter.in_flight == 0


ADMINS, CLIENTS = "admin-key-of-sixteen", "client-key-of-sixteen"


def config(auth: dict[str, Any], **trick: str) -> Config:
    entry = {"factory": "tests.support.pipelines:Trick", "path": "/trick", **trick}
    return Config.model_validate({"inference": {"workers": 1}, "pipelines": {"trick": entry}, "auth": auth})


async def ask(client: ClientSession, url: str, key: str = "") -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with client.post(f"{url}/admin/reload", headers=headers) as response:
        return response.status, await response.json(content_type=None)


@pytest.mark.parametrize("key", ["", CLIENTS])
async def test_admin_reload_is_404_without_admin_keys(serve: Serve, client: ClientSession, key: str) -> None:
    app = make_app(config({"keys": [CLIENTS]}))
    status, problem = await ask(client, await serve(app), key)
    assert (status, problem["type"]) == (404, "urn:faceattr:not-found")
    assert app[EXECUTOR].reloads == {}


@pytest.mark.parametrize("key", ["", CLIENTS, ADMINS[:-1]])
async def test_admin_reload_accepts_only_an_admin_key(serve: Serve, client: ClientSession, key: str) -> None:
    app = make_app(config({"keys": [CLIENTS], "admin_keys": [ADMINS]}))
    url = await serve(app)
    status, problem = await ask(client, url, key)
    assert (status, problem["type"]) == (401, "urn:faceattr:unauthorized")
    assert app[EXECUTOR].reloads == {}
    assert (await ask(client, url, ADMINS))[0] == 200


async def test_an_admin_key_can_be_in_a_file(serve: Serve, client: ClientSession, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# mine\n{ADMINS}\n")
    url = await serve(make_app(config({"admin_keys_file": str(tmp_path / "keys")})))
    assert (await ask(client, url, ADMINS))[0] == 200


async def test_admin_reload_returns_the_models_in_use(serve: Serve, client: ClientSession, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_text("old")
    url = await serve(make_app(config({"admin_keys": [ADMINS]}, model=str(model))))
    model.write_text("new")
    status, document = await ask(client, url, ADMINS)
    assert status == 200
    assert document["models"]["trick"].startswith("11507a0e2f5e69d5")  # of "new"


async def test_a_failed_reload_returns_a_sentence_and_the_server_stays_ready(
    serve: Serve, client: ClientSession, tmp_path: Path
) -> None:
    url = await serve(make_app(config({"admin_keys": [ADMINS]}, broken_while=str(tmp_path / "broken"))))
    (tmp_path / "broken").touch()
    status, problem = await ask(client, url, ADMINS)
    assert (status, problem["type"]) == (409, "urn:faceattr:reload-failed")
    assert problem["detail"] == "The previous models and settings stay in use. The trick is broken: repair it."
    async with client.get(f"{url}/readyz?verbose") as response:
        document = await response.json()
    assert (response.status, document["status"]) == (200, "ok")
    assert document["last_reload"] == "The trick is broken: repair it."
    (tmp_path / "broken").unlink()
    assert (await ask(client, url, ADMINS))[0] == 200
    async with client.get(f"{url}/readyz?verbose") as response:
        assert "last_reload" not in await response.json()


async def test_admin_reload_is_refused_in_one_of_several_processes(serve: Serve, client: ClientSession) -> None:
    app = make_app(config({"admin_keys": [ADMINS]}))
    app[ADMIN].is_only_process = False
    status, problem = await ask(client, await serve(app), ADMINS)
    assert (status, problem["type"]) == (409, "urn:faceattr:reload-failed")
    assert "SIGHUP" in problem["detail"]
    assert app[EXECUTOR].reloads == {}
