import asyncio
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import EXECUTOR, drain, make_app
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


async def test_a_spool_that_cannot_be_written_makes_it_not_ready_until_it_can(
    serve: Serve, client: ClientSession, png: bytes, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    url = await serve(make_app(Config.model_validate({"upload": {"dir": str(spool)}, "pipelines": {"trick": ENTRY}})))
    spool.rmdir()
    said = "The upload could not be stored: No such file or directory."
    assert (await until_ready_is(503, url, client))["checks"]["storage"] == said
    async with client.post(f"{url}/trick", data=png, headers={"Content-Type": "image/png"}) as response:
        assert (response.status, int(response.headers["Retry-After"])) == (503, 1)
        problem = await response.json(content_type=None)
    assert (problem["type"], problem["detail"]) == ("urn:faceattr:storage", said)
    spool.mkdir()
    assert (await until_ready_is(200, url, client))["status"] == "ok"
    async with client.post(f"{url}/trick", data=png, headers={"Content-Type": "image/png"}) as response:
        assert response.status == 200


async def test_a_worker_that_cannot_be_replaced_makes_it_not_ready_until_it_can(
    serve: Serve, client: ClientSession, png: bytes, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    entry = ENTRY | {"broken_while": str(broken)}
    inference = {"workers": 1, "pool": "process"}
    url = await serve(make_app(Config.model_validate({"inference": inference, "pipelines": {"trick": entry}})))
    broken.touch()
    async with client.post(f"{url}/trick?do=die", data=png, headers={"Content-Type": "image/png"}) as response:
        assert response.status == 500
    said = "All workers have ended"
    while said.startswith("All workers have ended"):  # until a start has failed
        document = await until_ready_is(503, url, client)
        said = document["checks"]["workers"]
    assert document["status"] == "workers"
    assert said == "The trick is broken: mend it."
    broken.unlink()
    assert (await until_ready_is(200, url, client))["status"] == "ok"
    async with client.post(f"{url}/trick", data=png, headers={"Content-Type": "image/png"}) as response:
        assert response.status == 200


async def until_ready_is(status: int, url: str, client: ClientSession) -> Any:
    async with asyncio.timeout(30):
        while True:
            async with client.get(f"{url}/readyz?verbose") as response:
                if response.status == status:
                    return await response.json()
            await asyncio.sleep(0.02)


async def test_a_draining_server_is_alive_and_not_ready_and_refuses(
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
