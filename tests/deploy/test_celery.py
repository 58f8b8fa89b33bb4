"""Jobs on Celery with a real Redis and a real worker: what is asked of them, and that none is lost."""

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
from aiohttp import ClientSession, FormData, TCPConnector, web
from redis import Redis
from redis.exceptions import RedisError

from faceattr_aio.config.schema import Config
from faceattr_aio.jobs import redis_scripts as job_steps
from faceattr_aio.jobs import redis_store as job_store
from faceattr_aio.jobs.redis_scripts import NO_BYTES, JobLimits
from faceattr_aio.jobs.redis_store import ItemKey, Meta
from faceattr_aio.schemas import Job
from faceattr_aio.web.app import make_app
from tests.conftest import Serve, StartServer
from tests.deploy.daemon import Daemon, free_port, installed
from tests.support.gate import Gate
from tests.support.process import TRICK, descendants, environment

RAW = {"Content-Type": "image/png"}
KEY = "one-key-of-sixteen"
META = Meta(request="mine", pipeline="trick", owner="", callback="", of=1, options="{}", keep_s=60)

MOST = JobLimits(5, 100)


class Site:
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
        """Returns once it takes messages; its settings are those of the trick."""
        file = self._folder / "worker.toml"
        entry = TRICK + "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        jobs = f"[jobs]\nbackend = 'celery'\nurl = '{self.url}'\nvisibility_s = 1\n"
        file.write_text(f"[inference]\nworkers = 1\ntimeout_s = 60\n{jobs}{entry}")
        command = [sys.executable, "-u", "-m", "faceattr_aio", "worker", "--config", str(file)]
        worker = self._start(f"worker-{len(self._daemons)}", command)
        async with asyncio.timeout(60):
            while "processing jobs" not in worker.log:
                await asyncio.sleep(0.05)
        return worker

    def app(self, jobs: dict[str, Any] | None = None, **sections: dict[str, Any]) -> web.Application:
        kept = {"backend": "celery", "url": self.url, "visibility_s": 1} | (jobs or {})
        entry = {"factory": "tests.support.pipelines:Trick", "path": "/trick"}
        config = {"pipelines": {"trick": entry}, "inference": {"workers": 1}, "jobs": kept, **sections}
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
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


async def order(client: ClientSession, url: str, data: Any, query: str = "", **headers: str) -> str:
    """Submits a job; the URL of it."""
    more = RAW if isinstance(data, bytes) else {}
    async with client.post(f"{url}/jobs{query}", data=data, headers={**more, **headers}) as response:
        document = await response.json()
        assert response.status == 202, document
        return f"{url}/jobs/{document['id']}"


async def told(client: ClientSession, url: str, wait: float = 30, **headers: str) -> Job:
    """What is known of the job, once it is over if it is within the time."""
    async with client.get(url, headers={"Prefer": f"wait={wait}", **headers}) as response:
        assert response.status == 200, await response.text()
        return Job.model_validate(await response.json())


async def status(client: ClientSession, method: str, url: str, **options: Any) -> int:
    async with client.request(method, url, **options) as response:
        return response.status


async def test_a_job_comes_to_the_answer_of_the_pipelines_own_path_on_another_program(
    site: Site, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(site.app())
    worker = await site.start_worker()
    async with client.post(f"{url}/trick?times=2", data=png, headers={**RAW, "X-Request-ID": "mine"}) as response:
        answer = await response.json()
    job = await told(client, await order(client, url, png, "?times=2", **{"X-Request-ID": "mine"}))
    assert (job.status, job.progress.done, job.processing_s > 0) == ("done", 1, True)
    assert job.result
    assert {**job.result, "pid": answer["pid"]} == answer
    async with asyncio.timeout(30):
        while f"picture {job.id}:0 of request mine: done" not in worker.log:
            await asyncio.sleep(0.01)
    assert "Task faceattr" not in worker.log
    form = FormData()
    for picture in (png, b"no picture", png):
        form.add_field("image", picture, filename="a")
    job = await told(client, await order(client, url, form))
    assert job.result
    assert [one.get("bytes") for one in job.result["results"]] == [len(png), None, len(png)]
    assert job.result["results"][1]["error"]["type"] == "urn:faceattr:unsupported-media"


@pytest.mark.parametrize(
    ("query", "kind"), [("?do=refuse", "unreadable-image"), ("?do=raise", "internal"), ("?do=die", "internal")]
)
async def test_a_picture_that_fails_or_ends_its_workers_fails_its_job_alone(
    query: str, kind: str, site: Site, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(site.app())
    await site.start_worker()
    failing, fine = await order(client, url, png, query), await order(client, url, png)
    failed = await told(client, failing, 60)
    assert failed.error
    assert (failed.status, failed.error["type"]) == ("failed", f"urn:faceattr:{kind}")
    assert (await told(client, fine)).status == "done"


async def test_where_jobs_wait_there_is_a_limit_for_all_servers_and_cancelling_makes_room(
    site: Site, serve: Serve, client: ClientSession, png: bytes
) -> None:
    one, other = [await serve(site.app({"waiting": 2})) for _ in range(2)]
    first, second = await order(client, one, png), await order(client, other, png)
    async with client.post(f"{one}/jobs", data=png, headers=RAW) as response:
        document = await response.json(content_type="application/problem+json")
        assert (response.status, document["type"], document["in_flight"]) == (503, "urn:faceattr:overloaded", 2)
        assert int(response.headers["Retry-After"]) >= 1
    assert (await told(client, first.replace(one, other), 0)).status == "queued"
    assert await status(client, "DELETE", first.replace(one, other)) == 204
    assert [await status(client, method, first) for method in ("GET", "DELETE")] == [404, 404]
    async with asyncio.timeout(30):
        while await status(client, "POST", f"{one}/jobs", data=png, headers=RAW) != 202:
            await asyncio.sleep(0.1)  # it asks once a second how many there are
    await site.start_worker()
    assert (await told(client, second)).status == "done"


async def test_a_job_is_seen_by_the_key_that_made_it_and_expires(
    site: Site, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(site.app({"keep_s": 1}, auth={"keys": [KEY, f"other-{KEY}"]}))
    mine, others = {"X-API-Key": KEY}, {"X-API-Key": f"other-{KEY}"}
    await site.start_worker()
    job = await order(client, url, png, **mine)
    assert await status(client, "GET", job) == 401
    assert await status(client, "GET", job, headers=others) == 404
    assert (await told(client, job, 30, **mine)).status == "done"
    async with asyncio.timeout(30):
        while await status(client, "GET", job, headers=mine) == 200:
            await asyncio.sleep(0.05)


async def test_a_worker_that_is_killed_in_the_middle_loses_nothing(
    site: Site, serve: Serve, client: ClientSession, gate: Gate, png: bytes
) -> None:
    url = await serve(site.app())
    worker = await site.start_worker(gate=gate.folder)
    job = await order(client, url, png)
    await asyncio.to_thread(gate.wait_for, 1)
    assert (await told(client, job, 0)).status == "running"
    os.kill(worker.pid, signal.SIGKILL)
    await site.start_worker()  # there is no gate for this one
    assert (await told(client, job)).status == "done"


async def test_a_worker_process_that_is_killed_in_the_middle_loses_nothing(
    site: Site, serve: Serve, client: ClientSession, gate: Gate, png: bytes
) -> None:
    url = await serve(site.app())
    worker = await site.start_worker(gate=gate.folder)
    job = await order(client, url, png)
    await asyncio.to_thread(gate.wait_for, 1)
    os.kill(descendants(worker.pid)[-1], signal.SIGKILL)
    await asyncio.to_thread(gate.wait_for, 1)
    gate.open()
    assert (await told(client, job)).status == "done"


async def test_a_worker_that_is_stopped_ends_what_it_is_at(
    site: Site, serve: Serve, client: ClientSession, gate: Gate, png: bytes
) -> None:
    url = await serve(site.app())
    worker = await site.start_worker(gate=gate.folder)
    job = await order(client, url, png)
    await asyncio.to_thread(gate.wait_for, 1)
    stopping = asyncio.create_task(asyncio.to_thread(worker.stop))
    gate.open()
    assert await stopping == 0
    assert (await told(client, job, 0)).status == "done"


async def test_while_redis_is_away_it_is_503_and_nothing_is_lost_with_it(
    site: Site, serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(site.app())
    job = await order(client, url, png)
    os.kill(site.redis.pid, signal.SIGKILL)
    site.redis.end()
    for method, where in (("POST", f"{url}/jobs"), ("GET", job), ("DELETE", job)):
        async with client.request(method, where, data=png, headers=RAW) as response:
            document = await response.json(content_type="application/problem+json")
            assert (response.status, document["type"]) == (503, "urn:faceattr:storage")
    assert await status(client, "POST", f"{url}/trick", data=png, headers=RAW) == 200
    site.start_redis()
    assert (await told(client, job, 0)).status == "queued"
    await site.start_worker()
    assert (await told(client, job)).status == "done"
    assert (await told(client, await order(client, url, png))).status == "done"


async def test_a_message_that_is_lost_is_sent_again_and_another_server_knows_the_job(
    site: Site, serve: Serve, client: ClientSession, png: bytes
) -> None:
    job = await order(client, before := await serve(site.app()), png)
    site.client.delete(job_store.QUEUE)
    await site.start_worker()
    after = await serve(site.app())
    assert (await told(client, job.replace(before, after))).status == "done"


async def test_several_processes_of_a_server_have_the_same_jobs(site: Site, start: StartServer, png: bytes) -> None:
    jobs = f"[jobs]\nbackend = 'celery'\nurl = '{site.url}'\nvisibility_s = 1\n"
    server = start(f"[server]\nprocesses = 2\n[inference]\nworkers = 2\n{jobs}{TRICK}")
    async with ClientSession(connector=TCPConnector(force_close=True)) as client:  # so that both are asked
        job = await order(client, server.url, png)
        assert {(await told(client, job, 0)).status for _ in range(20)} == {"queued"}
        async with asyncio.timeout(30):
            while "faceattr_jobs_waiting 1.0" not in await text(client, f"{server.url}/metrics"):
                await asyncio.sleep(0.1)
        await site.start_worker()
        assert {(await told(client, job)).status for _ in range(20)} == {"done"}


async def text(client: ClientSession, url: str) -> str:
    async with client.get(url) as response:
        return await response.text()


async def test_who_waits_is_woken_and_a_callback_is_told_once_by_one_of_the_servers(
    site: Site, serve: Serve, client: ClientSession, gate: Gate, png: bytes
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
    job = await order(client, one, png, f"?callback={hook}")
    await asyncio.to_thread(gate.wait_for, 1)
    waiting = asyncio.create_task(told(client, job.replace(one, other)))
    gate.open()
    assert (await waiting).status == "done"
    async with asyncio.timeout(30):
        assert (await jobs.get())["id"] == job.rpartition("/")[2]
    assert jobs.empty()


def test_of_several_outcomes_the_first_stays(site: Site) -> None:
    run = site.client.eval
    assert run(*job_steps.accept("a", META, [b"bytes"], MOST, 100.0, 101.0).words) == -1
    place = ItemKey("a", 0)
    claimed: Any = run(*job_steps.claim(place, "me", 60_000, 100.0).words)
    assert claimed == [META.model_dump_json().encode(), b"bytes", 1]
    assert run(*job_steps.claim(place, "another", 60_000, 100.0).words) == []
    results = [run(*job_steps.finish(place, META, word, "done", 102.0).words) for word in ("one", "two")]
    assert results == [1, 0]
    assert site.client.hget(job_store.job_key("a"), "0") == b"one"
    assert run(*job_steps.claim(place, "another", 60_000, 100.0).words) == []
    assert site.client.exists(place.picture, place.lease, job_store.DUE, job_store.LIVE, job_store.RUNNING) == 0
    assert site.client.hgetall(job_store.ENDED) == {b"done": b"1"}


def test_a_lease_is_kept_by_its_holder_alone_and_nothing_comes_of_a_job_that_was_removed(site: Site) -> None:
    run, place = site.client.eval, ItemKey("a", 0)
    run(*job_steps.accept("a", META, [b"bytes"], MOST, 100.0, 101.0).words)
    run(*job_steps.claim(place, "me", 1_000, 100.0).words)
    run(*job_steps.renew(place, "another", 60_000).words)
    assert 0 < int(str(site.client.pttl(place.lease))) <= 1_000
    run(*job_steps.renew(place, "me", 60_000).words)
    assert int(str(site.client.pttl(place.lease))) > 1_000
    assert [run(*job_steps.remove("a", 1, "cancelled").words) for _ in range(2)] == [1, 0]
    assert run(*job_steps.finish(place, META, "late", "done", 102.0).words) == 0
    assert site.client.exists(job_store.job_key("a"), place.picture, job_store.DUE, job_store.LIVE) == 0


def test_pictures_take_no_more_bytes_than_they_may_but_for_those_of_the_first_job(site: Site) -> None:
    run = site.client.eval

    def accept(identity: str, size: int) -> Any:
        return run(*job_steps.accept(identity, META, [bytes(size), b""], MOST, 100.0, 101.0).words)

    assert [accept("a", 60), accept("b", 60), accept("b", 40)] == [-1, NO_BYTES, -1]
    run(*job_steps.finish(ItemKey("a", 0), META, "done", "done", 102.0).words)
    assert [accept("c", 60), accept("d", 1)] == [-1, NO_BYTES]
    run(*job_steps.remove("b", 2, "cancelled").words)
    assert [accept("d", 1), accept("e", 40)] == [-1, NO_BYTES]
    for job in ("c", "d"):
        run(*job_steps.remove(job, 2, "cancelled").words)
    assert site.client.get(job_store.BYTES) == b"0"
    assert accept("f", 500) == -1


async def test_without_celery_in_the_settings_a_worker_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faceattr_aio", "worker"]
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"set jobs.backend to 'celery'" in said
