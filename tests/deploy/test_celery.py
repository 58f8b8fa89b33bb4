"""Jobs on Celery with a real Redis and real workers: every accepted job gets one result, whatever is killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector, web
from redis import Redis
from redis.exceptions import RedisError

from faceattr_aio.config.schema import Config
from faceattr_aio.jobs import redis_store
from faceattr_aio.web.app import make_app
from tests.conftest import Serve, StartServer
from tests.deploy.daemon import Daemon, free_port, installed
from tests.support.gate import Gate
from tests.support.jobs import RAW, TRICK_ENTRY, fetch, form, status_of, submit
from tests.support.process import TRICK, descendants, environment

KEY = "one-key-of-sixteen"


class CelerySite:
    """Redis with its append-only file, and workers of the trick pipeline."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._daemons: list[Daemon] = []
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.client: Redis = Redis.from_url(self.url)
        self.redis = self.start_redis()

    def start_redis(self) -> Daemon:
        program = installed("redis-server", "redis-server")
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        redis = self._start("redis", [program, "--port", str(self._port), *durable])
        deadline = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < deadline, redis.log
            time.sleep(0.02)
        return redis

    async def start_worker(self, **settings: object) -> Daemon:
        """Start a worker with settings of the trick pipeline; return once it receives messages."""
        file = self._folder / "worker.toml"
        entry = TRICK + "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        jobs = f"[jobs]\nbackend = 'celery'\nurl = '{self.url}'\nvisibility_s = 1\n"
        file.write_text(f"[inference]\nworkers = 1\ntimeout_s = 60\n{jobs}{entry}")
        command = [sys.executable, "-u", "-m", "faceattr_aio", "worker", "--config", str(file)]
        worker = self._start(f"worker-{len(self._daemons)}", command)
        async with asyncio.timeout(60):
            while "faceattr-aio: " not in worker.log:
                await asyncio.sleep(0.05)
        return worker

    def app(self, jobs: dict[str, Any] | None = None, **sections: dict[str, Any]) -> web.Application:
        kept = {"backend": "celery", "url": self.url, "visibility_s": 1} | (jobs or {})
        config = {"pipelines": {"trick": TRICK_ENTRY}, "inference": {"workers": 1}, "jobs": kept, **sections}
        return make_app(Config.model_validate(config))

    def close(self) -> None:
        self.client.close()
        for daemon in reversed(self._daemons):
            daemon.end()

    def _start(self, name: str, command: list[str]) -> Daemon:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        self._daemons.append(Daemon(command, folder, {}))
        return self._daemons[-1]

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisError:  # not there yet, or loading
            return False


@pytest.fixture
def site(tmp_path: Path) -> Iterator[CelerySite]:
    site = CelerySite(tmp_path)
    yield site
    site.close()


async def test_a_worker_computes_the_answer_of_the_pipelines_own_path(
    site: CelerySite, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(site.app())
    worker = await site.start_worker()
    async with client.post(f"{url}/trick?times=2", data=png, headers={**RAW, "X-Request-ID": "mine"}) as response:
        answer = await response.json()
    job = await fetch(client, await submit(client, f"{url}/jobs?times=2", png, **{"X-Request-ID": "mine"}))
    assert (job.status, job.progress.done, job.processing_s > 0) == ("done", 1, True)
    assert job.result
    assert {**job.result, "pid": answer["pid"]} == answer
    async with asyncio.timeout(30):
        while f"picture {job.id}:0 of request mine: done" not in worker.log:
            await asyncio.sleep(0.01)
    assert "Task faceattr" not in worker.log
    job = await fetch(client, await submit(client, f"{url}/jobs", form(png, b"no picture", png)))
    assert job.result
    assert [one.get("bytes") for one in job.result["results"]] == [len(png), None, len(png)]
    assert job.result["results"][1]["error"]["type"] == "urn:faceattr:unsupported-media"


@pytest.mark.parametrize(
    ("query", "kind"), [("?do=refuse", "unreadable-image"), ("?do=raise", "internal"), ("?do=die", "internal")]
)
async def test_a_picture_that_fails_or_kills_its_worker_processes_fails_only_its_job(
    query: str, kind: str, site: CelerySite, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(site.app())
    await site.start_worker()
    failing, fine = await submit(client, f"{url}/jobs{query}", png), await submit(client, f"{url}/jobs", png)
    failed = await fetch(client, failing, 60)
    assert failed.error
    assert (failed.status, failed.error["type"]) == ("failed", f"urn:faceattr:{kind}")
    assert (await fetch(client, fine)).status == "done"


async def test_all_servers_share_one_limit_of_jobs_and_a_cancelled_job_frees_its_capacity(
    site: CelerySite, serve: Serve, client: ClientSession, png: bytes
) -> None:
    one, other = [await serve(site.app({"waiting": 2})) for _ in range(2)]
    first, second = await submit(client, f"{one}/jobs", png), await submit(client, f"{other}/jobs", png)
    async with client.post(f"{one}/jobs", data=png, headers=RAW) as response:
        document = await response.json(content_type="application/problem+json")
        assert (response.status, document["type"], document["in_flight"]) == (503, "urn:faceattr:overloaded", 2)
        assert int(response.headers["Retry-After"]) >= 1
    assert (await fetch(client, first.replace(one, other), 0)).status == "queued"
    assert await status_of(client, "DELETE", first.replace(one, other)) == 204
    assert [await status_of(client, method, first) for method in ("GET", "DELETE")] == [404, 404]
    async with asyncio.timeout(30):
        while await status_of(client, "POST", f"{one}/jobs", data=png, headers=RAW) != 202:
            await asyncio.sleep(0.1)  # it asks once a second how many there are
    await site.start_worker()
    assert (await fetch(client, second)).status == "done"


async def test_only_the_key_that_submitted_a_job_may_read_it_and_it_expires(
    site: CelerySite, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(site.app({"keep_s": 1}, auth={"keys": [KEY, f"other-{KEY}"]}))
    mine, others = {"X-API-Key": KEY}, {"X-API-Key": f"other-{KEY}"}
    await site.start_worker()
    job = await submit(client, f"{url}/jobs", png, **mine)
    assert await status_of(client, "GET", job) == 401
    assert await status_of(client, "GET", job, headers=others) == 404
    assert (await fetch(client, job, 30, **mine)).status == "done"
    async with asyncio.timeout(30):
        while await status_of(client, "GET", job, headers=mine) == 200:
            await asyncio.sleep(0.05)


async def test_a_picture_of_a_killed_worker_is_processed_by_another_one(
    site: CelerySite, serve: Serve, client: ClientSession, gate: Gate, png: bytes
) -> None:
    url = await serve(site.app())
    worker = await site.start_worker(gate=gate.folder)
    job = await submit(client, f"{url}/jobs", png)
    await asyncio.to_thread(gate.wait_for, 1)
    assert (await fetch(client, job, 0)).status == "running"
    os.kill(worker.pid, signal.SIGKILL)
    await site.start_worker()  # there is no gate for this one
    assert (await fetch(client, job)).status == "done"


async def test_a_picture_of_a_killed_worker_process_is_processed_by_the_next_one(
    site: CelerySite, serve: Serve, client: ClientSession, gate: Gate, png: bytes
) -> None:
    url = await serve(site.app())
    worker = await site.start_worker(gate=gate.folder)
    job = await submit(client, f"{url}/jobs", png)
    await asyncio.to_thread(gate.wait_for, 1)
    os.kill(descendants(worker.pid)[-1], signal.SIGKILL)
    await asyncio.to_thread(gate.wait_for, 1)
    gate.open()
    assert (await fetch(client, job)).status == "done"


async def test_a_picture_that_takes_longer_than_a_lease_is_not_started_by_another_worker(
    site: CelerySite, serve: Serve, client: ClientSession, gate: Gate, png: bytes
) -> None:
    url = await serve(site.app())
    await site.start_worker(gate=gate.folder)
    job = await submit(client, f"{url}/jobs", png)
    await asyncio.to_thread(gate.wait_for, 1)
    await site.start_worker()  # there is no gate for this one
    await asyncio.sleep(2.5)  # the lease of one second has to be renewed
    assert (await fetch(client, job, 0)).status == "running"
    gate.open()
    assert (await fetch(client, job)).status == "done"
    assert site.client.hget(redis_store.job_key(job.rpartition("/")[2]), "tries:0") == b"1"


async def test_a_stopped_worker_finishes_its_picture(
    site: CelerySite, serve: Serve, client: ClientSession, gate: Gate, png: bytes
) -> None:
    url = await serve(site.app())
    worker = await site.start_worker(gate=gate.folder)
    job = await submit(client, f"{url}/jobs", png)
    await asyncio.to_thread(gate.wait_for, 1)
    stopping = asyncio.create_task(asyncio.to_thread(worker.stop))
    gate.open()
    assert await stopping == 0
    assert (await fetch(client, job, 0)).status == "done"


async def test_a_connection_to_redis_that_closes_in_its_handshake_is_503(
    site: CelerySite, serve: Serve, client: ClientSession, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await serve(site.app())
    job = await submit(client, f"{url}/jobs", png)

    async def closed(*_: object, **__: object) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")  # uvloop

    monkeypatch.setattr("redis.asyncio.Redis.execute_command", closed)
    for method, where in (("POST", f"{url}/jobs"), ("GET", job)):
        async with client.request(method, where, data=png, headers=RAW) as response:
            document = await response.json(content_type="application/problem+json")
            assert (response.status, document["type"]) == (503, "urn:faceattr:storage")


async def test_without_redis_it_is_503_and_a_restart_of_redis_loses_no_job(
    site: CelerySite, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(site.app())
    job = await submit(client, f"{url}/jobs", png)
    os.kill(site.redis.pid, signal.SIGKILL)
    site.redis.end()
    for method, where in (("POST", f"{url}/jobs"), ("GET", job), ("DELETE", job)):
        async with client.request(method, where, data=png, headers=RAW) as response:
            document = await response.json(content_type="application/problem+json")
            assert (response.status, document["type"]) == (503, "urn:faceattr:storage")
    assert await status_of(client, "POST", f"{url}/trick", data=png, headers=RAW) == 200
    site.start_redis()
    assert (await fetch(client, job, 0)).status == "queued"
    await site.start_worker()
    assert (await fetch(client, job)).status == "done"
    assert (await fetch(client, await submit(client, f"{url}/jobs", png))).status == "done"


async def test_a_lost_message_is_sent_again_and_another_server_returns_the_job(
    site: CelerySite, serve: Serve, client: ClientSession, png: bytes
) -> None:
    before = await serve(site.app())
    job = await submit(client, f"{before}/jobs", png)
    site.client.delete(redis_store.QUEUE)
    await site.start_worker()
    after = await serve(site.app())
    assert (await fetch(client, job.replace(before, after))).status == "done"


async def test_the_processes_of_a_server_share_their_jobs(site: CelerySite, start: StartServer, png: bytes) -> None:
    jobs = f"[jobs]\nbackend = 'celery'\nurl = '{site.url}'\nvisibility_s = 1\n"
    server = start(f"[server]\nprocesses = 2\n[inference]\nworkers = 2\n{jobs}{TRICK}")
    async with ClientSession(connector=TCPConnector(force_close=True)) as client:  # so that both are asked
        job = await submit(client, f"{server.url}/jobs", png)
        assert {(await fetch(client, job, 0)).status for _ in range(20)} == {"queued"}
        async with asyncio.timeout(30):
            while "faceattr_jobs_waiting 1.0" not in await text(client, f"{server.url}/metrics"):
                await asyncio.sleep(0.1)
        await site.start_worker()
        assert {(await fetch(client, job)).status for _ in range(20)} == {"done"}


async def text(client: ClientSession, url: str) -> str:
    async with client.get(url) as response:
        return await response.text()


async def test_a_waiting_client_is_woken_and_one_server_calls_the_callback_once(
    site: CelerySite, serve: Serve, client: ClientSession, gate: Gate, png: bytes
) -> None:
    jobs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        await jobs.put(await request.json())
        return web.Response()

    hooks = web.Application()
    hooks.router.add_post("/hook", take)
    hook = f"{await serve(hooks)}/hook"
    one, other = [await serve(site.app({"callbacks": ["127.0.0.1"]})) for _ in range(2)]
    await site.start_worker(gate=gate.folder)
    job = await submit(client, f"{one}/jobs?callback={hook}", png)
    await asyncio.to_thread(gate.wait_for, 1)
    waiting = asyncio.create_task(fetch(client, job.replace(one, other)))
    gate.open()
    assert (await waiting).status == "done"
    async with asyncio.timeout(30):
        assert (await jobs.get())["id"] == job.rpartition("/")[2]
    assert jobs.empty()


async def test_a_worker_without_celery_in_its_settings_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faceattr_aio", "worker"]
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"set jobs.backend to 'celery'" in errors
